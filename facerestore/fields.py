"""Options, each declared once: a field of a frozen record, with its default, its range and its documentation.

``option`` declares one, and the docstring under it says what it does; the first paragraph of that is the help of the
command line. ``check`` holds a record to its fields, and ``make`` makes one of what a file or a command line gives.

    @dataclass(frozen=True, slots=True, kw_only=True)
    class Blur:
        sigma_px: float = option(1.0, above=0, metavar="PX")
        '''Width of the kernel.'''
"""

from __future__ import annotations

import difflib
import math
import os
import re
import sys
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import MISSING, Field, dataclass, field, fields, is_dataclass
from functools import cache
from types import NoneType, UnionType
from typing import Any, Literal, TypeVar, Union, cast, get_args, get_origin

Default = TypeVar("Default")
Record = TypeVar("Record")

_KEY = "facerestore.option"


@dataclass(frozen=True, slots=True, kw_only=True)
class Option:
    """What is known of a field beside its type, default and documentation.

    Attributes:
        least: smallest number.
        most: largest number.
        above: numbers are larger than this.
        below: numbers are smaller than this.
        multiple: numbers are multiples of this.
        among: the texts that it may be; empty for any.
        pattern: a regular expression that a text matches as a whole.
        wanted: what it may be, in the words of messages; made of the above unless given.
        metavar: what the help shows in place of a value.
        flags: names on the command line; ``--`` and the field's name unless given.
        off: of a switch that is on unless given: the help of the flag that turns it off.
        argument: it has no flag on the command line, but a place.
        count: it is a number of flags.
    """

    least: float = -math.inf
    most: float = math.inf
    above: float = -math.inf
    below: float = math.inf
    multiple: int = 1
    among: Sequence[str] = ()
    pattern: str = ""
    wanted: str = ""
    metavar: str | None = None
    flags: tuple[str, ...] = ()
    off: str = ""
    argument: bool = False
    count: bool = False

    def allows(self, value: object) -> bool:
        """Say whether a value of the right type is in range."""
        if isinstance(value, str):
            named = not self.among or value in self.among
            return named and (not self.pattern or re.fullmatch(self.pattern, value) is not None)
        if isinstance(value, bool) or not isinstance(value, int | float):
            return True
        inside = self.least <= value <= self.most and self.above < value < self.below
        return math.isfinite(value) and inside and (self.multiple == 1 or value % self.multiple == 0)

    @property
    def words(self) -> str:
        """What is in range, after the name of its type."""
        if self.among:
            return f"one of {', '.join(self.among)}"
        ends = [
            (self.least, "{:g} or more"),
            (self.above, "above {:g}"),
            (self.most, "at most {:g}"),
            (self.below, "below {:g}"),
        ]
        words = [words.format(end) for end, words in ends if math.isfinite(end)]
        return ", ".join([*words, *([f"a multiple of {self.multiple}"] if self.multiple > 1 else [])])


_PLAIN = Option()
_REQUIRED: Any = MISSING


def option(default: Default = _REQUIRED, **facts: Any) -> Default:
    """Return a field of a record that is an option; ``facts`` are those of `Option`, ``default`` is its default."""
    return field(default=default, metadata={_KEY: Option(**facts)})


def option_of(declared: Field[Any]) -> Option | None:
    """Return what a field of a record declares; None for a field that is no option."""
    return declared.metadata.get(_KEY)


class FieldError(ValueError):
    """A field is unknown or missing, or has a value that cannot be.

    Attributes:
        name: of the field, dotted where records lie within records.
        quoted: the message with the name in quotes.
    """

    def __init__(self, name: str, message: str, quoted: str | None = None) -> None:
        super().__init__(message)
        self.name, self.quoted = name, quoted or message


class UnfitError(FieldError):
    """A value cannot be.

    Attributes:
        value: that was given.
        wanted: what may be given, in words.
        denied: the message for a reader who did not write the value.
    """

    def __init__(self, name: str, value: object, wanted: str) -> None:
        fault = f"is {value!r}; {'choose' if wanted.startswith('one of ') else 'give'} {wanted}"
        super().__init__(name, f"{name} {fault}", f"'{name}' {fault}")
        self.value, self.wanted, self.denied = value, wanted, f"{name} is {value!r}, not {wanted}"


class UnknownError(FieldError):
    """There is no such field.

    Attributes:
        hint: the closest field that there is, or all of them.
    """

    def __init__(self, name: str, known: Sequence[str]) -> None:
        self.hint = suggestion(name.rpartition(".")[2], known)
        super().__init__(name, f"unknown key '{name}'; {self.hint}")


class MissingError(FieldError):
    """A field that has no default was not given."""

    def __init__(self, name: str) -> None:
        super().__init__(name, f"'{name}' is missing")


def suggestion(word: str, known: Sequence[str]) -> str:
    """Return how to go on after an unknown word: the closest known one, or all of them."""
    close = difflib.get_close_matches(word.replace("-", "_"), known, n=1)
    return f"did you mean '{close[0]}'?" if close else f"known are {', '.join(known)}"


def names_of(record: type[Any]) -> list[str]:
    """Return the names of a record's fields, in their order."""
    return [each.name for each in fields(record)]


@cache
def type_of(record: Hashable, name: str) -> Any:
    """Return the type of a record's field; of the others some may be known to type checkers only."""
    bases: Sequence[type] = cast(type, record).__mro__
    owner = next(base for base in bases if name in vars(base).get("__annotations__", ()))
    written = vars(owner)["__annotations__"][name]
    # As typing.get_type_hints does it, which would need the names of all fields.
    return eval(written, vars(sys.modules[owner.__module__])) if isinstance(written, str) else written


def check(record: Any) -> None:
    """Hold a record to what its fields declare; fields that are no options are held to their types.

    A path where a text may stand becomes that text.

    Raises:
        UnfitError: a value has another type, or is out of its range.
    """
    kind: Any = type(record)
    for each in fields(record):
        value, wanted = getattr(record, each.name), type_of(kind, each.name)
        if isinstance(value, os.PathLike) and _holds(wanted, text := os.fspath(value)):
            object.__setattr__(record, each.name, value := text)
        _check_value(each.name, value, wanted, each)


def make(record: type[Record], values: Any, *, within: str = "") -> Record:
    """Return a record, and the records within it, made of what TOML and JSON can hold, with defaults for the rest.

    Whole numbers become floats and lists tuples where those are declared, and a float that is whole an int.

    Args:
        record: a dataclass, whose own checks are made too.
        values: a mapping, by the names of its fields.
        within: what the record is part of, in messages: such as ``network.``.

    Raises:
        FieldError: there is no mapping; a key is unknown or missing; or a value has another type, or is out of its
            range.
    """
    if not isinstance(values, Mapping):
        name = within.rstrip(".") or record.__name__
        raise FieldError(name, f"{name} is {type(values).__name__}, no table")
    known = {each.name: each for each in fields(cast(Any, record))}
    made = {}
    for name, value in values.items():
        if name not in known:
            raise UnknownError(within + name, list(known))
        kind = type_of(cast(Any, record), name)
        made[name] = _converted(kind, value, f"{within}{name}.")
        _check_value(within + name, made[name], kind, known[name])
    for name, each in known.items():
        if each.default is MISSING and each.default_factory is MISSING and name not in values:
            raise MissingError(within + name)
    try:
        return record(**made)
    except ValueError as error:
        raise FieldError(within.rstrip("."), f"{f'{within[:-1]!r}: ' if within else ''}{error}") from error


def _check_value(name: str, value: object, kind: Any, declared: Field[Any]) -> None:
    """Raise UnfitError where a value is not of a type, or not in the range of its field."""
    limits = option_of(declared) or _PLAIN
    if not _holds(kind, value):
        raise UnfitError(name, value, _words_of(kind) or str(kind))
    if not limits.allows(value):
        words = limits.wanted or ", ".join(
            filter(None, ("" if limits.among else _words_of(kind), limits.words))
        )
        raise UnfitError(name, value, words)


def _holds(kind: Any, value: object) -> bool:
    """Say whether a value is of a type; bool is an int to Python, but not to whoever wrote true."""
    if type(value) is kind:
        return True
    inner = get_args(kind)
    match get_origin(kind):
        case origin if origin in (Union, UnionType):
            return any(_holds(one, value) for one in inner)
        case origin if origin is Literal:
            return any(type(value) is type(one) and value == one for one in inner)
        case origin if origin is tuple:
            if not isinstance(value, tuple):
                return False
            kinds = [inner[0]] * len(value) if inner[-1] is Ellipsis else inner
            return len(kinds) == len(value) and all(map(_holds, kinds, value))
        case origin if origin is list:
            return isinstance(value, list) and _all(inner[0], value)
        case origin if origin is dict:
            return isinstance(value, dict) and _all(inner[0], value) and _all(inner[1], value.values())
    if kind is Any:
        return True
    if kind is float:
        return isinstance(value, int | float) and not isinstance(value, bool)
    return isinstance(value, kind) and (kind is bool or not isinstance(value, bool))


def _all(kind: Any, values: Iterable[object]) -> bool:
    return all(_holds(kind, value) for value in values)


_WORDS = {str: "a text", bool: "true or false", int: "a whole number", float: "a number"}
_SEVERAL = {str: "texts", int: "whole numbers", float: "numbers"}


def _words_of(kind: Any) -> str:
    """Return what a type holds, in the words of messages; empty where its field must say."""
    inner = [one for one in get_args(kind) if one is not NoneType]
    origin = get_origin(kind)
    if origin is Literal:
        return f"one of {', '.join(map(str, inner))}"
    if origin in (Union, UnionType):
        return _words_of(inner[0])
    if origin is tuple:
        number = "" if inner[-1] is Ellipsis else f"{len(inner)} "
        return f"a list of {number}{_SEVERAL.get(inner[0], 'values')}"
    if origin is dict:
        return f"a table of {_SEVERAL.get(inner[1], 'values')}"
    if is_dataclass(kind):
        return f"a table with {', '.join(names_of(cast(Any, kind)))}"
    return _WORDS.get(kind, "")


def _converted(kind: Any, value: Any, within: str) -> Any:
    """Return a value of TOML or JSON as its field's type holds it; one that does not fit as it is."""
    if value is None or isinstance(value, str | bool) or type(value) is kind:
        return value
    inner, origin = get_args(kind), get_origin(kind)
    if origin in (Union, UnionType):
        return _converted(next(one for one in inner if one is not NoneType), value, within)
    if is_dataclass(kind) and isinstance(value, Mapping):
        return make(cast(type[Any], kind), value, within=within)
    if origin is tuple and isinstance(value, list | tuple):
        kinds = [inner[0]] * len(value) if inner[-1] is Ellipsis else inner
        if len(kinds) == len(value):
            return tuple(_converted(one, item, within) for one, item in zip(kinds, value, strict=True))
    if origin is dict and isinstance(value, Mapping):
        return {key: _converted(inner[1], item, within) for key, item in value.items()}
    if isinstance(value, int | float) and not isinstance(value, bool) and kind in (int, float):
        return kind(value) if kind is float or value % 1 == 0 else value
    return value


@cache
def documented(record: Hashable) -> Mapping[str, str]:
    """Return the first paragraph of the docstring under each field of a record, in one line."""
    import ast
    from inspect import cleandoc, getsource
    from itertools import pairwise

    kind = cast(type, record)
    inherited = documented(kind.__base__) if is_dataclass(kind.__base__) else {}
    try:
        module = ast.parse(getsource(sys.modules[kind.__module__]))
    except OSError:  # what is packed without its source has no help, and works
        return inherited
    body = next(node.body for node in module.body if getattr(node, "name", None) == kind.__name__)  # type: ignore[attr-defined]
    return {**inherited} | {
        ast.unparse(declared.target): " ".join(cleandoc(text.value.value).partition("\n\n")[0].split())
        for declared, text in pairwise(body)
        if isinstance(declared, ast.AnnAssign)
        and isinstance(text, ast.Expr)
        and isinstance(text.value, ast.Constant)
        and isinstance(text.value.value, str)
    }
