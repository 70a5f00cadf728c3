"""What a service is started with, and what each request may choose of what `RestoreConfig` and `OutputConfig` declare.

The rest of those two is chosen by whoever starts the service: networks and devices, and what names files.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import MISSING, Field, asdict, dataclass, fields
from pathlib import Path
from types import NoneType
from typing import Any, get_args

from facerestore.config import OutputConfig, RestoreConfig, make_config
from facerestore.errors import ConfigError
from facerestore.fields import Option, UnknownError, documented, option, option_of, type_of

_ASKED = "strength detail region mask faces dial min_face force upscale colour_match"
_SEEN = "aligned detect_size rotations page"
RESTORE = tuple(f"{_ASKED} {_SEEN}".split())
"""Fields of `RestoreConfig` that a request may give."""

_NETWORKS = "backend weights provider detector parser fidelity guard min_identity background photo tile"
OPERATOR = tuple(f"{_NETWORKS} repair damage_finder grain mark device precision threads".split())
"""Fields of `RestoreConfig` that whoever starts the service gives, beside ``max_pixels`` and what requests begin
with."""

OUTPUT = ("format", "quality")
"""Fields of `OutputConfig` that a request may give."""

MEGA = 1_000_000
SERVED_PIXELS = 64 * MEGA
"""Most pixels of a photo unless ``--max-pixels`` says otherwise; such a photo takes about 0.4 GB."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ServeOptions:
    """How a service listens, and what it takes."""

    host: str = option("127.0.0.1", metavar="ADDRESS")
    """Address to listen on. On any other than this machine's own, a token is needed."""

    port: int = option(8000, least=0, most=65535, metavar="N")
    """Port to listen on; 0 takes a free one."""

    token_file: Path | None = option(None, metavar="FILE")
    """A file whose first line every request must bring as 'Authorization: Bearer ...'; the variable FACERESTORE_TOKEN
    does as well."""

    workers: int = option(1, least=1, metavar="N")
    """Processes that restore, each with networks of its own."""

    at_a_time: int = option(0, least=0, metavar="N")
    """Photos at a time in each; 0 for automatic: one for each core, with a GPU at most 16, whose faces then share
    calls."""

    queue: int = option(32, least=0, metavar="N")
    """Requests that may wait beside those that are worked on; those that come then are told to come again later."""

    max_bytes: int = option(64 * MEGA, least=1, metavar="N")
    """Refuse larger uploads. All uploads together may take four times as much memory."""

    time_limit: float = option(120.0, above=0, metavar="SECONDS")
    """Longest time for one photo, waiting not counted."""

    upload_limit: float = option(60.0, above=0, metavar="SECONDS")
    """Longest time for one upload; a connection on which nothing comes or is taken for so long is closed."""

    grace: float = option(30.0, least=0, metavar="SECONDS")
    """When asked to stop, finish what was accepted for at most so long."""

    jobs: int = option(64, least=1, metavar="N")
    """Jobs that are remembered at a time, whether done or not."""

    keep_for: float = option(600.0, above=0, metavar="SECONDS")
    """Forget the result of a job after this."""

    keep: Path | None = option(None, metavar="DIR")
    """Also write the results of jobs, with their reports, into this directory. Nothing is kept on disk otherwise."""


def request_fields() -> Iterator[tuple[Any, Field[Any]]]:
    """Yield the fields that a request may give, each with its record."""
    for record, names in ((RestoreConfig, RESTORE), (OutputConfig, OUTPUT)):
        known = {each.name: each for each in fields(record)}
        yield from ((record, known[name]) for name in names)


@dataclass(frozen=True, slots=True)
class Asked:
    """What a request asks for."""

    restore: RestoreConfig
    output: OutputConfig


def asked(base: RestoreConfig, given: Mapping[str, str]) -> Asked:
    """Return what a request asks for.

    Args:
        base: what the service was started with.
        given: the texts of its options by name.

    Raises:
        ConfigError: an option is unknown, or its value unfit.
    """
    known = {each.name: (record, each) for record, each in request_fields()}
    values: dict[str, object] = {}
    for name, text in given.items():
        if name not in known:
            error = UnknownError(name, list(known))
            raise ConfigError(f"there is no option '{name[:80]}' of a request; {error.hint}") from error
        values[name] = _value(type_of(known[name][0], name), text)
    restore = {name: value for name, value in values.items() if name in RESTORE}
    output = {name: value for name, value in values.items() if name in OUTPUT}
    return Asked(make_config(RestoreConfig, {**asdict(base), **restore}), make_config(OutputConfig, output))


_NUMBER = re.compile(r"-?(0|[1-9]\d*)(\.\d+)?([eE][-+]?\d+)?", re.ASCII)


def _value(kind: Any, text: str) -> object:
    """Return a text as its field's type holds it; one that does not fit as it is, for the field's check to refuse."""
    kinds = get_args(kind) or (kind,)
    if not text and NoneType in kinds:
        return None
    if bool in kinds and text in ("true", "false"):
        return text == "true"
    if (int in kinds or float in kinds) and len(text) <= 40 and _NUMBER.fullmatch(text):
        number = float(text)
        return int(number) if float not in kinds and math.isfinite(number) and number % 1 == 0 else number
    return text


def schema_of(record: Any, each: Field[Any]) -> dict[str, Any]:
    """Return the JSON Schema of a field: type, range, default, and what its docstring says first."""
    kinds = get_args(type_of(record, each.name)) or (type_of(record, each.name),)
    known = option_of(each) or Option()
    names = {bool: "boolean", int: "integer", float: "number", str: "string"}
    plain = str if str in kinds else next(kind for kind in kinds if kind in names)
    schema: dict[str, Any] = {"type": names[plain], "description": documented(record)[each.name]}
    if plain in (int, float):
        ends = {
            "minimum": known.least,
            "maximum": known.most,
            "exclusiveMinimum": known.above,
            "exclusiveMaximum": known.below,
        }
        schema |= {word: end for word, end in ends.items() if math.isfinite(end)}
    if known.among:
        schema["enum"] = list(known.among)
    if each.default is not MISSING and each.default is not None:
        schema["default"] = each.default
    return schema
