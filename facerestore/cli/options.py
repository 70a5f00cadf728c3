"""From records to the options of commands: the fields say what each is, and a command where its help shows them."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import MISSING, Field, dataclass, fields, is_dataclass
from functools import wraps
from inspect import Parameter, Signature, signature
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, Any, get_args, get_origin, get_type_hints

import typer

from facerestore.cli.terminal import Terminal
from facerestore.config import OutputConfig, RestoreConfig, load_config, make_config
from facerestore.errors import ConfigError
from facerestore.fields import Option, documented, names_of, option, option_of, type_of

_NOTHING: Mapping[str, Any] = MappingProxyType({})
_CONFIGURATIONS = (RestoreConfig, OutputConfig)

FILES = (
    "output recursive include_results format quality suffix overwrite skip_existing compare keep_originals sheet"
    " save_faces save_stages save_damaged report html config dry_run page frames preview encoder c2pa_key"
    " c2pa_cert"
)

SETTING: Mapping[str, str] = MappingProxyType(
    {
        "Machine": "max_pixels device precision provider tile threads workers offline",
        "What is said": "as_json quiet verbose no_progress",
    }
)
"""The last panels of the help, each with its options in their order."""

MANY = "files_from include exclude shard watch retry_failed journal no_journal engine address log_json"

PANELS: Mapping[str, str] = MappingProxyType(
    {"Files": FILES, "Many photos": MANY, "Restoration": "*", **SETTING}
)
"""All panels of ``enhance``: what is in no other panel is about restoration."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Spoken:
    """How much a command says."""

    quiet: bool = option(False, flags=("-q", "--quiet"))
    """Print errors only."""

    no_progress: bool = option(False)
    """Show no progress bar."""

    @property
    def verbosity(self) -> int:
        """-1 quiet, 0 normal."""
        return -1 if self.quiet else 0

    def terminal(self, *, stdout_taken: bool = False) -> Terminal:
        """Return where the command says it; ``stdout_taken`` where standard output carries a picture or JSON."""
        return Terminal(self.verbosity, stdout_taken, not self.no_progress)


def command(
    panels: Mapping[str, str] = PANELS,
    *,
    without: str = "",
    texts: Mapping[str, str] = _NOTHING,
    changes: Mapping[str, Mapping[str, Any]] = _NOTHING,
    presets: Mapping[str, object] = _NOTHING,
) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Return what makes a command of a function: each parameter that is a record becomes the options of its fields.

    Fields of the two configurations have no default of their own on the command line, for the file may have one.

    Args:
        panels: the options of each panel of the help, in their order; ``*`` for all that are named nowhere, and an
            empty name for the first panel, which has none. Fields that are in no panel are no options.
        without: fields that are none although a panel has them.
        texts: help that says another thing than the field's documentation.
        changes: what typer is told otherwise than the field says; under ``kind`` the type that the option has.
        presets: fields of `RestoreConfig` that have another default; the file wins over them.
    """

    def made(function: Callable[..., None]) -> Callable[..., None]:
        kinds_of = get_type_hints(function, include_extras=True)
        records: dict[str, Any] = {name: kind for name, kind in kinds_of.items() if is_dataclass(kind)}
        declared = {each.name: each for record in records.values() for each in _declared_options(record)}
        arguments = [each for each in declared.values() if each.known.argument]
        options = [each.parameter(None, texts, changes) for each in arguments]
        left_out = [*without.split(), *(each.name for each in arguments)]
        for panel, names in _shown_options(panels, [*declared], left_out).items():
            options += [declared[name].parameter(panel or None, texts, changes) for name in names]
        ordered: list[Parameter] = []
        for own in signature(function).parameters.values():
            if own.name not in records:
                ordered.append(own.replace(annotation=kinds_of[own.name], kind=Parameter.KEYWORD_ONLY))
            else:
                ordered, options = [*ordered, *options], []

        @wraps(function)
        def called(**flags: Any) -> None:
            values = {name: flags[name] for name in kinds_of if name in flags}
            function(**values | {name: _made_record(kind, flags, presets) for name, kind in records.items()})

        called.__signature__ = Signature(ordered)  # type: ignore[attr-defined]  # typer reads these two
        called.__annotations__ = {each.name: each.annotation for each in ordered}
        return called

    return made


def _shown_options(
    panels: Mapping[str, str], names: Sequence[str], without: Sequence[str]
) -> dict[str, list[str]]:
    """Return the names of a command's options by panel."""
    listed = {panel: text.split() for panel, text in panels.items()}
    placed = {name for own in listed.values() for name in own}
    rest = [name for name in names if name not in placed]
    return {
        panel: [
            name
            for word in own
            for name in (rest if word == "*" else [word])
            if name in names and name not in without
        ]
        for panel, own in listed.items()
    }


@dataclass(frozen=True, slots=True)
class _Declared:
    """A field that is an option of a command.

    Attributes:
        record: whose field it is.
        field: as the record declares it.
        configured: a file may have it too.
    """

    record: Any
    field: Field[Any]
    configured: bool

    @property
    def name(self) -> str:
        """Of the field, and of the command's parameter."""
        return self.field.name

    @property
    def known(self) -> Option:
        """What the field declares."""
        return option_of(self.field) or Option()

    def parameter(self, panel: str | None, texts: Mapping[str, str], changes: Mapping[str, Any]) -> Parameter:
        """Return the parameter that typer makes the option of; see `command`."""
        known, text = self.known, documented(self.record).get(self.name)
        changed = dict(changes.get(self.name, {}))
        kind: Any = changed.pop("kind", None) or _written_type(type_of(self.record, self.name))
        switch, default = kind is bool, changed.pop("default", self.field.default)
        if self.configured:
            default = False if switch else None
            kind = Path if known.metavar == "DIR" else kind
            kind = kind if switch else kind | None
        elif _is_several(kind):
            kind, default = list[get_args(kind)[0]], default or None  # type: ignore[misc]  # known at run time
            kind = kind if default is MISSING else kind | None
        facts: dict[str, Any] = {
            "metavar": known.metavar,
            "help": texts.get(self.name) or known.off or text,
            "rich_help_panel": panel,
            **changed,
        }
        if not self.configured:
            facts |= {"min": _finite_or_none(known.least), "max": _finite_or_none(known.most)}
        if known.argument:
            info: Any = typer.Argument(**facts)
        else:
            info = typer.Option(*self._flags(switch), count=known.count, **facts)
        default = Parameter.empty if default is MISSING else default
        return Parameter(self.name, Parameter.KEYWORD_ONLY, default=default, annotation=Annotated[kind, info])

    def _flags(self, switch: bool) -> tuple[str, ...]:
        """Return the names of the option; none for the one that typer makes of the parameter's."""
        plain = self.name.replace("_", "-")
        if self.known.off:
            return tuple(dict.fromkeys((f"--no-{plain}", f"--no-{plain.replace('colour', 'color')}")))
        return self.known.flags or ((f"--{plain}",) if switch else ())


def _declared_options(record: Any) -> Iterator[_Declared]:
    """Yield the options of a record and of the configurations that it holds, in their order."""
    if record in _CONFIGURATIONS:
        yield from (_Declared(record, each, configured=True) for each in fields(record))
        return
    for each in fields(record):
        if (held := next((kind for kind in _CONFIGURATIONS if kind.__name__ == each.type), None)) is not None:
            yield from _declared_options(held)
        elif option_of(each) is not None:
            yield _Declared(record, each, configured=False)


def _written_type(kind: Any) -> Any:
    """Return what a command line takes of a type: a text where a list may stand for it too, as in Python."""
    return str if any(get_origin(one) is list for one in get_args(kind)) and str in get_args(kind) else kind


def _is_several(kind: object) -> bool:
    origin: object = get_origin(kind)
    return origin is tuple


def _finite_or_none(end: float) -> float | None:
    return end if math.isfinite(end) else None


def _made_record(record: Any, flags: Mapping[str, Any], presets: Mapping[str, object]) -> Any:
    """Return a record made of the flags of a command.

    Raises:
        ConfigError: a value, or the configuration file, is unfit.
    """
    if record in _CONFIGURATIONS:
        return make_config(record, _given_fields(record, flags))
    names = names_of(record)
    values = {name: flags[name] for name in names if name in flags}
    values |= {
        name: tuple(value or ()) for name, value in values.items() if _is_several(type_of(record, name))
    }
    strength = flags.get("strength")
    if isinstance(strength, str):
        values["strengths"] = parse_strengths(strength)
        flags = {**flags, "strength": values["strengths"][0] if len(values["strengths"]) == 1 else None}
    if "restore" in names or "files" in names:
        restore, files = load_config(
            flags.get("config"),
            restore=_given_fields(RestoreConfig, flags),
            output=_given_fields(OutputConfig, flags),
            restore_defaults=presets,
        )
        values |= {name: made for name, made in (("restore", restore), ("files", files)) if name in names}
    return record(**values)


def _given_fields(record: type[Any], flags: Mapping[str, Any]) -> dict[str, object]:
    """Return the fields of a configuration that flags say, a path as its text."""
    found: dict[str, object] = {}
    for each in fields(record):
        flag, known = flags.get(each.name), option_of(each) or Option()
        if flag is True:
            found[each.name] = not known.off
        elif flag is not None and flag is not False:
            found[each.name] = str(flag) if isinstance(flag, Path) else flag
    return found


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
