"""The service over HTTP: what it answers, what it refuses, and what becomes of requests under way."""

import asyncio
import contextlib
import json
import re
import signal
import socket
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from threading import Event

import pytest
from fakes import face_at, pipeline
from serve_fakes import (
    CRASH,
    CRASH_ONCE,
    FAIL,
    PATIENCE,
    WAIT,
    Server,
    enhanced_bytes,
    form,
    httpx,
    never,
    png,
    uvicorn,
)

from facerestore.batch.gathering import GatheringRestorer
from facerestore.cli.app import main
from facerestore.config import OutputConfig, RestoreConfig
from facerestore.errors import BackendError, ConfigError
from facerestore.fields import names_of
from facerestore.io import FORMATS
from facerestore.serve.answers import MEDIA, wanted
from facerestore.serve.connections import closing
from facerestore.serve.crew import Crew
from facerestore.serve.messages import Recipe
from facerestore.serve.options import OPERATOR, ServeOptions, asked
from facerestore.serve.options import RESTORE as REQUEST
from facerestore.serve.run import CONNECTIONS, _Server, token_of
from facerestore.serve.work import Kitchen

PHOTO = png()


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    """A service with two photos at a time and room for two that wait."""
    started = Server(tmp_path_factory.mktemp("gate"), at_a_time=2, queue=2, max_bytes=1_000_000)
    yield started
    started.open()
    assert started.stop() == 0


@pytest.fixture
def client(server):
    with server.client() as client:
        yield client
        server.open()
        server.until(lambda: server.gauge(client, "running") == 0 and client.get("/readyz").is_success)


def raw(client, data=PHOTO, path="/v1/restore", kind="image/png", **settings):
    return client.post(
        path, content=data, headers={"content-type": kind, **settings.pop("headers", {})}, **settings
    )


# --- what it answers -----------------------------------------------------------------------------------------------


def test_picture_is_that_of_enhance_byte_for_byte(client, tmp_path):
    answer = raw(client, params={"strength": "0.5"})
    assert (answer.status_code, answer.headers["content-type"]) == (200, "image/png")
    assert answer.content == enhanced_bytes(tmp_path, PHOTO, "--strength", "0.5") != PHOTO


def test_photo_in_which_nothing_is_restored_comes_back_as_it_is(client):
    assert raw(client, params={"strength": "0"}).content == PHOTO


def test_format_and_quality_are_those_of_enhance(client, tmp_path):
    jpeg = png(format="JPEG")
    answer = client.post("/v1/restore", **form(jpeg, quality="80"))
    assert answer.headers["content-type"] == "image/jpeg"
    assert answer.content == enhanced_bytes(tmp_path, jpeg, "--quality", "80", name="photo.jpg")
    assert client.post("/v1/restore", **form(jpeg, format="webp")).headers["content-type"] == "image/webp"


def test_accept_chooses_report_or_both(client):
    report = raw(client, headers={"accept": "application/json"}).json()
    assert (report["found"], report["restored"], report["faces"][0]["code"]) == (1, 1, "restored")
    both = raw(client, headers={"accept": "multipart/form-data"})
    boundary = re.fullmatch(r"multipart/form-data; boundary=(\w+)", both.headers["content-type"])[1].encode()
    _, picture, told, _ = both.content.split(b"--" + boundary)
    assert picture.split(b"\r\n\r\n", 1)[1].removesuffix(b"\r\n") == raw(client).content
    assert json.loads(told.split(b"\r\n\r\n", 1)[1])["restored"] == 1


@pytest.mark.parametrize(
    ("header", "what"),
    [
        ("", "image"),
        ("*/*", "image"),
        ("text/html, image/avif;q=0.9, image/*;q=0.8, */*;q=0.5", "image"),
        ("application/json;q=0.9, image/png;q=0.5", "report"),
        ("image/jpeg;q=0, application/json", "report"),
        ("multipart/mixed", "multipart/mixed"),
    ],
)
def test_what_a_client_accepts(header, what):
    assert wanted(header) == what


def test_faces_are_found_and_nothing_is_restored(client):
    found = client.post("/v1/faces", **form(PHOTO)).json()
    assert found["size"] == [200, 120]
    assert [face["decision"] for face in found["faces"]] == ["restored"]


def test_job_is_told_of_and_its_result_fetched_until_it_is_deleted(client, server):
    begun = raw(client, path="/v1/jobs", params={"format": "png"})
    assert begun.status_code == 202
    place = begun.headers["location"]
    server.until(lambda: client.get(place).json()["state"] == "done")
    assert client.get(f"{place}/result").content == raw(client).content
    assert client.get(f"{place}/result", headers={"accept": "application/json"}).json()["restored"] == 1
    assert client.delete(place).status_code == 204
    assert client.get(place).status_code == 404


def test_job_that_fails_says_why(client, server):
    place = raw(client, png(FAIL), path="/v1/jobs").headers["location"]
    server.until(lambda: client.get(place).json()["state"] == "failed")
    assert "try other weights" in client.get(place).json()["problem"]["detail"]
    assert client.get(f"{place}/result").status_code == 500


def test_counters_and_log_tell_of_a_photo_and_nothing_that_is_in_it(client, server):
    answer = client.post("/v1/restore", **form(PHOTO))
    while (event := server.event("request"))["id"] != answer.headers["x-request-id"]:
        pass
    assert event.items() >= {"status": 200, "faces": 1, "restored": 1, "size": [200, 120]}.items()
    assert "photo.png" not in json.dumps(event)
    text = client.get("/metrics").text
    assert 'facerestore_requests_total{route="/v1/restore",status="200"}' in text
    assert 'facerestore_faces_total{code="restored"}' in text


def test_other_methods_are_told_which_there_are(client):
    assert client.put("/v1/jobs/none").headers["allow"] == "DELETE, GET"


# --- what it refuses -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "status", "detail"),
    [
        ({"strength": "5"}, 422, "strength is 5.0; give a number from 0"),
        ({"strengh": "1"}, 422, "did you mean 'strength'"),
        ({"weights": "/etc/passwd"}, 422, "there is no option 'weights' of a request"),
        ({"force": "yes"}, 422, "force is 'yes'; give true or false"),
        ({"faces": "first"}, 422, "faces is 'first'"),
        ({"page": "2"}, 422, "there is no animation frame 2"),
    ],
)
def test_unfit_option_is_told_with_its_remedy(client, options, status, detail):
    answer = client.post("/v1/restore", **form(PHOTO, **options))
    assert (answer.status_code, answer.headers["content-type"]) == (status, "application/problem+json")
    assert detail in answer.json()["detail"]


def test_problem_names_option_value_and_remedy(client):
    problem = client.post("/v1/restore", **form(PHOTO, strength="5")).json()
    assert (problem["option"], problem["value"]) == ("strength", "5.0")
    assert problem["remedy"] == "give a number from 0 (nothing) to 1 (full)"


@pytest.mark.parametrize(
    ("send", "status"),
    [
        (lambda client: raw(client, b"no picture"), 422),
        (lambda client: raw(client, b""), 422),
        (lambda client: raw(client, PHOTO[:60]), 422),
        (lambda client: raw(client, png(height=9000, width=9000)[:100_000]), 413),
        (lambda client: raw(client, bytes(1_000_001)), 413),
        (lambda client: raw(client, iter([bytes(600_000)] * 2)), 413),
        (lambda client: raw(client, kind="text/plain"), 415),
        (lambda client: raw(client, kind="multipart/form-data; boundary=x"), 400),
        (lambda client: raw(client, headers={"accept": "text/html"}), 406),
        (lambda client: client.post("/v1/restore", **form(PHOTO, region="x" * 5000)), 413),
        (lambda client: client.post("/v1/restore", files=[("image", PHOTO), ("image", PHOTO)]), 422),
        (lambda client: raw(client, params=[("page", "1"), ("page", "1")]), 422),
        (lambda client: client.get("/v1/jobs/none"), 404),
        (lambda client: client.get("/nothing"), 404),
        (lambda client: client.get("/page/..%2Fapp.py"), 404),
        (lambda client: client.put("/healthz"), 405),
        (lambda client: raw(client, headers={"host": "evil.example"}), 421),
        (lambda client: raw(client, headers={"origin": "https://evil.example"}), 403),
        (lambda client: raw(client, png(FAIL)), 500),
    ],
)
def test_what_cannot_be_is_a_problem_with_its_status(client, send, status):
    answer = send(client)
    assert (answer.status_code, answer.headers["content-type"]) == (status, "application/problem+json")
    assert answer.json()["status"] == status


def test_upload_that_ends_in_the_middle_is_no_request(server, client):
    host, _, port = server.url.removeprefix("http://").partition(":")
    gone = server.gauge(client, "clients_gone_total")
    with socket.create_connection((host, int(port))) as line:
        head = f"POST /v1/restore HTTP/1.1\r\nHost: {host}\r\nContent-Type: image/png\r\nContent-Length: 5000\r\n\r\n"
        line.sendall(head.encode() + PHOTO[:1000])
    server.until(lambda: server.gauge(client, "clients_gone_total") == gone + 1)


def test_form_that_ends_before_its_last_boundary_loses_no_option_in_silence(client):
    parts = b'--x\r\nContent-Disposition: form-data; name="image"\r\n\r\n%s\r\n--x\r\n' % PHOTO
    option = b'Content-Disposition: form-data; name="strength"\r\n\r\n0'
    kind = "multipart/form-data; boundary=x"
    assert raw(client, parts + option + b"\r\n--x--\r\n", kind=kind).content == PHOTO
    answer = raw(client, parts + option, kind=kind)
    assert answer.status_code == 400
    assert "it ends before its last boundary; send multipart/form-data" in answer.json()["detail"]


def test_slow_upload_is_ended(tmp_path):
    server = Server(tmp_path, upload_limit=0.2)
    host, _, port = server.url.removeprefix("http://").partition(":")
    with socket.create_connection((host, int(port))) as line:
        head = f"POST /v1/restore HTTP/1.1\r\nHost: {host}\r\nContent-Type: image/png\r\nContent-Length: 5000\r\n\r\n"
        line.sendall(head.encode())
        assert b" 408 " in line.recv(4096)
    assert server.stop() == 0


def test_connections_of_which_nothing_comes_keep_nobody_out(tmp_path):
    server = Server(tmp_path, upload_limit=0.5)
    host, _, port = server.url.removeprefix("http://").partition(":")
    with contextlib.ExitStack() as opened, server.client() as client:
        for number in range(CONNECTIONS):
            line = opened.enter_context(socket.create_connection((host, int(port))))
            line.sendall(b"POST /v1/restore HTTP/1.1\r\n" if number % 2 else b"")

        def let_in():
            with contextlib.suppress(httpx.TransportError):
                return client.get("/healthz").status_code == 200

        server.until(let_in)
        line.settimeout(PATIENCE)
        with contextlib.suppress(ConnectionResetError):
            assert line.recv(1) == b""
    assert server.stop() == 0


def test_an_answer_that_nobody_takes_is_given_up():
    async def answer(scope, receive, send):
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": bytes(64_000_000)})

    async def stall():
        settings = uvicorn.Config(answer, http=closing(0.1), lifespan="off", log_config=None)
        server, bound = _Server(settings), socket.create_server(("127.0.0.1", 0))
        serving = asyncio.create_task(server.serve(sockets=[bound]))
        _, writer = await asyncio.open_connection(*bound.getsockname())
        writer.write(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
        for held in (True, False):
            while bool(server.server_state.connections) != held:
                await asyncio.sleep(0.01)
        server.should_exit = True
        await serving
        writer.close()

    asyncio.run(asyncio.wait_for(stall(), PATIENCE))


# --- under way -----------------------------------------------------------------------------------------------------


def test_beyond_the_queue_requests_are_told_when_to_come_again_and_none_that_waits_is_lost(server, client):
    with ThreadPoolExecutor(8) as pool:
        with server.gate():
            sent = [pool.submit(raw, client, png(WAIT)) for _ in range(4)]
            server.until(lambda: server.gauge(client, "waiting") == 2)
            refused = raw(client)
            assert refused.status_code == 429
            assert int(refused.headers["retry-after"]) >= 1
        assert {one.result().status_code for one in sent} == {200}


def test_work_is_dropped_when_its_client_goes(server, client):
    gone = server.gauge(client, "clients_gone_total")
    host, _, port = server.url.removeprefix("http://").partition(":")
    with server.gate():
        data = png(WAIT)
        with socket.create_connection((host, int(port))) as line:
            head = f"POST /v1/restore HTTP/1.1\r\nHost: {host}\r\nContent-Type: image/png\r\n"
            line.sendall(f"{head}Content-Length: {len(data)}\r\n\r\n".encode() + data)
            server.until_waiting()
        server.until(lambda: server.gauge(client, "clients_gone_total") == gone + 1)
    server.until(lambda: server.gauge(client, "running") == 0)


def test_order_is_done_again_where_its_process_is_lost_and_given_up_the_second_time(server, client):
    (server.folder / "crashed").unlink(missing_ok=True)
    assert raw(client, png(CRASH_ONCE)).status_code == 200
    answer = raw(client, png(CRASH))
    assert answer.status_code == 500
    assert "lost twice; report the photo" in answer.json()["detail"]
    server.until(lambda: client.get("/readyz").is_success)


def test_job_that_was_still_sent_when_the_last_place_was_taken_is_told_to_come_again(tmp_path):
    server = Server(tmp_path, jobs=1)
    with server.client() as client, server.gate(), ThreadPoolExecutor(1) as pool:
        begun, other = Event(), Event()

        def pieces():
            yield PHOTO[:100]
            begun.set()
            assert other.wait(PATIENCE)
            yield PHOTO[100:]

        late = pool.submit(raw, client, pieces(), path="/v1/jobs")
        assert begun.wait(PATIENCE)
        assert raw(client, png(WAIT), path="/v1/jobs").status_code == 202
        other.set()
        assert late.result().status_code == 429
    assert server.stop() == 0


def test_service_whose_processes_die_while_they_start_says_so_and_ends():
    lost = []
    crew = Crew(Recipe(RestoreConfig(), build=never), on_lost=lost.append)
    words = r"a process was lost 2 times while it loaded its networks; .*more memory"

    with pytest.raises(BackendError, match=words):
        asyncio.run(crew.start())
    assert lost == [None, None]


def test_photo_that_takes_too_long_is_given_up(tmp_path):
    server = Server(tmp_path, time_limit=0.2)
    with server.client() as client, server.gate():
        answer = raw(client, png(WAIT))
        assert answer.status_code == 504
        assert "longer than 0.2 s; send a smaller one" in answer.json()["detail"]
    assert server.stop() == 0


def test_stop_finishes_what_was_accepted_and_takes_no_more(tmp_path):
    server = Server(tmp_path)
    with server.client() as client, ThreadPoolExecutor(1) as pool:
        with server.gate():
            sent = pool.submit(raw, client, png(WAIT))
            server.until_waiting()
            server.process.send_signal(signal.SIGTERM)
            host, _, port = server.url.removeprefix("http://").partition(":")
            server.until(lambda: not _connects(host, int(port)))
        assert sent.result().status_code == 200
    assert server.process.wait(timeout=PATIENCE) == 0


def _connects(host, port):
    try:
        socket.create_connection((host, port)).close()
    except OSError:
        return False
    return True


def test_results_of_jobs_are_written_where_that_was_asked_for(tmp_path):
    kept = tmp_path / "kept"
    kept.mkdir()
    server = Server(tmp_path, keep=kept)
    with server.client() as client:
        name = raw(client, path="/v1/jobs").json()["id"]
        assert server.stop() == 0
    assert (kept / f"{name}.png").read_bytes()[:4] == b"\x89PNG"
    assert json.loads((kept / f"{name}.json").read_text())["restored"] == 1


def test_faces_of_requests_share_calls_where_that_gains_something():
    def build(config, device):
        return pipeline(face_at(20, 20), config=config, device=device)

    on_gpu, on_cpu = (Kitchen(RestoreConfig(), partial(build, device=device)) for device in ("cuda:0", "cpu"))
    assert isinstance(on_gpu.pipeline(RestoreConfig()).restorer, GatheringRestorer)
    assert not isinstance(on_cpu.pipeline(RestoreConfig()).restorer, GatheringRestorer)


def test_networks_are_loaded_for_another_detail_alone_and_few_are_kept():
    built = []

    def build(config):
        built.append(config.detail)
        return pipeline(face_at(20, 20), config=config)

    kitchen = Kitchen(RestoreConfig(device="cpu"), build)
    for detail in (None, None, 0.1, 0.2, 0.3, 0.4, None, 0.1):
        asking = RestoreConfig(detail=detail, strength=0.5, upscale=2)
        assert kitchen.pipeline(asking).config == asking
    assert built == [None, 0.1, 0.2, 0.3, 0.4, 0.1]


# --- who may come in -----------------------------------------------------------------------------------------------


def test_token_is_asked_for_but_by_the_page(tmp_path, monkeypatch):
    monkeypatch.setenv("FACERESTORE_TOKEN", "0123456789abcdef")
    server = Server(tmp_path)
    with server.client() as client:
        assert raw(client).status_code == 401
        assert raw(client, headers={"authorization": "Bearer 0123456789abcdeX"}).status_code == 401
        assert raw(client, headers={"authorization": "Bearer 0123456789abcdef"}).status_code == 200
        assert client.get("/metrics").status_code == 401
        assert client.get("/healthz").status_code == 200
    assert server.stop() == 0


@pytest.mark.parametrize("host", ["0.0.0.0", "192.168.1.2", "::", "example.org"])
def test_other_machines_are_not_let_in_without_a_token(host, monkeypatch):
    monkeypatch.delenv("FACERESTORE_TOKEN", raising=False)
    with pytest.raises(ConfigError, match=rf"--host {re.escape(host)} lets other machines in.*--token-file"):
        token_of(ServeOptions(host=host))


def test_short_token_is_refused(tmp_path):
    (tmp_path / "token").write_text("secret\n")
    with pytest.raises(ConfigError, match=r"has 6 characters; give 16 or more"):
        token_of(ServeOptions(token_file=tmp_path / "token"))


def test_taken_port_is_told(capsys):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        assert main(["serve", "--port", str(port)]) == 2
    assert f"cannot listen on 127.0.0.1 port {port}: Address already in use" in capsys.readouterr().err


# --- what a request may choose -------------------------------------------------------------------------------------


def test_request_begins_with_what_the_service_was_started_with():
    found = asked(
        RestoreConfig(strength=0.4, device="cpu"), {"upscale": "2", "rotations": "true", "detail": ""}
    )
    assert found.restore == RestoreConfig(strength=0.4, device="cpu", upscale=2, rotations=True)
    assert found.output == OutputConfig()


def test_every_option_of_enhance_is_for_requests_or_for_who_starts_the_service():
    useless = ("official", "offline")
    parts = (*REQUEST, *OPERATOR, *useless, "max_pixels")
    assert sorted(parts) == sorted(names_of(RestoreConfig))


def test_every_format_that_is_written_has_a_media_type():
    assert MEDIA.keys() == FORMATS.keys()


def test_document_is_that_of_the_options():
    import facerestore.serve
    from facerestore.serve.openapi import document

    path = Path(facerestore.serve.__file__).with_name("openapi.json")
    made = json.dumps(document(), indent=1) + "\n"
    if path.read_text() != made:
        path.write_text(made)
        pytest.fail(f"{path.name} was not that of the options; it is written anew")


# --- under load ----------------------------------------------------------------------------------------------------


def test_no_request_that_was_accepted_is_lost_among_bad_ones(tmp_path):
    from benchmarks.serve import KINDS, load

    server = Server(tmp_path, queue=4, max_bytes=1_000_000)
    outcome = asyncio.run(load(server.url, PHOTO, clients=len(KINDS), rounds=4, too_large=1_000_001))
    assert not outcome.lost
    kinds = {kind: {status for one, status in outcome.answers if one == kind} for kind in KINDS}
    assert kinds["good"] == kinds["form"] == {200}
    assert kinds["oversized"] <= {413, 429, 0}  # 0: it was still sending when it was refused
    assert kinds["malformed"] <= {422, 429}
    assert kinds["job"] <= {200, 429}
    with server.client() as client:
        server.until(lambda: server.gauge(client, "running") == 0)
    assert server.stop() == 0
