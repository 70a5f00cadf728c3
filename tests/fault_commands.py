"""Commands that write, small enough to be broken at every point; as a program it kills one at each and goes on.

python tests/fault_commands.py COMMAND FOLDER [MOST]    prints {"points": N, "faults": [...]}; Linux
"""

import contextlib
import hashlib
import http.server
import json
import os
import resource
import signal
import sqlite3
import sys
import tempfile
import threading
import traceback
import zipfile
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import torch
from evaluation_fakes import fill
from fakes import face_at, photo, pipeline
from loopback import CONTENT, Handler, catalog_text, sha256

from facerestore.backends import backend_class
from facerestore.cli import weights as cli_weights
from facerestore.cli.app import main
from facerestore.errors import FaceRestoreError
from facerestore.io import write_image
from facerestore.pipeline import build
from facerestore.weights import WeightsStore, parse_catalog
from facerestore.weights.checkpoint import save_state_dict

_WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
_CHANGES = {"os.mkdir", "os.rename", "os.remove", "os.rmdir", "os.link", "sqlite3.connect"}
_heard = []  # of functions that are told of each change of a file, with its path


def _hear(event, arguments):
    if _heard and (event in _CHANGES or (event == "open" and isinstance(arguments[2], int))):
        path = arguments[1] if event in ("os.rename", "os.link") else arguments[0]
        writes = event != "open" or arguments[2] & _WRITES
        if writes and isinstance(path, str | bytes | os.PathLike):
            _heard[-1](event, os.path.realpath(os.fsdecode(path)))


sys.addaudithook(_hear)  # stays for the life of the process, and hears nothing outside of these tests


@contextlib.contextmanager
def hearing(listener):
    """Tell a function of each change of a file, before it is made; what it raises takes its place."""
    _heard.append(listener)
    try:
        yield
    finally:
        _heard.pop()


def refusing(folder, number):
    """Refuse every change below a folder with an error of the system."""
    inside = os.path.realpath(folder)

    def refuse(event, path):
        if path != inside and not path.startswith(inside + os.sep):
            return
        if event == "sqlite3.connect":
            error = sqlite3.OperationalError("unable to open database file")
            error.sqlite_errorcode = sqlite3.SQLITE_CANTOPEN
            raise error
        raise OSError(number, os.strerror(number), path)

    return hearing(refuse)


@contextlib.contextmanager
def largest_file(size):
    """Let no file grow beyond a size: the system's own refusal to write, in whatever library it is."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@dataclass(frozen=True)
class Command:
    """One command within a folder of its own, which is the current one.

    Attributes:
        prepare: makes what it reads.
        run: runs it, and returns its exit code; the same again goes on where it was broken off.
        out: the folder that it writes.
        results: the files in it that count, as a pattern.
    """

    prepare: object
    run: object
    out: str
    results: str

    def made(self):
        """Return hash by name of the results that are there."""
        found = sorted(Path(self.out).glob(self.results))
        return {p.name: hashlib.sha256(_plain(p)).hexdigest() for p in found if p.is_file()}


def _plain(path):
    """Return the content of a file, without what differs from run to run."""
    if path.suffix == ".json":
        return json.dumps(json.loads(path.read_text())["faces"]).encode()
    if path.suffix == ".torchscript":  # torch writes a number of the run, and where its own code lay
        with zipfile.ZipFile(path) as archive:
            names = [n for n in archive.namelist() if not n.endswith((".debug_pkl", "serialization_id"))]
            return b"".join(archive.read(name) for name in names)
    return path.read_bytes()


def _enhance():
    real = build.build_pipeline
    build.build_pipeline = lambda config, **_: pipeline(face_at(10, 20), config=config)
    try:
        return main(["enhance", "in", "-o", "out", "--workers", "1"])
    finally:
        build.build_pipeline = real


def _photos():
    for name in "ab":
        write_image(f"in/{name}.png", photo(seed=ord(name)))


def _store_home():
    os.environ["FACERESTORE_HOME"] = str(Path("home").absolute())


@cache
def _own_file():
    """The bytes of a file of weights; made once, since texts of its header have another order each time."""
    state = {
        name: torch.zeros_like(value) for name, value in backend_class("lite").example_state_dict().items()
    }
    header = {"backend": "lite", "purpose": "restore", "face_size": "64", "licence": "MIT", "data": "drawn"}
    with tempfile.TemporaryDirectory() as folder:
        save_state_dict(Path(folder) / "mine.safetensors", state, header)
        return (Path(folder) / "mine.safetensors").read_bytes()


def _own_weights():
    _store_home()
    Path("mine.safetensors").write_bytes(_own_file())


def _import():
    return main(["weights", "import", "lite.mine", "mine.safetensors"])


def _download():
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.files, server.faults, server.seen = {"net.safetensors": (CONTENT, '"v1"')}, [], []
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    url = f"http://127.0.0.1:{server.server_port}/net.safetensors"
    known = f'size_bytes = {len(CONTENT)}\nsha256 = "{sha256(CONTENT)}"'
    catalog = parse_catalog(catalog_text([url], known), folder=Path())
    real = cli_weights._store
    cli_weights._store = lambda *, offline=False: WeightsStore(Path("home"), catalog=catalog)
    try:
        return main(["weights", "download", "net.small"])
    finally:
        cli_weights._store = real
        server.shutdown()
        thread.join()
        server.server_close()


def _train():
    from toy_recipe import train_toy

    try:
        train_toy(Path("run"), {"steps": 4, "save_every": 2, "validate_every": 4})
    except FaceRestoreError as error:
        sys.stderr.write(f"facerestore: error: {error}\n")
        return 1
    return 0


def _export():
    return main(["export", "lite", "--random", "-o", "out/net.torchscript", "--overwrite"])


def _pairs():
    fill(Path("hq"))
    fill(Path("theirs"))
    fill(Path("lq"), size=32)


def _evaluate():
    words = ["--lq", "lq", "--hq", "hq", "--restored", "theirs", "--face-size", "64", "--metrics", "psnr"]
    return main(["evaluate", *words, "-o", "out", "--overwrite"])


COMMANDS = {
    "enhance": Command(_photos, _enhance, "out", "[!.]*.png"),
    "import": Command(_own_weights, _import, "home", "**/*.safetensors"),
    "download": Command(_store_home, _download, "home", "**/*.safetensors"),
    "train": Command(lambda: None, _train, "run", "checkpoints/step_00000004/*.safetensors"),
    "export": Command(Path("out").mkdir, _export, "out", "*.torchscript"),
    "evaluate": Command(_pairs, _evaluate, "out", "*.json"),
}


def _forked(work):
    """Run a function in a copy of this process; return how that ended, and what it returned."""
    reading, writing = os.pipe()
    if (child := os.fork()) == 0:
        try:
            with Path(os.devnull).open("w") as silence, contextlib.redirect_stdout(silence):
                os.write(writing, json.dumps(work()).encode())
        except BaseException:
            traceback.print_exc()
            os._exit(99)
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading) as stream:
        said = stream.read()
    _, status = os.waitpid(child, 0)
    return os.waitstatus_to_exitcode(status), json.loads(said) if said else None


def _in(folder, command):
    folder.mkdir(parents=True)
    os.chdir(folder)
    command.prepare()


def _counted(command):
    """Run a command, and return its exit code and how often it changed a file."""
    changes = []
    with hearing(lambda event, path: changes.append(path)):
        code = command.run()
    return code, len(changes)


def _killed(command, point):
    """Run a command until it is about to change a file for the ``point``-th time."""
    left = [point]

    def kill(event, path):
        left[0] -= 1
        if not left[0]:
            os.kill(os.getpid(), signal.SIGKILL)

    with hearing(kill):
        return command.run()


def broken_off(command, folder, most=sys.maxsize):
    """Kill a command at points at which it changes a file; return how many there are, and what was wrong.

    Args:
        command: to kill.
        folder: of all that is tried.
        most: how many points are tried, evenly from the first to the last.
    """
    points = sys.maxsize
    for name in ("once", "whole"):  # on a busy machine a download may be begun again, and pass more points
        _in(folder / name, command)
        ended, counted = _forked(lambda: _counted(command))
        assert (ended, counted[0]) == (0, 0), (ended, counted)
        points = min(points, counted[1])
    whole, faults = command.made(), []
    assert whole
    tried = sorted({1 + number * (points - 1) // max(1, most - 1) for number in range(min(most, points))})
    for point in tried if most < points else range(1, points + 1):
        _in(folder / str(point), command)
        ended, _ = _forked(lambda point=point: _killed(command, point))
        if ended != -signal.SIGKILL:
            faults.append(f"{point}: ended with {ended}")
        faults += [
            f"{point}: {name} is not whole"
            for name, made in command.made().items()
            if whole.get(name) != made
        ]
        ended, code = _forked(command.run)
        if (ended, code) != (0, 0) or command.made() != whole:
            faults.append(f"{point}: going on ended with {ended}, {code}: {command.made()}")
        left = [str(path) for path in Path(command.out).rglob("*facerestore-tmp")]
        faults += [f"{point}: left {name}" for name in left]
    return {"points": points, "faults": faults}


if __name__ == "__main__":
    name, place, *most = sys.argv[1:]
    found = broken_off(COMMANDS[name], Path(place).absolute(), *map(int, most))
    sys.stdout.write(json.dumps(found) + "\n")
