"""Every command but those that are for the network asks for nothing of it, whatever it finds missing."""

import shutil
import sys
from pathlib import Path

import pytest
import typer
from evaluation_fakes import fill

from facerestore.backends import backend_class
from facerestore.cli.app import app, main
from facerestore.weights.checkpoint import save_state_dict

EXAMPLE = Path(__file__).resolve().parent.parent / "examples" / "astronaut_degraded.jpg"
FOR_THE_NETWORK = {"weights download", "serve"}
ASKED = ("socket.connect", "socket.getaddrinfo", "socket.gethostbyname", "socket.bind", "socket.sendto")
CPU = ("--device", "cpu")

CASES = {
    "enhance": (["a.jpg", "-o", "out.jpg", "--report", "r.json", *CPU], 0),
    "colorize": (["a.jpg"], 0),
    "inpaint": (["a.jpg"], None),
    "synthesize": (["m.png"], None),
    "detect": (["a.jpg"], 0),
    "parse": (["a.jpg", *CPU], 0),
    "export": (["lite", "--random", "-o", "net.torchscript"], 0),
    "bench": (["networks", "--backend", "gpen", "--size", "32", "--random", "--repeats", "1", *CPU], None),
    "doctor": ([], None),
    "extensions": ([], 0),
    "schema": ([], 0),
    "weights list": ([], 0),
    "weights info": (["gpen.bfr-512"], 0),
    "weights verify": ([], 0),
    "weights path": (["lite.clean-256"], 0),
    "weights import": (["lite.mine", "mine.safetensors"], 0),
    "weights remove": (["gpen.bfr-512"], None),
    "backends list": ([], 0),
    "backends info": (["lite"], 0),
    "backends check": (["lite"], None),
    "data prepare": (["photos", "--out", "faces"], None),
    "data degrade": (["hq", "-o", "sheet.png"], None),
    **{f"train {name}": (["--data", "hq", "--dry-run", *CPU], None) for name in (
        "lite", "gpen", "psfr", "mmrb", "stylegan2", "parse", "parsenet", "landmarks", "finder")},
    "train export": (["run", "-o", "w.safetensors"], None),
    "train plot": (["run"], None),
    "evaluate": (["--lq", "lq", "--hq", "hq", "--face-size", "64", "--metrics", "psnr", "--restored", "hq"], 0),
    "evaluate compare": (["a.json", "b.json"], None),
    "evaluate limits": (["arcface.ir-se50", "hq"], None),
}  # fmt: skip
"""The words of each command, and the exit code that they end with; None where it depends on what is installed."""

_heard = []


def _hear(event, arguments):
    if _heard and event in ASKED and getattr(arguments[0], "family", 0) != 1:  # AF_UNIX is no network
        _heard[-1].append((event, arguments[1:]))
        raise AssertionError(f"the network was asked for: {event} {arguments[1:]}")


sys.addaudithook(_hear)  # stays for the life of the process, and hears nothing outside of these tests


def leaves(command, words=()):
    """Yield the commands that do something, by their words."""
    inner = getattr(command, "commands", {})
    for name in inner:
        yield from leaves(inner[name], (*words, name))
    if not inner or words == ("evaluate",):
        yield " ".join(words)


def test_every_command_that_is_tried_is_there():
    assert set(leaves(typer.main.get_command(app))) >= set(CASES) | FOR_THE_NETWORK


@pytest.mark.parametrize("command", CASES)
def test_no_command_asks_the_network(command, tmp_path, monkeypatch, capsys):
    words, code = CASES[command]
    monkeypatch.chdir(tmp_path)
    shutil.copy(EXAMPLE, "a.jpg")
    if "hq" in words:
        fill(tmp_path / "hq")
        fill(tmp_path / "lq", size=32)
    if "mine.safetensors" in words:
        header = {"backend": "lite", "purpose": "restore", "face_size": "64"}
        save_state_dict(Path("mine.safetensors"), backend_class("lite").example_state_dict(), header)
    heard = []
    _heard.append(heard)
    try:
        ended = main([*command.split(), *words])
    finally:
        _heard.pop()
    said = capsys.readouterr().err
    assert heard == []
    assert "Traceback" not in said
    assert code in (None, ended), said
