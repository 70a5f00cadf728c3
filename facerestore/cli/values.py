"""Values of options that need no check, past typer's way: that makes a schema of pydantic for each option of a command.

It takes 0.1 to 0.2 s of each start, most of it for options that nobody gave.
"""

from __future__ import annotations

import re
from functools import partial
from pathlib import Path
from types import NoneType, UnionType
from typing import Annotated, Any, Union, get_args, get_origin

CHECKS = ("parser", "exists", "resolve_path", "path_type", "min", "max")
"""What typer may be told of an option beyond its type."""

_NUMBER = re.compile(r"-?[0-9]{1,15}(\.[0-9]{1,15})?")


def quickened(parameter: Any, command: Any) -> Any:
    """Return a command's parameter that goes past typer's way where it is absent, a word, number, path or switch."""
    usual = parameter.process_value
    if not isinstance(usual, partial):
        function = getattr(command.callback, "__wrapped__", command.callback)
        kind = _plain_kind(getattr(function, "__annotations__", {}).get(parameter.name))
        parameter.process_value = partial(_processed, parameter, usual, kind)
    return parameter


def _processed(parameter: Any, usual: Any, kind: type | None, context: Any, value: Any) -> Any:
    """Return what a command is given for what stands on the command line.

    Args:
        parameter: of the command.
        usual: typer's way.
        kind: of the parameter, as `_plain_kind` gives it.
        context: of the command line.
        value: the word or words, or what stands for none.
    """
    several = parameter.multiple or parameter.nargs == -1
    words = value if several and value is not None else () if value is None else (value,)
    made = [_of_kind(kind, word) if isinstance(word, str) else word for word in words]
    unfit = made and (kind is None or not all(isinstance(one, kind) for one in made))
    if unfit or (parameter.required and not made):
        return usual(context, value)
    plain: Any = (made or ()) if several else (made or [None])[0]
    return plain if parameter.callback is None else parameter.callback(context, parameter, plain)


def _of_kind(kind: type | None, word: str) -> Any:
    """Return what a word says where nobody reads it otherwise; the word itself where somebody might."""
    if kind is Path:
        return Path(word)
    if kind in (int, float) and _NUMBER.fullmatch(word) and (kind is float or "." not in word):
        return kind(word)
    return word


def _plain_kind(kind: Any) -> type | None:
    """Return the type of which an option takes one or several and which needs no check; None for every other."""
    if get_origin(kind) is not Annotated:
        return None
    kind, told = get_args(kind)
    checks = (getattr(told, check, None) for check in CHECKS)
    if any(check is not None and check is not False for check in checks):  # a least of 0 is one
        return None
    if get_origin(kind) in (Union, UnionType):
        kind, *others = (one for one in get_args(kind) if one is not NoneType)
        if others:
            return None
    if get_origin(kind) is list:
        (kind,) = get_args(kind)
    return kind if kind in (str, int, float, bool, Path) else None
