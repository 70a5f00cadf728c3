"""What is released: two wheels of the same bytes, lowest versions of all requirements, licences that are known."""

import importlib.util
import os
import shutil
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
SOURCES = ("facerestore", "weights", "pyproject.toml", "README.md", "LICENSE")
IGNORED = shutil.ignore_patterns("__pycache__")
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]


def module(name):
    """Return a program of .ci as a module."""
    spec = importlib.util.spec_from_file_location(name, ROOT / ".ci" / f"{name}.py")
    made = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(made)
    return made


def built(folder, monkeypatch, *, umask, seconds):
    """Return the wheel of a copy of the sources, made under a umask, with files of another time."""
    wheel = pytest.importorskip("hatchling.builders.wheel")
    before = os.umask(umask)
    try:
        for name in SOURCES:
            source, target = ROOT / name, folder / name
            if source.is_dir():
                shutil.copytree(
                    source,
                    target,
                    ignore=shutil.ignore_patterns("__pycache__"),
                    copy_function=shutil.copyfile,
                )
            else:
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(source, target)
        for path in folder.rglob("*"):
            os.utime(path, (seconds, seconds))
        monkeypatch.setenv("SOURCE_DATE_EPOCH", "1700000000")
        (made,) = wheel.WheelBuilder(str(folder)).build(directory=str(folder / "dist"))
    finally:
        os.umask(before)
    return Path(made)


def test_two_wheels_have_the_same_bytes_wherever_and_whenever_they_are_made(tmp_path, monkeypatch):
    one = built(tmp_path / "one", monkeypatch, umask=0o022, seconds=1_600_000_000)
    other = built(tmp_path / "another folder" / "deeper", monkeypatch, umask=0o077, seconds=1_500_000_000)
    assert one.name == other.name
    assert one.read_bytes() == other.read_bytes()


def test_every_requirement_has_a_lowest_version():
    lowest = module("lowest_versions").lowest
    extras = PROJECT["optional-dependencies"].values()
    for requirement in [*PROJECT["dependencies"], *(each for extra in extras for each in extra)]:
        assert "==" in lowest(requirement)


@pytest.mark.parametrize(
    ("requirement", "constraint"),
    [
        ("torch>=2.4", "torch==2.4.*"),
        ("safetensors>=0.4.3", "safetensors==0.4.3"),
        ("opencv-python>=4.11,<6", "opencv-python==4.11.*"),
        ("moto[s3,server]>=5.1", "moto==5.1.*"),
        ("basicsr>=1.4.2; python_version < '3.13'", "basicsr==1.4.2; python_version < '3.13'"),
    ],
)
def test_the_lowest_version_is_that_of_the_requirement(requirement, constraint):
    assert module("lowest_versions").lowest(requirement) == constraint


def test_a_requirement_without_a_lowest_version_is_refused():
    with pytest.raises(SystemExit, match="'torch' has no lowest version; write it as NAME>=VERSION"):
        module("lowest_versions").lowest("torch")


@pytest.mark.parametrize(
    ("words", "known"),
    [
        ("MIT", True),
        ("Apache-2.0 OR BSD-3-Clause", True),
        ("BSD-3-Clause AND MIT AND Zlib", True),
        ("GPL-3.0-only", False),
        ("MIT AND GPL-3.0-only", False),
        ("GPL-3.0-only OR MIT", True),
        ("", False),
        ("Something of our own", False),
    ],
)
def test_licences_are_those_that_are_allowed(words, known):
    assert module("licences").is_allowed(words) is known


def test_what_facerestore_needs_is_of_licences_that_are_allowed():
    """Holds the environment of the tests to the same list as the release."""
    licences = module("licences")
    found = licences.licences_of(PROJECT["dependencies"])
    assert "filelock" in found
    assert {name: words for name, words in found.items() if not licences.is_allowed(words)} == {}
