"""The settings of the engine, and how all settings are read.

Settings are frozen dataclasses, whose fields say what they may be. They come from defaults < a TOML file <
``key=value`` flags, and a key that does not exist is an error that names the closest one that does.
"""

from __future__ import annotations

import json
from collections.abc import Container, Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, TypeVar

from facerestore.errors import MOST_DEPTH, ConfigError, MalformedError, parse_toml, read_text, refusing
from facerestore.fields import FieldError, make, option

Record = TypeVar("Record")


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineSettings:
    """How a run is done, whatever it trains.

    Attributes:
        steps: training steps of the whole run.
        batch_size: samples of one process in one pass; a step sees ``batch_size * accumulate * processes``.
        accumulate: passes whose gradients are added up before a step.
        precision: ``no`` for float32, ``bf16`` or ``fp16`` for mixed precision; ``auto`` for bf16 where the device has
            its arithmetic and is quicker with it, which is tried, else float32.
        schedule: how the learning rates go after the warm-up: ``constant``, ``cosine`` or ``linear`` to zero, or
            ``halving`` at 70% and again at 85% of the run.
        warmup_steps: steps of linear rise.
        clip_norm: largest norm of a phase's gradients; 0 leaves them alone.
        ema_decay: decay of the running average of the parameters, which is what is exported.
        seed: of initialisation, data order and every draw.
        workers: processes that prepare data; 0 prepares it in the training process.
        save_every: steps between checkpoints.
        keep: how many checkpoints are kept.
        validate_every: steps between validations.
        log_every: steps between lines of the log.
        channels_last: memory layout of four-dimensional parameters; quicker on most devices.
        compile: hand the networks to torch.compile.
        rollbacks: how often a run that diverges returns to its last checkpoint at half the rate before it stops.
    """

    steps: int = option(1000, least=1)
    batch_size: int = option(8, least=1)
    accumulate: int = option(1, least=1)
    precision: Literal["no", "auto", "bf16", "fp16"] = "no"
    schedule: Literal["constant", "cosine", "linear", "halving"] = "cosine"
    warmup_steps: int = option(0, least=0)
    clip_norm: float = option(0.0, least=0)
    ema_decay: float = option(0.999, least=0, below=1)
    seed: int = option(20261121, least=0)
    workers: int = option(0, least=0)
    save_every: int = option(500, least=1)
    keep: int = option(2, least=1)
    validate_every: int = option(500, least=1)
    log_every: int = option(20, least=1)
    channels_last: bool = True
    compile: bool = False
    rollbacks: int = option(3, least=0)


def read_settings(path: Path) -> dict[str, Any]:
    """Return the content of a TOML file.

    Raises:
        ConfigError: it cannot be read.
    """
    if not path.exists():
        raise ConfigError(f"configuration '{path}' cannot be read: no such file; check the path")
    with refusing(lambda why: ConfigError(f"configuration '{path}' cannot be read: {why}; mend the file")):
        return parse_toml(read_text(path))


def merged(base: Mapping[str, Any], assignments: Iterable[str]) -> dict[str, Any]:
    """Return ``base`` with ``key.inner=value`` assignments on top; values are TOML, and bare words are texts.

    Raises:
        ConfigError: an assignment has no ``=`` or no key, or goes through a value that is no table.
    """
    result: dict[str, Any] = json.loads(json.dumps(base))
    for assignment in assignments:
        key, equals, text = assignment.partition("=")
        names = [name.strip() for name in key.split(".")]
        if len(names) > MOST_DEPTH:
            raise ConfigError(
                f"'{assignment[:80]}' sets a key of more than {MOST_DEPTH} parts; give a setting's name"
            )
        if not equals or not all(names):
            raise ConfigError(f"'{assignment}' sets nothing; write key=value, such as engine.steps=2000")
        table = result
        for name in names[:-1]:
            table = table.setdefault(name, {})
            if not isinstance(table, dict):
                raise ConfigError(f"'{assignment}' goes through '{name}', which is a value and no table")
        table[names[-1]] = _parsed_value(text.strip())
    return result


def _parsed_value(text: str) -> Any:
    try:
        return parse_toml(f"value = {text.lower() if text in ('True', 'False') else text}")["value"]
    except MalformedError:
        return text


def make_settings(record: type[Record], values: Mapping[str, Any], *, source: str = "the settings") -> Record:
    """Return ``record`` (a dataclass, nested ones included) made of ``values``, with its defaults for the rest.

    Raises:
        ConfigError: a key is unknown, or a value has the wrong type or range; the message names the first.
    """
    try:
        return make(record, values)
    except FieldError as error:
        raise ConfigError(f"{source}: {error.quoted}") from error


def resolved(record: Any) -> dict[str, Any]:
    """Return a record as plain JSON values."""
    values: dict[str, Any] = json.loads(json.dumps(asdict(record)))
    return values


def differing_settings(
    before: Mapping[str, Any], now: Mapping[str, Any], *, within: str = "", free: Container[str] = ()
) -> Iterator[tuple[str, Any, Any]]:
    """Yield name, value then and value now of the settings that differ, but for the free ones, in work that goes on.

    A setting that was not known before came into being since.
    """
    for key in sorted(before):
        a, b = before[key], now.get(key)
        if isinstance(a, Mapping) and isinstance(b, Mapping):
            yield from differing_settings(a, b, within=f"{within}{key}.", free=free)
        elif a != b and f"{within}{key}" not in free:
            yield f"{within}{key}", a, b
