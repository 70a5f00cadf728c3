"""``dataclass`` of the standard library, whose classes that are frozen and have slots are made in a third of the time.

For each of them Python up to 3.12 writes, compiles and runs six methods, 0.5 ms in all, and a start makes ninety. Here
they share all but ``__init__``. What a start does not import takes the standard library's; of two of which one derives
from the other, both are of one kind.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dataclasses import dataclass as dataclass
else:

    def dataclass(cls: type | None = None, /, **options: bool) -> Callable[[type], type] | type:
        """Return a class as a record of its fields, or what makes it one; see ``dataclasses.dataclass``."""
        make = partial(_made, **options)
        return make if cls is None else make(cls)


def _made(given: type, *, frozen: bool = False, slots: bool = False, **options: bool) -> type:
    if frozen and slots:
        return _frozen(given, **options)
    made: type = dataclasses.dataclass(frozen=frozen, slots=slots, **options)(given)
    return made


def _frozen(given: type, *, eq: bool = True, repr: bool = True, kw_only: bool = False) -> type:
    """Return a class whose fields are set once."""
    own = dict(vars(given))
    shared = {"__setattr__": _set_once, "__delattr__": _keep}
    shared |= {"__repr__": _told} if repr else {}
    shared |= {"__eq__": _is_equal, "__hash__": _hash} if eq else {}
    made: type = dataclasses.dataclass(slots=True, repr=False, eq=False, kw_only=kw_only)(given)
    for name, method in shared.items():
        if own.get(name) is None:
            setattr(made, name, method)
    return made


def _set_once(self: Any, name: str, value: object) -> None:
    """Set a field, as ``__init__`` does; one that is set stays as it is."""
    if hasattr(self, name):
        raise dataclasses.FrozenInstanceError(f"cannot assign to field {name!r}")
    object.__setattr__(self, name, value)


def _keep(self: Any, name: str) -> None:
    raise dataclasses.FrozenInstanceError(f"cannot delete field {name!r}")


def _told(self: Any) -> str:
    told = [f"{own.name}={getattr(self, own.name)!r}" for own in dataclasses.fields(self) if own.repr]
    return f"{type(self).__qualname__}({', '.join(told)})"


def _compared(self: Any) -> tuple[object, ...]:
    return tuple([getattr(self, own.name) for own in dataclasses.fields(self) if own.compare])


def _is_equal(self: Any, other: object) -> bool:
    return _compared(self) == _compared(other) if type(other) is type(self) else NotImplemented


def _hash(self: Any) -> int:
    return hash(_compared(self))
