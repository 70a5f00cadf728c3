"""What comes from outside, by name: backends, detectors, recipes, degradations and metrics of others.

A package names them in its entry points, in a group for each kind (``facerestore.detectors``); a program registers them
for its own process. Each room holds the `Extensions` of its kind beside its table of our own. Installed packages are
looked through once, when somebody asks for more than ours, and none is imported before its name or all of its kind are
asked for. One that is broken is an error there and nowhere else, with its name, its package and the cause.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from functools import lru_cache
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, TypeVar, cast

from facerestore.errors import ConfigError, ExtensionError, FaceRestoreError, why

if TYPE_CHECKING:
    from importlib.metadata import Distribution

OWN_PACKAGE = "facerestore"

ROOMS = (
    "facerestore.backends",
    "facerestore.detection",
    "facerestore.training.recipes",
    "facerestore.degradation.presets",
    "facerestore.evaluation.metrics",
)
"""The modules that hold the extensions of a kind, as ``EXTENSIONS``."""

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
_GROUP = re.compile(r"^\[(facerestore\.\w+)\]", re.MULTILINE)

Thing = TypeVar("Thing")


@dataclass(frozen=True, slots=True)
class Extension:
    """Something that has a name; its module is not imported yet.

    Attributes:
        kind: ``backend``, ``detector``, ``recipe``, ``degradation`` or ``metric``.
        name: what options call it.
        location: ``module:Object``.
        package: what brings it, with its version; ``facerestore`` for our own.
        problem: why it cannot be used, known without importing it; None otherwise.
        given: the object itself, where a program registered it.
    """

    kind: str
    name: str
    location: str
    package: str
    problem: str | None = None
    given: object = field(default=None, compare=False)

    @property
    def own(self) -> bool:
        """Whether it comes with facerestore."""
        return self.package == OWN_PACKAGE

    def __str__(self) -> str:
        """Return it as messages name it."""
        return f"{self.kind} '{self.name}' ({self.location}, from {self.package})"


# What this process registered, by kind and name: registering is for the whole process, as an import is.
_REGISTERED: dict[tuple[str, str], Extension] = {}


def forget_registered() -> None:
    """Forget all that this process registered, for tests."""
    _REGISTERED.clear()


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Extensions(Generic[Thing]):
    """The extensions of one kind.

    Attributes:
        kind: in messages; the group of entry points is ``facerestore.`` with its plural.
        own: our own, whose names nobody else may have.
        lack: says what an object under a name lacks to be of this kind; None where nothing is amiss.
        reserved: further words that are no names here, such as ``auto``.
        error: raised for one that is broken.
    """

    kind: str
    own: Mapping[str, object]
    lack: Callable[[str, object], str | None]
    reserved: Collection[str] = ()
    error: type[FaceRestoreError] = ExtensionError

    @property
    def group(self) -> str:
        """The group of entry points."""
        return f"facerestore.{self.kind}s"

    def outside(self) -> list[Extension]:
        """Return what comes from outside, that which cannot be used included; nothing is imported."""
        found = [replace(each, kind=self.kind) for each in _installed(tuple(sys.path)).get(self.group, ())]
        found += [each for (kind, _), each in _REGISTERED.items() if kind == self.kind]
        return [replace(each, problem=each.problem or self._clash(each, found)) for each in found]

    def usable(self) -> dict[str, Extension]:
        """Return what comes from outside and has its name to itself."""
        return {each.name: each for each in self.outside() if each.problem is None}

    def names(self) -> list[str]:
        """Return all names that may be asked for, our own first."""
        return [*self.own, *self.usable()]

    def load(self, name: str, *, instead: str = "") -> Thing:
        """Return what has a name and comes from outside, imported now.

        Args:
            name: theirs.
            instead: what else may be given in the place of a name, for the message, such as ``, or a file``.

        Raises:
            ConfigError: nothing has this name, or two packages claim it.
            FaceRestoreError: `error`; it cannot be imported, or is not what it should be.
        """
        outside = self.outside()
        for each in outside:
            if each.name == name and each.problem is None:
                return self.import_one(each)
        for each in outside:
            if each.name == name:
                raise ConfigError(f"{self.kind} '{name}' of {each.package} cannot be used: {each.problem}")
        raise ConfigError(f"unknown {self.kind} '{name}'; choose one of {', '.join(self.names())}{instead}")

    def import_one(self, extension: Extension) -> Thing:
        """Return what an extension is, imported now and looked at.

        Raises:
            FaceRestoreError: `error`; it has a problem, cannot be imported, or is not what it should be.
        """
        remedy = f"update or uninstall {extension.package}"
        if extension.problem is not None:
            raise self.error(f"{extension} cannot be used: {extension.problem}")
        try:
            given = extension.given
            found = _object_at(extension.location) if given is None else given
        except (Exception, SystemExit) as error:  # a module of another package may raise anything
            again = "reinstall facerestore" if extension.own else remedy
            raise self.error(
                f"{extension} cannot be imported: {type(error).__name__}: {error}; {again}"
            ) from error
        if (lack := self.lack(extension.name, found)) is not None:
            raise self.error(f"{extension} is no {self.kind}: {lack}{'' if extension.own else f'; {remedy}'}")
        return cast("Thing", found)

    def register(self, name: str, given: Thing) -> None:
        """Give an object a name in this process; one of the same class or function takes the place of its predecessor.

        Raises:
            ConfigError: the name is taken, or is no name.
            FaceRestoreError: `error`; the object is not what it should be.
        """
        what = given if hasattr(given, "__qualname__") else type(given)
        module = getattr(what, "__module__", "?")
        location = f"{module}:{getattr(what, '__qualname__', '?')}"
        made = Extension(self.kind, name, location, f"this program ({module})", given=given)
        others = [each for each in self.outside() if (each.name, each.location) != (name, location)]
        if (clash := self._clash(made, others)) is not None:
            raise ConfigError(f"{self.kind} '{name}' cannot be registered: {clash}")
        if (lack := self.lack(name, given)) is not None:
            raise self.error(f"{self.kind} '{name}' cannot be registered: {lack}")
        _REGISTERED[self.kind, name] = made

    def _clash(self, extension: Extension, others: list[Extension]) -> str | None:
        """Return what is wrong with a name."""
        name = extension.name
        if name in self.own:
            return (
                f"its name '{name}' is that of a {self.kind} of facerestore; its author must choose another"
            )
        if name in self.reserved or not _NAME.fullmatch(name):
            return f"'{name}' is no name of a {self.kind}; its author must choose another, such as 'my-{self.kind}'"
        rivals = [each.package for each in others if each.name == name and each != extension]
        if rivals:
            remedy = "uninstall one" if not extension.given else "choose another name"
            return f"{' and '.join(rivals)} has a {self.kind} '{name}' too; {remedy}"
        return None


def all_extensions() -> list[Extensions[Any]]:
    """Return the extensions of every kind; the rooms that hold them are imported now."""
    return [import_module(room).EXTENSIONS for room in ROOMS]


@contextmanager
def foreign_errors(
    doing: str, *, author: str, error: type[FaceRestoreError] = ExtensionError
) -> Iterator[None]:
    """Turn what code of others raises into an error of our tree.

    Args:
        doing: what could not be done.
        author: whom to tell, such as ``the backend's author``.
        error: the kind of error.

    Raises:
        FaceRestoreError: ``error``; the block raised something that is not of our tree, and that is chained to it.
    """
    try:
        yield
    except FaceRestoreError:
        raise
    except Exception as fault:
        raise error(f"{doing}: {type(fault).__name__}: {fault}; report this to {author}") from fault


def _object_at(location: str) -> object:
    """Return what ``module:name`` points to, imported now."""
    module, _, name = location.partition(":")
    found: object = import_module(module)
    for part in name.split("."):
        found = getattr(found, part)
    return found


@lru_cache(maxsize=1)
def _installed(path: tuple[str, ...]) -> Mapping[str, tuple[Extension, ...]]:
    """Return group to what the packages on Python's path bring, looked up again where the path has changed.

    Not by ``importlib.metadata.entry_points``, which one damaged package keeps from telling of all others.
    """
    if not (folders := [folder for folder in path if _may_bring(folder)]):
        return {}
    from importlib.metadata import distributions

    found: dict[str, list[Extension]] = {}
    seen: set[str] = set()
    for distribution in distributions(path=folders):
        try:
            text = distribution.read_text("entry_points.txt") or ""
        except ValueError:  # no text: whoever's it is, no group of ours can be read there
            continue
        groups = _GROUP.findall(text)
        if not groups or distribution.name in seen:  # the first on the path is the one that is imported
            continue
        seen.add(distribution.name)
        for group in groups:
            found.setdefault(group, []).extend(_points(distribution, group))
    return {group: tuple(points) for group, points in found.items()}


def _may_bring(folder: str) -> bool:
    """Say whether a package in a folder, or in an archive, of Python's path may bring something.

    A sixth of the time that ``importlib.metadata`` takes to be imported and to look at 200 packages.
    """
    here = Path(folder)
    if not here.is_dir():
        return here.is_file()
    for text in here.glob("*-info/entry_points.txt"):
        with suppress(OSError):
            if b"[facerestore." in text.read_bytes():
                return True
    return any(here.glob("*.egg"))


def _points(distribution: Distribution, group: str) -> list[Extension]:
    """Return what a package brings in a group; damaged metadata is one extension with a problem."""
    package = f"{distribution.name} {distribution.version}"
    try:
        points = distribution.entry_points.select(group=group)
        return [Extension("", point.name, point.value, package) for point in points]
    except Exception as error:
        problem = f"its entry_points.txt cannot be read: {why(error)}; reinstall {package}"
        return [Extension("", distribution.name, "entry_points.txt", package, problem)]
