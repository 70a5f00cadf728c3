"""Records are dataclasses, whatever makes them quick to make."""

import copy
import pickle
from dataclasses import FrozenInstanceError, asdict, field, fields, is_dataclass, replace

import pytest

from facerestore.records import dataclass


@dataclass(frozen=True, slots=True)
class Point:
    """A record."""

    x: int
    y: int = 2
    seen: list[int] = field(default_factory=list, repr=False, compare=False)

    @property
    def total(self) -> int:
        return self.x + self.y


@dataclass(frozen=True, slots=True, kw_only=True)
class Named(Point):
    """One that is derived."""

    name: str


@dataclass(frozen=True, slots=True, eq=False)
class Apart:
    """One that is equal to nothing but itself."""

    x: int


def test_a_record_is_a_dataclass():
    point = Point(1)
    assert is_dataclass(point)
    assert [own.name for own in fields(point)] == ["x", "y", "seen"]
    assert asdict(replace(point, x=3)) == {"x": 3, "y": 2, "seen": []}
    assert repr(Named(x=1, name="a")) == "Named(x=1, y=2, name='a')"
    assert not hasattr(point, "__dict__")


@pytest.mark.parametrize("name", ["x", "seen", "total", "other"])
def test_what_is_set_stays(name):
    point = Point(1)
    with pytest.raises(AttributeError):
        setattr(point, name, 5)
    with pytest.raises(FrozenInstanceError, match=name):
        delattr(point, name)
    assert point == Point(1)


def test_records_are_equal_by_what_is_compared():
    assert Point(1, seen=[1]) == Point(1)
    assert len({Point(1), Point(1, seen=[1]), Point(2)}) == 2
    assert Point(1) != Named(x=1, name="")
    assert Point(1) != (1, 2)
    assert Apart(1) != Apart(1)


@pytest.mark.parametrize("record", [Point(1, 7), Named(x=2, name="b")])
def test_records_can_be_sent_and_copied(record):
    assert pickle.loads(pickle.dumps(record)) == record
    assert copy.deepcopy(record) == record
    assert copy.copy(record) == record
