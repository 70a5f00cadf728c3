"""Photos and results in stores: addresses as paths, whole writes, the journal, and what is said where one fails."""

import os
import subprocess
import sys
import threading
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from fakes import Brightener, face_at, photo, pipeline

from facerestore.cli.app import main
from facerestore.errors import ConfigError, ImageError
from facerestore.io import (
    RemotePath,
    decode_image,
    located,
    read_encoded,
    search_folder,
    write_encoded,
    write_image,
)

fsspec = pytest.importorskip("fsspec", reason="fsspec is not installed (extra 'remote')")

NAMES = ["a.png", "sub/Бабушка.png", "sub/d e.png"]


@pytest.fixture
def restorer(use_pipeline, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("FACERESTORE_HOME", str(tmp_path / "home"))
    made = Brightener()
    use_pipeline(lambda config, **_: pipeline(face_at(10, 20), config=config, restorer=made))
    return made


@pytest.fixture
def memory():
    store = fsspec.filesystem("memory")
    yield store
    store.rm("/", recursive=True)


@pytest.fixture(scope="module")
def s3():
    """Yield the address of a bucket of moto's server, which botocore finds by the environment."""
    pytest.importorskip("s3fs", reason="s3fs is not installed (extra 'remote')")
    server_of = pytest.importorskip(
        "moto.server", reason="moto's server is not installed (pip install 'moto[s3,server]')"
    )
    server = server_of.ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    with pytest.MonkeyPatch.context() as patch:
        for name, value in {
            "AWS_ENDPOINT_URL": f"http://{host}:{port}",
            "AWS_ACCESS_KEY_ID": "test",
            "AWS_SECRET_ACCESS_KEY": "test",
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_EC2_METADATA_DISABLED": "true",
        }.items():
            patch.setenv(name, value)
        fsspec.filesystem("s3", use_listings_cache=False).mkdir("photos")
        yield "s3://photos"
    server.stop()


@pytest.fixture(params=["memory", "local", "s3"])
def box(request, tmp_path):
    """Return the address of an empty folder in a store."""
    if request.param == "s3":
        return f"{request.getfixturevalue('s3')}/{tmp_path.name}"
    if request.param == "local":
        return f"local://{tmp_path}/box"
    request.getfixturevalue("memory")
    return "memory://box"


def test_a_folder_in_a_store_is_restored_as_that_of_a_disk_byte_for_byte(box, restorer, capsys):
    for seed, name in enumerate(NAMES):
        write_image(f"in/{name}", photo(seed=seed))
        write_image(f"{box}/in/{name}", photo(seed=seed))
    write_encoded(f"{box}/in/notes.txt", b"no photo")
    assert main(["enhance", "in", "-r", "-o", "out"]) == 0
    capsys.readouterr()
    assert main(["enhance", f"{box}/in", "-r", "-o", f"{box}/out"]) == 0
    told = capsys.readouterr().out
    assert f"{box}/in/a.png: 1 face, 1 restored" in told
    assert "left out: 1 .txt" in told
    for name in NAMES:
        assert located(f"{box}/out/{name}").read_bytes() == Path("out", name).read_bytes()
    assert main(["enhance", f"{box}/in", "-r", "-o", f"{box}/out"]) == 0
    assert "3 of 3 done before, nothing to do\n" in capsys.readouterr().out
    assert len(restorer.calls) == 6


def test_what_a_store_lost_is_done_again_and_what_changed_is_told(box, restorer, capsys):
    for seed, name in enumerate("ab"):
        write_image(f"{box}/in/{name}.png", photo(seed=seed))
    words = ["enhance", f"{box}/in", "-o", f"{box}/out", "--journal", "notes"]
    assert main(words) == 0
    store, key = fsspec.url_to_fs(f"{box}/out/a.png", use_listings_cache=False)
    store.rm(key)
    write_image(f"{box}/in/b.png", photo(seed=9), overwrite=True)
    capsys.readouterr()
    assert main(words) == 3
    told = capsys.readouterr()
    assert "1 changed since done before: --overwrite does it again" in told.out + told.err
    assert "1 photo: 1 face, 1 restored" in told.out
    assert [path.name for path in Path("notes").glob(".facerestore-journal")] == [".facerestore-journal"]
    assert not Path("home/journals").exists()


def test_a_name_is_taken_once_and_nothing_of_a_refused_write_stays(box):
    path = located(f"{box}/a.png")
    write_encoded(path, b"one")
    with pytest.raises(ImageError, match=r"a\.png: already exists; choose another name"):
        write_encoded(path, b"two")
    with pytest.raises(FileExistsError):
        path.write([b"two"], overwrite=False)
    assert path.read_bytes() == b"one"
    path.write([b"t", b"wo"], overwrite=True)
    assert path.read_bytes() == b"two"
    store, key = fsspec.url_to_fs(box, use_listings_cache=False)
    assert [Path(name).name for name in store.find(key)] == ["a.png"]


def test_paths_in_a_store_say_what_they_are(box):
    write_encoded(f"{box}/sub/.hidden/b.png", b"1")
    write_encoded(f"{box}/sub/a.png", b"123")
    write_encoded(f"{box}/c.txt", b"1")
    root = located(box)
    assert root.is_dir()
    assert not root.is_file()
    path = root / "sub" / "a.png"
    assert path.is_file()
    assert path.exists()
    assert not path.is_dir()
    assert not (root / "none").exists()
    assert path.stat().st_size == 3
    assert path.stat().st_mtime_ns > 1_700_000_000 * 10**9
    assert str(path.relative_to(root)) == "sub/a.png"
    assert path.open("rb").read() == b"123"
    assert search_folder(root, recursive=True).images == [path]
    shallow = search_folder(root, recursive=False)
    assert (shallow.images, shallow.others, shallow.not_searched) == ([], [root / "c.txt"], [root / "sub"])
    with pytest.raises(ImageError, match=r"none\.png: no such file; check the path"):
        read_encoded(root / "none.png")


def test_patterns_lists_and_reports_take_addresses(memory, restorer, capsys):
    for seed, name in enumerate(["in/a.png", "in/b.png", "in/c.jpg"]):
        write_image(f"memory://box/{name}", photo(seed=seed))
    assert (
        main(["enhance", "memory://box/in/*.png", "-o", "out", "--report", "memory://box/report.json"]) == 0
    )
    assert sorted(path.name for path in Path("out").glob("[!.]*")) == ["a.png", "b.png"]
    assert b"memory://box/in/a.png" in located("memory://box/report.json").read_bytes()
    write_encoded("memory://box/list", b"memory://box/in/a.png\nmemory://box/in/b.png\n")
    assert main(["enhance", "--files-from", "memory://box/list", "-o", "memory://box/listed"]) == 0
    assert located("memory://box/listed/box/in/a.png").read_bytes() == Path("out/a.png").read_bytes()
    assert main(["enhance", "memory://box/in/a.png", "--compare"]) == 0
    assert located("memory://box/in/a_restored_compare.jpg").is_file()


def test_an_address_of_the_disk_is_the_disk(tmp_path):
    assert located(f"file://{tmp_path}/a.png") == tmp_path / "a.png"
    assert not isinstance(located(f"file://{tmp_path}/a.png"), RemotePath)
    assert located("notes:/a.png") == Path("notes:/a.png")
    assert located("C:/a.png") == Path("C:/a.png")
    assert str(located(Path("s3://bucket/a.png"))) == "s3://bucket/a.png"


def test_photos_come_from_a_web_server_and_results_do_not_go_there(tmp_path, restorer, capsys):
    write_image("web/a.png", photo())

    class Quiet(SimpleHTTPRequestHandler):
        def __init__(self, *words):
            super().__init__(*words, directory=tmp_path / "web")

        def log_message(self, *words):
            pass

    pytest.importorskip("aiohttp", reason="aiohttp is not installed (extra 'remote')")
    with ThreadingHTTPServer(("127.0.0.1", 0), Quiet) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        web = f"http://127.0.0.1:{server.server_port}"
        assert main(["enhance", f"{web}/a.png", "-o", "out.png"]) == 0
        assert decode_image(Path("out.png").read_bytes()).pixels.shape == (120, 200, 3)
        assert main(["enhance", f"{web}/none.png", "-o", "no.png"]) == 1
        assert "none.png: no such file; check the path" in capsys.readouterr().err
        assert main(["enhance", f"{web}/a.png"]) == 2
        assert (
            "can be read and not written; give a directory or a store such as s3://"
            in capsys.readouterr().err
        )
        server.shutdown()
    assert main(["enhance", f"{web}/a.png", "-o", "late.png"]) == 1
    assert "the store refused, or cannot be reached" in capsys.readouterr().err


def test_what_would_show_a_secret_or_is_no_name_is_refused():
    with pytest.raises(
        ConfigError, match=r"holds a password, which reports would show; give it in the environment"
    ):
        located("s3://me:secret@bucket/a.png")
    with pytest.raises(ConfigError, match=r"'https://h/a\.png' has a query.*give an address without one"):
        located("https://h/a.png?signature=1")


def test_places_that_cannot_be_in_a_store_are_refused(memory, restorer, capsys):
    write_image("memory://box/a.png", photo())
    for words, said in [
        (["--journal", "memory://box"], "--journal is 'memory://box'; give a directory of the disk"),
        (["--html", "memory://box"], "--html is 'memory://box'; give a directory of the disk"),
        (["--offline"], "'memory://box/a.png' is in a store, and --offline forbids the network"),
    ]:
        assert main(["enhance", "memory://box/a.png", "-o", "out", *words]) == 2
        assert said in capsys.readouterr().err


def test_a_missing_package_is_named_with_the_extra(capsys):
    try:
        import gcsfs  # noqa: F401
    except ImportError:
        with pytest.raises(
            ConfigError, match=r"gs:// needs the package gcsfs.*pip install 'facerestore\[remote\]' gcsfs"
        ):
            read_encoded("gs://bucket/a.png")
    else:
        pytest.skip("gcsfs is installed here")


def test_a_disk_needs_no_fsspec(tmp_path):
    write_image(tmp_path / "in/a.png", photo())
    code = (
        "import sys; sys.modules['fsspec'] = None\n"
        "from facerestore.cli.app import main\n"
        "assert main(['enhance', 'in', '-o', 'out', '-q']) == 0\n"
        "assert main(['enhance', 's3://bucket/a.png', '-o', 'out']) == 2\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parent.parent)}
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    assert "s3:// needs the package fsspec" in done.stderr
    assert "run: pip install 'facerestore[remote]'" in done.stderr
