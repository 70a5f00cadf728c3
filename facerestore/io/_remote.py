"""Paths in stores, such as ``s3://bucket/album/a.jpg``: what fsspec reaches, as paths like those of a disk.

A `RemotePath` is a ``Path`` that asks its store where others ask the disk, so that whoever plans, reads and notes
photos need not know of stores. Nothing of fsspec is imported before the first one is asked for something. Who is let in
is the store's own affair: its environment and files of credentials (``AWS_PROFILE``, ``AWS_ENDPOINT_URL`` and so on).
"""

from __future__ import annotations

import errno
import io
import os
import re
import stat
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, TypeAlias

from facerestore.errors import ConfigError, FaceRestoreError, ImageError, required_package, why
from facerestore.files import SUFFIX

if TYPE_CHECKING:
    _Base: TypeAlias = Path
else:
    _Base = type(Path())  # of this system; Path itself cannot be derived from before Python 3.12

EXTRA = "pip install 'facerestore[remote]'"
"""What installs fsspec and s3fs; other stores take a package of their own."""

_ADDRESS = re.compile(r"([a-z][a-z0-9]+):/+(.*)", re.DOTALL)  # pathlib leaves one slash of two
_SECRET = re.compile(r"[^/@]*:[^/@]*@")


@dataclass(frozen=True, slots=True)
class _Store:
    """What is to be known of a kind of store.

    Attributes:
        package: the module that fsspec needs for it; None for none.
        install: the command that installs it.
        whole: what is put there is seen whole or not at all; elsewhere files are written aside and moved.
        buckets: the first part of an address is a bucket, a folder that is never made.
        writable: results may go there; where not, there are no folders either.
        exclusive: the argument by which ``pipe_file`` is told to take a name only if it is free.
    """

    package: str | None
    install: str = EXTRA
    whole: bool = True
    buckets: bool = True
    writable: bool = True
    exclusive: tuple[str, object] = ("mode", "create")


_S3, _WEB = _Store("s3fs"), _Store("aiohttp", buckets=False, writable=False)
_GOOGLE = _Store("gcsfs", f"{EXTRA} gcsfs")
_AZURE = _Store("adlfs", f"{EXTRA} adlfs", exclusive=("overwrite", False))

_STORES: Mapping[str, _Store] = MappingProxyType(
    {
        **dict.fromkeys(("s3", "s3a"), _S3),
        **dict.fromkeys(("gs", "gcs"), _GOOGLE),
        **dict.fromkeys(("az", "abfs", "abfss"), _AZURE),
        **dict.fromkeys(("http", "https"), _WEB),
        "memory": _Store(None, buckets=False),
        "local": _Store(None, whole=False, buckets=False),
    }
)
"""By the schemes of addresses; ``file://`` is the disk itself."""


def located(path: str | os.PathLike[str]) -> Path:
    """Return the path that a text or a path stands for: that of a store where it is an address, else one of the disk.

    Raises:
        ConfigError: the address holds a password or a query, which reports and names of results would show.
    """
    if isinstance(path, RemotePath):
        return path
    found = _ADDRESS.match(os.fspath(path))
    if found is not None and found[1] == "file":
        return Path(found[2] if os.name == "nt" else f"/{found[2]}")
    if found is None or found[1] not in _STORES:
        return Path(path)
    if _SECRET.match(found[2]):
        raise ConfigError(
            f"the {found[1]}:// address holds a password, which reports would show; give it in the environment or the"
            " files of credentials that the store knows"
        )
    if found[1] in ("http", "https") and "?" in found[2]:
        raise ConfigError(
            f"'{found[1]}://{found[2].partition('?')[0]}' has a query, which is no part of a photo's name; give an"
            " address without one, or download the photo first"
        )
    return RemotePath(f"{found[1]}:/{found[2]}")


class RemotePath(_Base):
    """A path in a store; made by `located`. What is written goes through `write`.

    Where a store cannot be asked, for lack of a network or of permissions, each method raises ImageError, chained to an
    OSError; and ConfigError where the store's package is not installed.
    """

    __slots__ = ()

    @property
    def scheme(self) -> str:
        """What the address begins with, such as ``s3``."""
        return self.parts[0].removesuffix(":")

    @property
    def is_listed(self) -> bool:
        """Whether its store tells what a folder holds."""
        return self._kind.writable

    @property
    def _kind(self) -> _Store:
        return _STORES[self.scheme]

    def __str__(self) -> str:
        """Return the address; of a path within another, its parts."""
        text = super().__str__()
        found = _ADDRESS.match(text)
        if found is None:
            return text
        return f"{found[1]}:{'///' if found[1] == 'local' else '//'}{found[2]}"

    def is_absolute(self) -> bool:
        """Say that it is."""
        return True

    def absolute(self) -> RemotePath:
        """Return the path itself."""
        return self

    def resolve(self, strict: bool = False) -> RemotePath:
        """Return the path itself: stores have no links."""
        return self

    def is_symlink(self) -> bool:
        """Say that it is none."""
        return False

    def samefile(self, other_path: str | os.PathLike[str]) -> bool:
        """Say whether two addresses are equal."""
        return self == other_path

    def check_writable(self) -> None:
        """Raise ConfigError where the store only reads."""
        if not self._kind.writable:
            raise ConfigError(
                f"'{self}' can be read and not written; give a directory or a store such as s3:// with -o"
            )

    def exists(self) -> bool:
        """Say whether there is a file or a folder."""
        with self._asked() as (store, key):
            return bool(store.exists(key))

    def is_file(self) -> bool:
        """Say whether it is a file."""
        with self._asked() as (store, key):
            return bool(store.isfile(key))

    def is_dir(self) -> bool:
        """Say whether it is a folder: a bucket, or the beginning of other names."""
        kind = self._kind
        if not kind.writable or (kind.buckets and len(self.parts) <= 2):
            return kind.writable
        with self._asked() as (store, key):
            return bool(store.isdir(key))

    def stat(self, *, follow_symlinks: bool = True) -> os.stat_result:
        """Return the size, and when it was written as far as the store says.

        Raises:
            FileNotFoundError: there is nothing.
        """
        with self._asked() as (store, key):
            found = store.info(key)
        mode = stat.S_IFDIR | 0o755 if found.get("type") == "directory" else stat.S_IFREG | 0o644
        written_ns = _written_ns(found)
        seconds = written_ns // 1_000_000_000
        return os.stat_result(
            (mode, 0, 0, 1, 0, 0, found.get("size") or 0, seconds, seconds, seconds),
            {"st_mtime_ns": written_ns},
        )

    def read_bytes(self) -> bytes:
        """Return the file, in one request.

        Raises:
            FileNotFoundError: there is nothing.
        """
        with self._asked() as (store, key):
            return bytes(store.cat_file(key))

    def open(self, mode: str = "r", *args: Any, **kwargs: Any) -> Any:
        """Return the whole file as a stream of bytes; it is for reading only."""
        if mode != "rb":
            raise io.UnsupportedOperation(f"'{self}' is opened with mode {mode}; read bytes, or use write")
        return io.BytesIO(self.read_bytes())

    def write(self, parts: Iterable[bytes | bytearray | memoryview], *, overwrite: bool) -> None:
        """Write a file that is seen whole or not at all.

        Args:
            parts: its content, in pieces.
            overwrite: replace one that is there; otherwise its name is taken only if it is free, at that very moment in
                stores that can do so, and a moment before in others.

        Raises:
            FileExistsError: the name is taken.
        """
        self.check_writable()
        data = b"".join(parts)
        with self._asked() as (store, key):
            if self._kind.whole:
                store.pipe_file(key, data, **dict([] if overwrite else [self._kind.exclusive]))
            else:
                _write_aside(store, key, data, overwrite=overwrite)

    def matching(self) -> list[RemotePath]:
        """Return what there is of a pattern such as ``s3://bucket/*.jpg``, sorted."""
        with self._asked() as (store, key):
            found = store.glob(key)
        return sorted(RemotePath(f"{self.scheme}:/{name.lstrip('/')}") for name in found)

    def entries(self, *, recursive: bool) -> Iterator[tuple[RemotePath, bool]]:
        """Yield what is in a folder, and of each whether it is a folder; ``recursive`` yields all files below it.

        Names that begin with a dot, and what is in such folders, are left out.

        Raises:
            FileNotFoundError: there is nothing.
        """
        with self._asked() as (store, key):
            found = store.find(key, detail=True) if recursive else None
            infos = list(store.ls(key, detail=True)) if found is None else list(found.values())
        for info in infos:
            within = info["name"].rstrip("/").removeprefix(key.rstrip("/")).lstrip("/")
            if within and not any(part.startswith(".") for part in within.split("/")):
                yield self / within, info["type"] == "directory"

    def stamps(self) -> dict[str, tuple[int, int]]:
        """Return the files of a folder by name, each with size and time as ``stat`` has them; none where none are."""
        with self._asked() as (store, key):
            try:
                infos = store.ls(key, detail=True)
            except FileNotFoundError:
                return {}
        return {
            info["name"].rpartition("/")[2]: (info.get("size") or 0, _written_ns(info))
            for info in infos
            if info["type"] == "file"
        }

    @contextmanager
    def _asked(self) -> Iterator[tuple[Any, str]]:
        """Yield the store and the path's key in it; what else it raises than that there is nothing, as ImageError."""
        what, install = f"{self.scheme}://", self._kind.install
        fsspec = required_package("fsspec.core", what=what, install=install)
        if self._kind.package is not None:
            required_package(self._kind.package, what=what, install=install)
        try:
            # Listings would be kept for as long as the process lives, beside whatever others write.
            yield fsspec.url_to_fs(str(self), use_listings_cache=False)
        except (FileNotFoundError, FileExistsError, FaceRestoreError):
            raise
        except Exception as error:
            fault = error if isinstance(error, OSError) else OSError(errno.EIO, why(error), str(self))
            if fault is not error:
                fault.__cause__ = error
            raise ImageError(
                f"{self}: the store refused, or cannot be reached ({why(error)}); check the address, the network and"
                f" the credentials for {self.scheme}://"
            ) from fault


def _write_aside(store: Any, key: str, data: bytes, *, overwrite: bool) -> None:
    """Write a file beside its place, and move it there."""
    folder = key.rpartition("/")[0]
    aside = f"{folder}/.{os.urandom(8).hex()}{SUFFIX}"
    store.makedirs(folder, exist_ok=True)
    try:
        store.pipe_file(aside, data)
        if not overwrite and store.exists(key):
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), key)
        store.mv(aside, key)
    except BaseException:
        with suppress(Exception):  # it may be gone, and what happened is what is to be told
            store.rm_file(aside)
        raise


def _written_ns(info: Mapping[str, Any]) -> int:
    """Return when a file was written, as stores say it, in nanoseconds since 1970; 0 where one does not.

    In whole seconds: some tell of parts of one in listings alone.
    """
    for name in ("LastModified", "mtime", "last_modified", "updated", "created"):
        when = info.get(name)
        if isinstance(when, str):
            with suppress(ValueError):
                when = datetime.fromisoformat(when)
        if isinstance(when, datetime):
            when = when.timestamp()
        if isinstance(when, int | float):
            return int(when) * 1_000_000_000
    return 0
