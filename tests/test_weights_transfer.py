"""What servers may do wrong: lengths that are missing or lie, addresses that are none, and patience without end."""

import dataclasses
import itertools

import pytest
from loopback import CONTENT, catalog_text, files_in, safetensors_bytes, server, sha256

from facerestore.errors import CheckpointError, WeightsError
from facerestore.weights import TransferPolicy, WeightsStore, parse_catalog

__all__ = ["server"]

PATIENT = TransferPolicy(timeout_s=5, attempts=3, backoff_s=0, lock_timeout_s=5)
ONCE = dataclasses.replace(PATIENT, attempts=1)
KNOWN = f'sha256 = "{sha256(CONTENT)}"'


@pytest.fixture
def make_store(tmp_path, server):
    def make(*, extra="", urls=None, **options):
        urls = [f"{server.url}/net.safetensors"] if urls is None else urls
        options.setdefault("transfer", PATIENT)
        return WeightsStore(catalog=parse_catalog(catalog_text(urls, extra), folder=tmp_path), **options)

    return make


def unsaid(handler, *, body=CONTENT, length=None):
    """Answer without saying how long the body is, or with a length that is none; the end of the connection ends it."""
    handler.send_response(200)
    if length is not None:
        handler.send_header("Content-Length", length)
    handler.end_headers()
    handler.wfile.write(body)
    handler.close_connection = True


def chunked(handler, *, body=CONTENT, whole=True):
    handler.send_response(200)
    handler.send_header("Transfer-Encoding", "chunked")
    handler.end_headers()
    for start in range(0, len(body), 50_000):
        piece = body[start : start + 50_000]
        handler.wfile.write(f"{len(piece):x}\r\n".encode() + piece + b"\r\n")
    if whole:
        handler.wfile.write(b"0\r\n\r\n")
    handler.close_connection = True


# --- whole or not -----------------------------------------------------------------------------------------------------


def test_what_nothing_proves_whole_is_not_installed(make_store, server):
    store = make_store()
    server.faults = [unsaid]
    with pytest.raises(WeightsError, match="nothing would tell whether it came whole"):
        store.download("net.small")
    assert files_in(store) == set()
    assert store.pin("net.small") is None


@pytest.mark.parametrize("known", [KNOWN, f"size_bytes = {len(CONTENT)}"])
def test_a_known_hash_or_size_proves_it(make_store, server, known):
    store = make_store(extra=known)
    server.faults = [lambda handler: unsaid(handler, body=CONTENT[:-9])] * 1 + [unsaid]
    with pytest.raises(WeightsError, match="expected"):
        store.download("net.small")
    assert store.download("net.small").read_bytes() == CONTENT


def test_the_end_of_chunks_proves_it_and_their_lack_does_not(make_store, server):
    store = make_store(transfer=ONCE)
    server.faults = [lambda handler: chunked(handler, whole=False)]
    with pytest.raises(WeightsError, match="IncompleteRead"):
        store.download("net.small")
    assert store.locate("net.small") is None
    server.faults = [chunked]
    assert store.download("net.small").read_bytes() == CONTENT


@pytest.mark.parametrize("length", ["²²", "1_0", "-5", "+5", "0x9", "9" * 30, "5, 5"])
def test_a_length_that_is_none_says_nothing(make_store, server, length):
    server.faults = [lambda handler: unsaid(handler, length=length)] * 2
    with pytest.raises(WeightsError, match=r"nothing would tell|connection ended"):
        make_store(transfer=ONCE).download("net.small")


def test_a_range_without_a_total_proves_nothing(make_store, server):
    store = make_store(transfer=ONCE)
    server.faults = [lambda handler: handler.serve(cut=70_000)]
    with pytest.raises(WeightsError, match="ended after 70000"):
        store.download("net.small")
    rest = CONTENT[70_000:90_000]
    server.faults = [
        lambda handler: handler.answer(
            206, {"Content-Range": f"bytes 70000-{70_000 + len(rest) - 1}/*"}, rest
        )
    ]
    with pytest.raises(WeightsError, match="nothing would tell"):
        store.download("net.small")
    server.faults = [
        lambda handler: handler.answer(
            206, {"Content-Range": f"bytes 70000-{70_000 + len(rest) - 1}/{len(CONTENT)}"}, rest
        )
    ]
    with pytest.raises(WeightsError, match=f"ended after 90000 of {len(CONTENT)}"):
        store.download("net.small")
    assert store.download("net.small").read_bytes() == CONTENT


def test_a_body_without_end_meets_the_largest_size(make_store, server):
    server.faults = [chunked]
    with pytest.raises(WeightsError, match="sends more than 60000 bytes"):
        make_store(transfer=dataclasses.replace(PATIENT, most_bytes=60_000)).download("net.small")


# --- addresses --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "location",
    ["http://[::bad", "http://[::1", "http://a:99999999/x", "http://a:b/x", "//[", "http://\u2100.example/"],
)
def test_a_redirect_to_no_address_is_an_error_with_the_remedy(make_store, server, location):
    server.faults = [lambda handler: handler.answer(302, {"Location": location.encode().decode("latin-1")})]
    with pytest.raises(WeightsError, match=r"could not be downloaded.*weights import net\.small FILE"):
        make_store(transfer=ONCE).download("net.small")


@pytest.mark.parametrize(
    "url", ["http://[::1", "http://[::bad]/x", "http://a:99999999/x", "http://a b/x", "http:///x"]
)
def test_an_address_that_is_none_is_an_error(make_store, url):
    with pytest.raises(WeightsError, match="could not be downloaded"):
        make_store(urls=[url], transfer=ONCE).download("net.small")
    with pytest.raises(WeightsError, match=r"FACERESTORE_MIRROR|could not be downloaded"):
        make_store(mirror=url, transfer=ONCE).download("net.small")


def test_a_validator_that_no_header_can_hold_is_not_sent(make_store, server):
    store = make_store(transfer=ONCE)
    server.faults = [lambda handler: handler.serve(cut=1000)]
    with pytest.raises(WeightsError, match="ended"):
        store.download("net.small")
    record = store.folder / "net.safetensors.part.json"
    record.write_text(record.read_text().replace('\\"v1\\"', "a\\nb"), encoding="utf-8")
    with pytest.raises(WeightsError, match="cannot be asked"):
        store.download("net.small")


# --- patience ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("free_reads", [0, 4])
def test_a_server_that_trickles_meets_an_overall_limit(make_store, server, free_reads):
    """Each look at the clock finds it too late for what has come: in the headers, then in a body."""
    ticks = itertools.chain([0.0] * (1 + free_reads), itertools.count(400.0, 400.0))
    slow = dataclasses.replace(PATIENT, clock=lambda: next(ticks))
    store = make_store(transfer=slow)
    with pytest.raises(WeightsError, match=r"too slow: \d+ bytes in \d+ s; run the command again"):
        store.download("net.small")
    assert len(server.seen) <= 1, "it is not asked again"
    assert store.locate("net.small") is None
    assert make_store().download("net.small").read_bytes() == CONTENT


def test_pauses_between_tries_double(make_store, server):
    pauses = []
    server.faults = [lambda handler: handler.answer(503)] * 3
    patient = TransferPolicy(timeout_s=5, attempts=4, backoff_s=2, pause=pauses.append)
    assert make_store(transfer=patient).download("net.small").is_file()
    assert pauses == [2, 4, 8]


# --- what is believed -------------------------------------------------------------------------------------------------

OTHER = safetensors_bytes(seed=4)


def picky(entry, path):
    """Find every file fit but the one that begins as OTHER does."""
    if path.read_bytes() == OTHER:
        raise CheckpointError("it is another network")
    return True


def lay(store, content):
    """Put a file where an older version would have pinned it."""
    store.folder.mkdir(parents=True, exist_ok=True)
    store.path_of("net.small").write_bytes(content)
    store.verify("net.small")


def test_a_download_is_looked_into_before_it_is_pinned(make_store, server):
    server.files["net.safetensors"] = (OTHER, '"v1"')
    store = make_store(examine=picky)
    with pytest.raises(WeightsError, match="it is another network"):
        store.download("net.small")
    assert files_in(store) == set()
    assert store.pin("net.small") is None


def test_force_replaces_the_pin_of_an_unfit_copy_and_no_other(make_store, server):
    store = make_store(examine=picky)
    lay(store, OTHER)
    assert store.pin("net.small").sha256 == sha256(OTHER)
    assert "--force" in store.fault("net.small")
    store.download("net.small", force=True)
    assert store.pin("net.small").sha256 == sha256(CONTENT)
    assert store.fault("net.small") is None
    server.files["net.safetensors"] = (safetensors_bytes(seed=8), '"v2"')
    with pytest.raises(WeightsError, match="--forget-pin"):
        store.download("net.small", force=True)
    assert store.require("net.small").read_bytes() == CONTENT


def test_force_replaces_a_pin_of_an_import_and_a_damaged_one(make_store, tmp_path):
    store = make_store()
    (tmp_path / "mine").write_bytes(OTHER)
    store.import_file("net.small", tmp_path / "mine")
    store.download("net.small", force=True)
    assert store.pin("net.small").sha256 == sha256(CONTENT)
    (store.home / "pins" / "net.small.json").write_text("[" * 9000)
    assert "delete it" in store.fault("net.small")
    store.download("net.small", force=True)
    assert store.require("net.small").read_bytes() == CONTENT


def test_importing_a_right_file_replaces_the_pin_of_an_unfit_one(make_store, tmp_path):
    store = make_store(urls=[], examine=picky)
    lay(store, OTHER)
    assert "weights import net.small FILE" in store.fault("net.small")
    source = tmp_path / "right"
    source.write_bytes(OTHER)
    with pytest.raises(WeightsError, match=r"cannot be the weights 'net\.small': it is another network"):
        store.import_file("net.small", source)
    source.write_bytes(CONTENT)
    store.import_file("net.small", source)
    assert store.fault("net.small") is None
    source.write_bytes(safetensors_bytes(seed=6))
    with pytest.raises(WeightsError, match=r"weights remove net\.small --forget-pin' and import it again"):
        store.import_file("net.small", source)
    store.remove("net.small", forget_pin=True)
    store.import_file("net.small", source)


def test_what_has_no_address_is_never_sent_to_a_download(make_store, tmp_path):
    store = make_store(urls=[])
    with pytest.raises(WeightsError, match=r"not installed; get .* weights import net\.small FILE"):
        store.require("net.small")
    source = tmp_path / "x"
    source.write_bytes(CONTENT)
    store.import_file("net.small", source).write_bytes(CONTENT[:-1] + b"\xff")
    with pytest.raises(WeightsError, match=r"remove net\.small --forget-pin', then get") as caught:
        store.require("net.small")
    assert "download" not in str(caught.value).partition("; if the publisher")[0]


def test_a_file_is_looked_into_once(make_store):
    looked = []
    store = make_store(examine=lambda entry, path: looked.append(path) or True)
    store.download("net.small")
    assert len(looked) == 1
    for _ in range(3):
        assert store.fault("net.small") is None
    assert len(looked) == 1
    lay(store, CONTENT)
    assert store.fault("net.small") is None
    assert len(looked) == 2, "the file was written anew"
