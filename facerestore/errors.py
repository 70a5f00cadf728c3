"""The errors of facerestore: one tree, so that one ``except FaceRestoreError`` catches all of them.

Every message says what happened, the value that caused it, and the remedy.
"""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType
from typing import Any, TypeVar


class FaceRestoreError(Exception):
    """Base of all errors that facerestore raises on purpose."""


class ConfigError(FaceRestoreError):
    """An option, a configuration file or an argument has a value that cannot be used."""


class ImageError(FaceRestoreError):
    """A picture cannot be decoded, is too large, or cannot be written."""


class InTheWayError(ImageError):
    """A file is where a result is to go, and may not be replaced."""


class WeightsError(FaceRestoreError):
    """Weights are unknown, not installed, corrupt, or cannot be downloaded."""


class CheckpointError(WeightsError):
    """A weights file is unsafe, truncated, foreign, or does not fit the network."""


class BackendError(FaceRestoreError):
    """A network failed, or gave a result that cannot be an image."""


class JournalError(FaceRestoreError):
    """The journal of a folder of results is damaged, or cannot be written."""


class CancelledError(FaceRestoreError):
    """A photo was given up because that was asked for."""


class ExtensionError(FaceRestoreError):
    """A detector, recipe, degradation or metric of another package cannot be imported, or is broken."""


MOST_BYTES = 1 << 20
"""Of a text that people or this program write to be read as a whole; the largest of ours, the catalog, has 40 KB."""

MOST_DEPTH = 64
"""Of tables within tables; ours have four. What reads them on (``repr``, ``json.dumps``) takes a call for each."""

MOST_KEY_PARTS = 64
"""Of a dotted key in TOML, whose reader takes time by their square."""

MOST_INTEGER = 2**63 - 1
"""What TOML holds whole, and what floats and indices can still be made of."""

Record = TypeVar("Record")

_WORDS = 300  # characters of a foreign error that a message quotes

_PART = r"""(?:"(?:[^"\\\n]|\\.){0,255}+"|'[^'\n]{0,255}+'|[\w-]{1,255}+)"""
_LONG_KEY = re.compile(rf"(?<![\w-]){_PART}(?:[ \t]*+\.[ \t]*+{_PART}){{{MOST_KEY_PARTS},}}")


class MalformedError(ValueError):
    """What was read is not what it claims to be, or is beyond the bounds; the text says why, in a few words."""


@contextmanager
def refusing(refuse: Callable[[str], FaceRestoreError]) -> Iterator[None]:
    """Turn whatever reading from outside raises within a ``with`` block into one error of our tree, chained to it.

    Args:
        refuse: makes the error from why it could not be read, a few words; it adds what was read, and the remedy.

    Raises:
        FaceRestoreError: what ``refuse`` made; one that the block raised itself passes as it is.
    """
    try:
        yield
    except FaceRestoreError:
        raise
    except Exception as error:  # what readers of damaged files raise is not specified
        raise refuse(why(error)) from error


def why(error: Exception) -> str:
    """Return what went wrong, in one line of bounded length that can be printed."""
    if isinstance(error, RecursionError):
        return "it is nested too deeply"
    if isinstance(error, MemoryError):
        return "it asks for more memory than there is"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    line = " ".join(str(error).split()).partition("; use sys.")[0]  # Python's advice on long numbers
    if isinstance(error, KeyError):
        line = f"{line} is missing"
    elif not line or not isinstance(error, ValueError | TypeError | OSError):
        line = f"{type(error).__name__}: {line}".removesuffix(": ")
    shown = line if len(line) <= _WORDS else line[: _WORDS - 1] + "…"
    return shown.encode("utf-8", "backslashreplace").decode()


def read_text(path: Path, *, most_bytes: int = MOST_BYTES) -> str:
    """Return a text file in UTF-8.

    Raises:
        OSError: it cannot be read.
        MalformedError: it is larger than ``most_bytes``.
        UnicodeDecodeError: it is no UTF-8.
    """
    with path.open("rb") as stream:
        data = stream.read(most_bytes + 1)
    if len(data) > most_bytes:
        raise MalformedError(f"it is larger than {most_bytes} bytes")
    return data.decode("utf-8")


def parse_json(text: str | bytes) -> Any:
    """Return the value of a JSON text, nested at most `MOST_DEPTH` deep, its whole numbers of 64 bits.

    Raises:
        MalformedError: the text is no JSON, or beyond these bounds.
    """
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise MalformedError(why(error)) from error
    _check(value)
    return value


def parse_json_object(text: str | bytes) -> dict[str, Any]:
    """Return the object of a JSON text; see `parse_json`.

    Raises:
        MalformedError: the text is no JSON, beyond the bounds, or another value than an object.
    """
    value = parse_json(text)
    if not isinstance(value, dict):
        raise MalformedError("it holds no JSON object")
    return value


def parse_toml(text: str) -> dict[str, Any]:
    """Return the tables of a TOML text, nested at most `MOST_DEPTH` deep, its whole numbers of 64 bits.

    Raises:
        MalformedError: the text is no TOML, or beyond these bounds.
    """
    if _LONG_KEY.search(text):
        raise MalformedError(f"it has a key of more than {MOST_KEY_PARTS} parts")
    try:
        tables = tomllib.loads(text)
    except (ValueError, RecursionError, LookupError, TypeError, AttributeError) as error:
        raise MalformedError(why(error)) from error
    _check(tables)
    return tables


def parse_whole(text: str, *, most: int = MOST_INTEGER) -> int:
    """Return a whole number from 0 to ``most`` that is written in the digits 0 to 9.

    Unlike ``int()`` it takes neither digits of other scripts nor signs, blanks and underscores.

    Raises:
        MalformedError: the text is no such number.
    """
    digits = text.lstrip("0")
    if not (text.isascii() and text.isdecimal()) or len(digits) > len(str(most)) or int(digits or "0") > most:
        shown = text if len(text) <= 40 else f"{text[:39]}…"
        raise MalformedError(f"{shown!r} is no whole number from 0 to {most}")
    return int(digits or "0")


def _check(value: Any) -> None:
    """Raise MalformedError where a value is nested too deeply or holds what nothing further can take."""
    left = [(value, 0)]
    while left:
        item, depth = left.pop()
        if isinstance(item, str):
            _check_text(item)
        elif isinstance(item, int) and not -MOST_INTEGER - 1 <= item <= MOST_INTEGER:
            raise MalformedError("it holds a whole number beyond 64 bits")
        elif isinstance(item, Mapping | list):
            if depth == MOST_DEPTH:
                raise MalformedError(f"it is nested more than {MOST_DEPTH} deep")
            inner = [*item, *item.values()] if isinstance(item, Mapping) else item
            left += [(each, depth + 1) for each in inner]


def _check_text(text: str) -> None:
    if "\0" in text:
        raise MalformedError("it holds a text with the character U+0000")
    if not text.isascii() and any("\ud800" <= character <= "\udfff" for character in text):
        raise MalformedError("it holds half a surrogate pair, which is no text")


_OF_A_DISPLAY = re.compile(r"lib(GL|gthread|SM|Xext|Xrender|xcb)[^:]*: cannot open shared object file")
HEADLESS = (
    "on a machine without a display, install the library (Debian: apt-get install libgl1 libglib2.0-0), or OpenCV's"
    " other package in the place of its first: pip uninstall opencv-python, then pip install opencv-python-headless"
)


def first_line(error: BaseException) -> str:
    """Return the first line of what an error of another package says; the name of its class where it says nothing."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


def named(error: Exception) -> str:
    """Return an error of another's as one line: its kind, what it says, and the remedy where a display is missing."""
    line = f"{type(error).__name__}: {' '.join(str(error).split())}"
    return f"{line}; {HEADLESS}" if lacks_display(error) else line


def lacks_display(error: Exception) -> bool:
    """Say whether OpenCV could not be imported for lack of a library that its windows need, as on servers."""
    return isinstance(error, ImportError) and _OF_A_DISPLAY.search(str(error)) is not None


def required_package(
    module: str,
    *,
    what: str,
    install: str,
    error: type[FaceRestoreError] = ConfigError,
    load: Callable[[str], ModuleType] = import_module,
) -> ModuleType:
    """Return a module of a package that need not be installed, imported now.

    Args:
        module: its full name.
        what: needs it, for the message.
        install: the command that installs it.
        error: of which kind the error is.
        load: imports it.

    Raises:
        FaceRestoreError: ``error``; it cannot be imported.
    """
    try:
        return load(module)
    except ImportError as fault:
        package = module.partition(".")[0].replace("_", "-")
        raise error(
            f"{what} needs the package {package}, which cannot be imported ({fault}); run: {install}"
        ) from fault


def require_torch(what: str) -> ModuleType:
    """Return torch, imported now; a small install lacks it.

    Args:
        what: needs it, for the message.

    Raises:
        BackendError: it cannot be imported.
    """
    return required_package("torch", what=what, install="pip install torch", error=BackendError)


def check_packages(modules: Sequence[str], *, what: str, install: str) -> None:
    """Raise ConfigError where a package is not installed; nothing is imported."""
    missing = [module for module in modules if find_spec(module) is None]
    if missing:
        raise ConfigError(f"{what} needs {' and '.join(missing)}; run: {install}")


def count(number: int, noun: str) -> str:
    """Return ``1 face``, ``2 faces``."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def no_face(search: Mapping[str, Any] | None) -> str:
    """Return what is said of a photo without a face: how small one was looked for, and how near the likeliest came.

    Args:
        search: what was looked at, as ``search_facts`` gives it; None where that is unknown.
    """
    if search is None:
        return "no face"
    least, turned = round(search["least_face_px"]), search["least_turned_px"]
    words = f"no face of {least} px or more"
    if turned is not None:
        words += ", upright or turned" if round(turned) == least else f", or {turned:.0f} px if turned"
    best = search["best_rejected"]
    return words if best is None else f"{words}; the likeliest candidate scored {best:.2f}"
