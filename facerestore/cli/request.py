"""What the commands of all tasks share: from their flags to what is asked for."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from facerestore.cli.photos import Request
from facerestore.config import OutputConfig, RestoreConfig, Task, load_config

if TYPE_CHECKING:
    from facerestore.pipeline.restore import RestorePipeline


from typing import TYPE_CHECKING

from facerestore.errors import ConfigError

if TYPE_CHECKING:
    from facerestore.weights import WeightsStore


def request_from(
    flags: Mapping[str, Any],
    task: Task,
    *,
    build: Callable[[RestoreConfig], RestorePipeline] | None = None,
    check: Callable[[Path], object] | None = None,
    aside: tuple[Path, ...] = (),
    restore_defaults: Mapping[str, object] | None = None,
) -> Request:
    """Return what a command was asked for.

    Args:
        flags: the command's parameters by name, which are the names of fields of ``RestoreConfig``, ``OutputConfig``
            and ``Request``; others are left to the command itself.
        task: what it does.
        build: makes its pipeline; None for the one that restores.
        check: raises ImageError where a photo lacks something that the task needs.
        aside: files and directories that hold no photos, though they may lie within the inputs.
        restore_defaults: what the task presets in another way than restoring.

    Raises:
        ConfigError: a value, or the configuration file, is unfit.
    """
    restore, files = load_config(
        flags["config"],
        restore=_fields(RestoreConfig, flags),
        output=_fields(OutputConfig, flags),
        restore_defaults=restore_defaults,
    )
    return Request(
        inputs=tuple(flags["inputs"]),
        output=flags["output"],
        recursive=flags["recursive"],
        restore=restore,
        files=files,
        report=flags["report"],
        as_json=flags["as_json"],
        dry_run=flags["dry_run"],
        verbosity=-1 if flags["quiet"] else flags["verbose"],
        progress=not flags["no_progress"],
        task=task,
        build=build,
        check=check,
        aside=aside,
    )


def _fields(record: type[RestoreConfig | OutputConfig], flags: Mapping[str, Any]) -> dict[str, object]:
    """Return the flags that were given and are fields of a record, paths as texts."""
    found = {field.name: _value(flags.get(field.name)) for field in fields(record)}
    if record is RestoreConfig and flags.get("no_colour_match"):
        found["colour_match"] = False
    return given(**found)


def _value(flag: Any) -> Any:
    """Return a flag as a field's value: None for a switch that was not given, paths as texts."""
    if flag is False:
        return None
    return str(flag) if isinstance(flag, Path) else flag


def given(**flags: str | float | bool | None) -> dict[str, object]:
    """Return the flags that are not None."""
    return {name: value for name, value in flags.items() if value is not None}


def parse_strengths(text: str | None) -> tuple[float, ...]:
    """Return the numbers of a list such as ``0.5,1``; none for None.

    Raises:
        ConfigError: an item is no number from 0 to 1.
    """
    try:
        strengths = () if text is None else tuple(float(item) for item in text.split(","))
    except ValueError as error:
        raise ConfigError(f"--strength is '{text}'; give a number from 0 (nothing) to 1 (full)") from error
    if not all(0 <= strength <= 1 for strength in strengths):
        raise ConfigError(f"--strength is {text}; give numbers from 0 (nothing) to 1 (full)")
    return strengths


def automatic_choice(store: WeightsStore) -> str:
    """Return in one line which installed weights the automatic choice takes, for which faces."""
    from facerestore.config import RestoreConfig
    from facerestore.pipeline.candidates import usable

    return usable(RestoreConfig(), store).words
