"""The catalog, the store and the download, against a real HTTP server on loopback."""

import dataclasses
import io
import json
import os
import re
import shutil
import threading
import urllib.request
import zipfile
from collections import namedtuple
from email.message import Message

import filelock
import pytest
from loopback import BUNDLED, CONTENT, catalog_text, files_in, safetensors_bytes, server, sha256

from facerestore import weights
from facerestore.errors import WeightsError
from facerestore.weights import WeightsStore, load_catalog, parse_catalog
from facerestore.weights.catalog import data_folder
from facerestore.weights.files import unlike_weights
from facerestore.weights.request import UnusableError, WebOnly
from facerestore.weights.transfer import TransferPolicy

__all__ = ["server"]

PATIENT = TransferPolicy(timeout_s=5, attempts=3, backoff_s=0, lock_timeout_s=5)
IMPATIENT = dataclasses.replace(PATIENT, attempts=1, lock_timeout_s=0.01)


def store_of(tmp_path, text, **options):
    folder = tmp_path / "bundled"
    folder.mkdir(exist_ok=True)
    options.setdefault("transfer", PATIENT)
    return WeightsStore(catalog=parse_catalog(text, folder=folder), **options)


@pytest.fixture
def make_store(tmp_path, server):
    def make(*, extra="", commercial="yes", urls=None, **options):
        urls = [f"{server.url}/net.safetensors"] if urls is None else urls
        return store_of(tmp_path, catalog_text(urls, extra, commercial=commercial), **options)

    return make


# --- catalog ----------------------------------------------------------------------------------------------------------


def test_our_catalog_is_valid_and_says_what_a_user_must_know():
    catalog = load_catalog()
    for name in ("gpen.bfr-512", "psfr.ffhq-512", "parsenet.psfr-90000", "yunet.2023mar", "realesrnet.x2"):
        assert name in catalog.entries
    for entry in catalog.entries.values():
        assert entry.training_data, entry.name
        assert entry.source.startswith("https://") or entry.bundled, entry.name
        assert entry.urls or entry.bundled or entry.package or "import" in entry.notes, entry.name
        assert entry.sha256 is None or entry.bundled or entry.sha256_source, entry.name


def test_bundled_files_of_our_catalog_are_there_and_right():
    store = WeightsStore()
    bundled = [entry for entry in store.catalog.entries.values() if entry.bundled]
    assert {entry.purpose for entry in bundled} >= {"restore", "landmarks"}
    for entry in bundled:
        assert store.verify(entry.name).ok, entry.name
        assert store.require(entry.name).stat().st_size == entry.size_bytes, entry.name


@pytest.mark.parametrize(
    ("text", "named"),
    [
        (catalog_text(extra='lisence = "MIT"'), "'lisence' is no known key (did you mean 'licence'?)"),
        (
            catalog_text(extra='character = "wild"'),
            "'character' is 'wild', not one of careful, detailed, generative",
        ),
        (catalog_text(extra='sha256 = "123"'), "'sha256' is '123'"),
        (catalog_text(extra="size_bytes = true"), "'size_bytes' is True, not a whole number"),
        (catalog_text(extra="face_size = 0"), "'face_size' is 0"),
        (catalog_text(extra="bundled = true"), "'bundled' is true"),
        (catalog_text(["ftp://example.org/x"]), "ftp://example.org/x"),
        (catalog_text(file="../net.safetensors"), "'../net.safetensors'"),
        (catalog_text(file="net.exe"), "'net.exe'"),
        (catalog_text(name="Net"), "backend.tag"),
        (catalog_text(commercial="maybe"), "'maybe', not one of yes, no, unclear"),
        (catalog_text().replace('paper = "none"', ""), "'paper' is missing"),
        (catalog_text().replace('"MIT"', '"BSD"'), "'BSD', not one of MIT"),
        (catalog_text().replace("schema = 1", "schema = 2"), "'schema'"),
        (
            catalog_text() + catalog_text(name="net.twin").partition("notice")[2].partition("\n")[2],
            "net.small has",
        ),
        ("schema = ", "TOML"),
        (catalog_text() + "\n[unpublished]\nnet = 3\n", "'unpublished' is {'net': 3}, not a table of texts"),
        (catalog_text() + '\n[unpublished]\nnet = "none"\n', "'net' has weights: net.small"),
    ],
)
def test_a_wrong_catalog_is_refused_by_name(tmp_path, text, named):
    with pytest.raises(WeightsError, match=re.escape(named)):
        parse_catalog(text, folder=tmp_path)


def test_an_unknown_name_lists_close_ones():
    with pytest.raises(WeightsError, match=r"'gpen\.bfr512'.*'gpen\.bfr-512'.*facerestore weights list"):
        load_catalog().entry("gpen.bfr512")
    with pytest.raises(WeightsError, match="nothing is close"):
        load_catalog().entry("qqqqq")


def test_the_wheels_folder_comes_before_the_checkouts(tmp_path):
    package = tmp_path / "facerestore" / "weights"
    package.mkdir(parents=True)
    with pytest.raises(WeightsError, match="without its weights catalog"):
        data_folder(package)
    (tmp_path / "weights").mkdir()
    (tmp_path / "weights" / "catalog.toml").write_text("")
    assert data_folder(package) == tmp_path / "weights"
    (package / "bundled").mkdir()
    assert data_folder(package) == package / "bundled"


def test_names_are_resolved_lazily():
    assert weights.WeightsStore is WeightsStore
    with pytest.raises(AttributeError, match="nonsense"):
        _ = weights.nonsense


# --- where ------------------------------------------------------------------------------------------------------------


def test_home_is_ours_then_xdg_then_the_platforms(tmp_path, monkeypatch):
    monkeypatch.setenv("FACERESTORE_HOME", str(tmp_path / "own"))
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "xdg"))
    assert weights.default_home() == tmp_path / "own"
    monkeypatch.delenv("FACERESTORE_HOME")
    assert weights.default_home() == tmp_path / "xdg" / "facerestore"
    monkeypatch.delenv("XDG_DATA_HOME")
    assert weights.default_home().name == "facerestore"


# --- download ---------------------------------------------------------------------------------------------------------


def test_a_whole_download(make_store):
    store = make_store(extra=f'sha256 = "{sha256(CONTENT)}"\nsize_bytes = {len(CONTENT)}')
    seen = []
    path = store.download("net.small", progress=seen.append)
    assert path.read_bytes() == CONTENT
    assert path == store.locate("net.small") == store.require("net.small")
    assert (seen[-1].done_bytes, seen[-1].total_bytes) == (len(CONTENT), len(CONTENT))
    assert files_in(store) == {"net.safetensors", "net.safetensors.verified.json"}
    assert store.pin("net.small") is None


def test_an_installed_file_is_not_fetched_again_unless_forced(make_store, server):
    store = make_store()
    for force in (False, False, True):
        store.download("net.small", force=force)
    assert len(server.seen) == 2


def test_a_broken_download_goes_on_where_it_stopped(make_store, server):
    store = make_store()
    server.faults = [lambda handler: handler.serve(cut=70_000)]
    seen = []
    assert store.download("net.small", progress=seen.append).read_bytes() == CONTENT
    assert server.seen[1][1]["Range"] == "bytes=70000-"
    assert server.seen[1][1]["If-Range"] == '"v1"'
    assert seen[-1].resumed_bytes == 70_000
    assert store.verify("net.small").ok


def test_a_later_call_resumes_what_an_earlier_one_left(make_store, server):
    server.faults = [lambda handler: handler.serve(cut=1000)]
    with pytest.raises(WeightsError, match=f"ended after 1000 of {len(CONTENT)} bytes"):
        make_store(transfer=IMPATIENT).download("net.small")
    store = make_store(transfer=IMPATIENT)
    assert store.locate("net.small") is None
    assert store.download("net.small").read_bytes() == CONTENT
    assert server.seen[1][1]["Range"] == "bytes=1000-"


def test_a_file_that_changed_between_the_parts_begins_anew(make_store, server):
    changed = safetensors_bytes(seed=7)

    def cut_then_change(handler):
        handler.serve(cut=50_000)
        server.files["net.safetensors"] = (changed, '"v2"')

    server.faults = [cut_then_change]
    assert make_store().download("net.small").read_bytes() == changed


def test_without_a_validator_nothing_is_resumed(make_store, server):
    server.files["net.safetensors"] = (CONTENT, None)
    server.faults = [lambda handler: handler.serve(cut=50_000)]
    assert make_store().download("net.small").read_bytes() == CONTENT
    assert "Range" not in server.seen[1][1]


def test_a_part_of_one_address_is_not_continued_from_another(make_store, server):
    server.files["twin.safetensors"] = (safetensors_bytes(seed=1), '"v1"')
    server.faults = [lambda handler: handler.serve(cut=50_000)]
    with pytest.raises(WeightsError, match="ended"):
        make_store(transfer=IMPATIENT, urls=[f"{server.url}/twin.safetensors"]).download("net.small")
    assert make_store(transfer=IMPATIENT).download("net.small").read_bytes() == CONTENT
    assert "Range" not in server.seen[1][1]


def test_a_part_that_was_whole_already_is_finished(make_store, server):
    store = make_store()
    store.folder.mkdir(parents=True)
    part = store.folder / "net.safetensors.part"
    part.write_bytes(CONTENT)
    record = {"url": f"{server.url}/net.safetensors", "validator": '"v1"'}
    part.with_name(part.name + ".json").write_text(json.dumps(record))
    assert store.download("net.small").read_bytes() == CONTENT
    assert len(server.seen) == 1


def test_a_part_longer_than_the_file_is_thrown_away(make_store, server):
    store = make_store()
    store.folder.mkdir(parents=True)
    part = store.folder / "net.safetensors.part"
    part.write_bytes(CONTENT + b"more")
    record = {"url": f"{server.url}/net.safetensors", "validator": '"v1"'}
    part.with_name(part.name + ".json").write_text(json.dumps(record))
    assert store.download("net.small").read_bytes() == CONTENT


def test_a_range_that_was_not_asked_for_is_refused(make_store, server):
    server.faults = [
        lambda handler: handler.serve(cut=50_000),
        lambda handler: handler.answer(206, {"Content-Range": "bytes 0-9/200000"}, CONTENT[:10]),
    ]
    with pytest.raises(WeightsError, match="not asked for: bytes 0-9"):
        make_store().download("net.small")


def test_a_busy_server_is_asked_again_and_a_refusal_is_not(make_store, server):
    server.faults = [lambda handler: handler.answer(503)]
    assert make_store().download("net.small").is_file()
    server.files.clear()
    server.seen.clear()
    with pytest.raises(WeightsError, match=r"answers 404 Not Found.*weights import net\.small"):
        make_store().download("net.small", force=True)
    assert len(server.seen) == 1


def test_attempts_are_bounded(make_store, server):
    server.faults = [lambda handler: handler.answer(503)] * 9
    with pytest.raises(WeightsError, match="503 Service Unavailable \\(tried 3 times\\)"):
        make_store().download("net.small")
    assert len(server.seen) == 3


def test_urls_are_tried_in_order(make_store, server):
    urls = [f"{server.url}/absent.safetensors", f"{server.url}/net.safetensors"]
    assert make_store(urls=urls).download("net.small").read_bytes() == CONTENT
    assert [path for path, _ in server.seen] == ["/absent.safetensors", "/net.safetensors"]


def test_a_wrong_hash_or_size_installs_nothing(make_store):
    for extra, said in (
        (f'sha256 = "{"0" * 64}"', f"sha256 {sha256(CONTENT)}, expected 0000"),
        ("size_bytes = 5", f"{len(CONTENT)} bytes, expected 5"),
    ):
        store = make_store(extra=extra)
        with pytest.raises(WeightsError, match=said):
            store.download("net.small")
        assert files_in(store) == set()


def test_the_old_file_stays_when_a_forced_download_fails(make_store, server):
    store = make_store()
    path = store.download("net.small")
    server.files["net.safetensors"] = (safetensors_bytes(seed=3), '"v2"')
    with pytest.raises(WeightsError, match=r"pinned at the first copy.*--forget-pin"):
        store.download("net.small", force=True)
    assert path.read_bytes() == CONTENT


def test_no_room_is_said_before_anything_is_written(make_store, monkeypatch):
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage(10, 0, 10))
    store = make_store()
    with pytest.raises(WeightsError, match=f"no room.*{len(CONTENT)} bytes.*10 are free.*FACERESTORE_HOME"):
        store.download("net.small")
    assert files_in(store) == set()


def test_web_pages_are_not_weights(make_store, server):
    page = b"<!DOCTYPE html><html>Please log in</html>"
    store = make_store(transfer=IMPATIENT)
    server.faults = [lambda handler: handler.serve(cut=50_000)]
    with pytest.raises(WeightsError, match="connection ended"):
        store.download("net.small")
    server.faults = [lambda handler: handler.answer(200, {"Content-Type": "text/html; charset=utf-8"}, page)]
    with pytest.raises(WeightsError, match="web page"):
        store.download("net.small")
    assert (store.folder / "net.safetensors.part").stat().st_size == 50_000, (
        "a login page must not cost the part"
    )
    server.faults = [lambda handler: handler.answer(200, {}, page)]
    with pytest.raises(WeightsError, match="web page"):
        store.download("net.small")
    assert store.locate("net.small") is None


def test_redirects_lead_to_the_web_only(make_store, server):
    server.faults = [lambda handler: handler.answer(302, {"Location": "/moved/net.safetensors"})]
    assert make_store().download("net.small").is_file()
    server.faults = [lambda handler: handler.answer(302, {"Location": "ftp://127.0.0.1/net.safetensors"})]
    with pytest.raises(WeightsError, match="redirects to ftp"):
        make_store().download("net.small", force=True)


def test_redirects_never_leave_https_for_http():
    request = urllib.request.Request("https://example.org/net.safetensors")
    with pytest.raises(UnusableError, match="not as safe"):
        WebOnly().redirect_request(request, io.BytesIO(), 302, "Found", Message(), "http://example.org/x")


def test_an_unreachable_server_is_an_error_with_a_remedy(make_store):
    store = make_store(urls=["http://127.0.0.1:9/net.safetensors"])
    with pytest.raises(WeightsError, match="https_proxy"):
        store.download("net.small")


def test_proxies_of_the_environment_are_used(make_store, server, monkeypatch):
    monkeypatch.setenv("http_proxy", server.url)
    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.delenv("NO_PROXY", raising=False)
    store = make_store(urls=["http://weights.invalid/net.safetensors"])
    assert store.download("net.small").read_bytes() == CONTENT
    assert server.seen[0][0] == "http://weights.invalid/net.safetensors"


def test_a_mirror_replaces_the_urls(make_store, server, monkeypatch):
    monkeypatch.setenv("FACERESTORE_MIRROR", f"{server.url}/mirror/")
    store = make_store(urls=["http://weights.invalid/other-name"])
    assert store.download("net.small").read_bytes() == CONTENT
    assert server.seen[0][0] == "/mirror/net.safetensors"
    with pytest.raises(WeightsError, match="FACERESTORE_MIRROR is '/srv/weights'"):
        make_store(mirror="/srv/weights").download("net.small", force=True)


@pytest.mark.parametrize("how", ["argument", "environment"])
def test_offline_never_asks_the_network(make_store, server, monkeypatch, how):
    make_store().download("net.small")
    if how == "environment":
        monkeypatch.setenv("FACERESTORE_OFFLINE", "1")
    store = make_store(offline=how == "argument")
    assert store.download("net.small").is_file(), "what is here needs no network"
    store.remove("net.small")
    with pytest.raises(WeightsError, match=r"offline.*weights import net\.small"):
        store.download("net.small")
    assert len(server.seen) == 1


def test_offline_can_be_switched_off_in_words(make_store, monkeypatch):
    monkeypatch.setenv("FACERESTORE_OFFLINE", "0")
    assert not make_store().offline


def test_without_an_address_the_remedy_is_import(make_store):
    with pytest.raises(WeightsError, match=r"https://example\.org.*weights import net\.small"):
        make_store(urls=[]).download("net.small")


def test_a_download_waits_for_another_process_and_takes_its_file(make_store, server):
    store, phases = make_store(), []
    store.folder.mkdir(parents=True)
    lock = filelock.FileLock(store.folder / "net.safetensors.lock")
    with lock, pytest.raises(WeightsError, match=r"another process.*0\.01 s"):
        make_store(transfer=IMPATIENT).download("net.small")

    def other_finishes(progress):
        phases.append(progress.phase)
        if progress.phase == "waiting":
            (store.folder / "net.safetensors").write_bytes(CONTENT)
            lock.release()

    lock.acquire()
    assert store.download("net.small", progress=other_finishes).read_bytes() == CONTENT
    assert phases == ["waiting"]
    assert server.seen == []


def test_threads_fetch_a_file_once(make_store, server):
    store, found = make_store(), []
    threads = [threading.Thread(target=lambda: found.append(store.download("net.small"))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 4
    assert len(server.seen) == 1


# --- licence ----------------------------------------------------------------------------------------------------------


def test_terms_are_shown_and_accepted_once(make_store, server):
    store = make_store(commercial="no")
    with pytest.raises(WeightsError, match=r"(?s)MIT License.*NOT allowed.*synthetic.*--accept-license"):
        store.download("net.small")
    assert server.seen == []
    assert "MIT License" in store.terms_to_accept("net.small")
    store.download("net.small", accept_licence=True)
    assert store.terms_to_accept("net.small") is None
    make_store(commercial="no").download("net.small", force=True)
    assert make_store(commercial="unclear").terms_to_accept("net.small"), "other terms are asked again"


def test_permissive_weights_ask_nothing(make_store):
    assert make_store().terms_to_accept("net.small") is None


# --- trust, verify, import, remove ------------------------------------------------------------------------------------


def test_the_first_copy_is_pinned_and_outlives_removal(make_store, server):
    store = make_store()
    store.download("net.small")
    pin = store.pin("net.small")
    assert (pin.sha256, pin.origin) == (sha256(CONTENT), f"{server.url}/net.safetensors")
    store.remove("net.small")
    other = safetensors_bytes(seed=9)
    server.files["net.safetensors"] = (other, '"v2"')
    with pytest.raises(WeightsError, match=f"{sha256(other)}, expected {sha256(CONTENT)}"):
        store.download("net.small")
    store.remove("net.small", forget_pin=True)
    assert store.download("net.small").read_bytes() == other


def test_a_corrupt_file_is_found_by_require_and_verify(make_store):
    store = make_store()
    path = store.download("net.small")
    path.write_bytes(CONTENT[:-1] + b"\xff")
    with pytest.raises(WeightsError, match=r"net\.small.*expected.*download net\.small --force"):
        store.require("net.small")
    verdict = store.verify("net.small")
    assert not verdict.ok
    assert (verdict.expected, verdict.basis) == (sha256(CONTENT), "first copy")
    store.download("net.small", force=True)
    assert store.verify("net.small").ok


def test_require_hashes_once_and_again_after_a_change(make_store, monkeypatch):
    store, hashed = make_store(), []
    path = store.download("net.small")
    real = weights.store.sha256_of
    monkeypatch.setattr(weights.store, "sha256_of", lambda p: hashed.append(p) or real(p))
    store.require("net.small")
    assert hashed == []
    os.utime(path, ns=(1, 1))
    store.require("net.small")
    store.require("net.small")
    assert len(hashed) == 1


def test_verify_sees_damage_that_keeps_size_and_time(make_store):
    store = make_store()
    path = store.download("net.small")
    stat = path.stat()
    path.write_bytes(CONTENT[:-1] + b"\xff")
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    assert not store.verify("net.small").ok
    with pytest.raises(WeightsError, match="expected"):
        store.require("net.small")


def test_a_pinned_file_cut_short_is_a_verdict_not_an_exception(make_store):
    store = make_store()
    store.download("net.small").write_bytes(CONTENT[:100])
    verdict = store.verify("net.small")
    assert not verdict.ok
    assert "--force" in store.describe_corrupt(verdict)


@pytest.mark.skipif(os.name == "nt", reason="POSIX permissions")
def test_records_are_as_readable_as_the_weights(make_store):
    store = make_store()
    mode = store.download("net.small").stat().st_mode
    records = [store.folder / "net.safetensors.verified.json", store.home / "pins" / "net.small.json"]
    assert [record.stat().st_mode for record in records] == [mode, mode]


def test_a_file_laid_into_the_folder_by_hand_is_pinned_if_it_can_be_weights(make_store):
    store = make_store()
    store.folder.mkdir(parents=True)
    path = store.folder / "net.safetensors"
    path.write_bytes(b"<html>")
    with pytest.raises(WeightsError, match="web page"):
        store.require("net.small")
    path.write_bytes(CONTENT)
    assert store.require("net.small") == path
    assert store.pin("net.small").origin == str(path)


def test_what_is_not_here_is_an_error_with_the_command(make_store):
    store = make_store()
    for call in (store.require, store.verify):
        with pytest.raises(WeightsError, match=r"facerestore weights download net\.small"):
            call("net.small")
    with pytest.raises(WeightsError, match="nothing to remove"):
        store.remove("net.small")


def test_import_copies_checks_and_pins(make_store, tmp_path):
    source = tmp_path / "from elsewhere.bin"
    source.write_bytes(CONTENT)
    store = make_store(urls=[])
    assert store.import_file("net.small", source).read_bytes() == CONTENT
    assert source.exists()
    assert store.pin("net.small").sha256 == sha256(CONTENT)
    assert store.require("net.small")
    source.write_bytes(safetensors_bytes(seed=5))
    with pytest.raises(WeightsError, match="expected"):
        store.import_file("net.small", source)
    assert store.require("net.small").read_bytes() == CONTENT
    assert files_in(store) == {"net.safetensors", "net.safetensors.verified.json"}


def test_import_refuses_what_cannot_be_the_file(make_store, tmp_path):
    store, source = make_store(extra="size_bytes = 7"), tmp_path / "x"
    with pytest.raises(WeightsError, match="no such file"):
        store.import_file("net.small", source)
    source.write_bytes(CONTENT)
    with pytest.raises(WeightsError, match="expected 7"):
        store.import_file("net.small", source)


def test_remove_takes_the_part_file_too(make_store, server):
    server.faults = [lambda handler: handler.serve(cut=1000)]
    store = make_store(transfer=IMPATIENT)
    with pytest.raises(WeightsError, match="ended"):
        store.download("net.small")
    store.remove("net.small")
    assert files_in(store) == set()


# --- bundled and best -------------------------------------------------------------------------------------------------


def test_bundled_weights_need_no_download_and_cannot_be_replaced(make_store, tmp_path, server):
    store = make_store(extra=BUNDLED)
    with pytest.raises(WeightsError, match="install facerestore again"):
        store.require("lite.example-64")
    bundled = tmp_path / "bundled" / "lite_example_64.safetensors"
    bundled.write_bytes(CONTENT)
    assert store.require("lite.example-64") == store.download("lite.example-64") == bundled
    assert store.verify("lite.example-64").basis == "catalog"
    assert list(bundled.parent.iterdir()) == [bundled], "nothing is written into the package"
    with pytest.raises(WeightsError, match="never replaced"):
        store.import_file("lite.example-64", bundled)
    with pytest.raises(WeightsError, match="cannot be removed"):
        store.remove("lite.example-64")
    bundled.write_bytes(CONTENT[:-1])
    with pytest.raises(WeightsError, match="bytes, expected"):
        store.require("lite.example-64")
    assert not store.verify("lite.example-64").ok
    assert server.seen == []


def test_best_prefers_installed_then_rank_and_falls_back_to_bundled(make_store, tmp_path):
    second = BUNDLED.replace("lite.example-64", "net.large").replace("lite_example_64", "net_large")
    second = re.sub(r"bundled = true\nsize_bytes.*\nsha256.*\n", "", second).replace("rank = 1", "rank = 5")
    unranked = (
        second.replace("net.large", "net.odd").replace("net_large", "net_odd").replace("quality_rank = 5", "")
    )
    store = make_store(extra=BUNDLED + second + unranked)
    assert store.best("restore") is None
    assert store.installed() == []
    (tmp_path / "bundled" / "lite_example_64.safetensors").write_bytes(CONTENT)
    source = tmp_path / "x"
    source.write_bytes(CONTENT)
    store.import_file("net.odd", source)
    assert store.best("restore").name == "lite.example-64"
    store.import_file("net.large", source)
    assert store.best("restore").name == "net.large"
    store.import_file("net.small", source)
    assert store.best("restore").name == "net.small"
    assert store.best("restore", backends=["lite"]).name == "lite.example-64"
    assert store.best("parse") is None
    assert [entry.name for entry in store.installed()] == [
        "net.small",
        "lite.example-64",
        "net.large",
        "net.odd",
    ]


def test_weights_that_are_not_for_the_automatic_choice_come_after_all_others(make_store, tmp_path):
    aside = BUNDLED.replace("lite.example-64", "net.aside").replace("lite_example_64", "net_aside")
    aside = re.sub(r"bundled = true\nsize_bytes.*\nsha256.*\n", "auto = false\n", aside)
    store = make_store(extra=BUNDLED + aside)
    (tmp_path / "bundled" / "lite_example_64.safetensors").write_bytes(CONTENT)
    source = tmp_path / "x"
    source.write_bytes(CONTENT)
    store.import_file("net.aside", source)
    assert store.best("restore").name == "lite.example-64"
    assert store.best("restore", backends=["net"]).name == "net.aside"


def test_every_ranked_restorer_of_the_catalog_states_its_character():
    ranked = [e for e in load_catalog().entries.values() if e.purpose == "restore" and e.quality_rank]
    assert {e.name for e in ranked if e.character is None} == set()
    assert {e.character for e in ranked} == {"careful", "detailed", "generative"}
    assert all(e.face_size for e in ranked)


# --- kinds of files ---------------------------------------------------------------------------------------------------


def test_kinds_of_files_are_told_apart(tmp_path):
    path = tmp_path / "file"

    def fault(content, name):
        path.write_bytes(content)
        return unlike_weights(path, name)

    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/data.pkl", b"x" * 100)
    torch_file = path.read_bytes()
    assert fault(torch_file, "a.pth") is None
    assert fault(b"\x80\x02\x8a", "a.pth") is None
    assert fault(b"\x08\x08\x12\x07pytorch", "a.onnx") is None
    assert fault(CONTENT, "a.safetensors") is None
    assert "end is missing" in fault(torch_file[:-40], "a.pth")
    assert "torch" in fault(b"hello", "a.pth")
    assert "ONNX" in fault(torch_file, "a.onnx")
    assert "git-lfs" in fault(b"version https://git-lfs.github.com/spec/v1\n", "a.onnx")
    assert f"it has {len(CONTENT) - 9}" in fault(CONTENT[:-9], "a.safetensors")
    assert "safetensors" in fault(torch_file, "a.safetensors")
    assert "header" in fault((4).to_bytes(8, "little") + b"[1]]", "a.safetensors")
    assert fault(b"", "a.pth")


def test_a_damaged_record_is_an_error_that_names_it(make_store):
    store = make_store()
    store.download("net.small")
    record = store.home / "pins" / "net.small.json"
    for content in ("{", "[]", '{"sha": 1}'):
        record.write_text(content)
        with pytest.raises(WeightsError, match=re.escape(str(record))):
            store.pin("net.small")
