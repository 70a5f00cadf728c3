"""Faces in tar files, for sets too large for loose files or for one disk.

The files follow webdataset's convention - the parts of a sample stand together and share their name up to the first
dot: ``set/name.png``, ``set/name.parsing.png``, ``set/name.json`` - so that webdataset reads them too. Here they are
read at random instead, by an index of where each member lies, because a sample of a run is a function of its position
alone, which a stream with a shuffle buffer cannot give. The index is made of the headers when a run begins, about
30,000 faces a second from a local disk. Shards need not lie on one disk: a folder of links to them will do.
"""

from __future__ import annotations

import io
import json
import re
import tarfile
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from facerestore.errors import ConfigError, ImageError, MalformedError, parse_whole, refusing
from facerestore.files import written_whole
from facerestore.io import SUFFIXES

PARSING = "parsing.png"
"""Ending of the parsing map beside a face."""
SHARD_NAME = "{:06d}.tar"
_BRACES = re.compile(r"\{([0-9]+)\.\.([0-9]+)\}")
_NUMBERED = re.compile(r"([0-9]{1,12})\.tar")
MOST_SHARDS = 999_999  # the numbers that `SHARD_NAME` has room for


@dataclass(frozen=True, slots=True)
class Span:
    """Where the bytes of a member lie in its shard."""

    offset: int
    size: int

    def read(self, shard: Path) -> bytes:
        """Return the bytes.

        Raises:
            ImageError: the shard is gone or shorter than it was.
        """
        try:
            with shard.open("rb") as stream:
                stream.seek(self.offset)
                data = stream.read(self.size)
        except OSError as error:
            raise ImageError(f"shard '{shard}' cannot be read: {error}") from error
        if len(data) != self.size:
            raise ImageError(f"shard '{shard}' ends early; it has changed since the run began")
        return data


@dataclass(frozen=True, slots=True)
class ShardFace:
    """One face of a shard.

    Attributes:
        set_name: folder in its name; of a face without one, the folder of the shard.
        name: its name, without folder and endings.
        face: where the picture lies.
        parsing: where its parsing map lies, if there is one.
    """

    set_name: str
    name: str
    face: Span
    parsing: Span | None


@dataclass(frozen=True, slots=True)
class ShardSample:
    """What is written of one face.

    Attributes:
        set_name: the set it is of.
        name: distinct within the set.
        parts: ending -> bytes, such as ``png``, ``parsing.png`` and ``json``.
    """

    set_name: str
    name: str
    parts: Mapping[str, bytes]


def expand_braces(path: Path) -> list[Path]:
    """Return the paths that ``{000000..000099}`` in a path stands for; the path itself without braces."""
    found = _BRACES.search(str(path))
    if found is None:
        return [path]
    first, last = found.groups()
    with refusing(lambda why: ConfigError(f"'{path}' names no shards: {why}; write {{000000..000099}}")):
        span = range(parse_whole(first, most=MOST_SHARDS), parse_whole(last, most=MOST_SHARDS) + 1)
    numbers = [f"{number:0{len(first)}d}" for number in span]
    return [
        other
        for number in numbers
        for other in expand_braces(Path(str(path)[: found.start()] + number + str(path)[found.end() :]))
    ]


def shard_faces(shard: Path) -> list[ShardFace]:
    """Return the faces of a shard in its order.

    Raises:
        ConfigError: it cannot be read, or is no tar file.
    """
    members: dict[str, dict[str, Span]] = {}
    with refusing(lambda why: ConfigError(f"shard '{shard}' cannot be read: {why}; write or fetch it again")):
        size = shard.stat().st_size
        with tarfile.open(shard, "r:") as archive:
            for member in archive:
                if not 0 <= member.size <= size - member.offset_data:
                    raise MalformedError(
                        f"member '{member.name[:80]}' claims {member.size} bytes of a file of {size}"
                    )
                if member.isfile():
                    key, ending = _split_name(member.name)
                    members.setdefault(key, {})[ending] = Span(member.offset_data, member.size)
    faces = []
    for key, parts in members.items():
        picture = next((ending for ending in parts if f".{ending}" in SUFFIXES), None)
        if picture is not None:
            place = PurePosixPath(key)
            set_name = place.parent.name or shard.resolve().parent.name
            faces.append(ShardFace(set_name, place.name, parts[picture], parts.get(PARSING)))
    return faces


def _split_name(name: str) -> tuple[str, str]:
    """Return what samples are grouped by, and the ending in lower case, as webdataset splits a member's name."""
    folder, _, file = name.rpartition("/")
    stem, _, ending = file.partition(".")
    return f"{folder}/{stem}" if folder else stem, ending.lower()


def write_shards(samples: Iterable[ShardSample], folder: Path, *, max_bytes: int) -> Iterator[Path]:
    """Yield shards of about ``max_bytes`` as each is complete; they are numbered on from those that are there.

    Args:
        samples: in order; a dot in a name becomes an underscore, since names end at their first dot.
        folder: where to; made if need be.
        max_bytes: a shard is closed before it would grow beyond; one that holds a single sample may be larger.

    Raises:
        ImageError: the disk is full, or the folder cannot be written; no unfinished shard has a shard's name.
    """
    held: list[ShardSample] = []
    size = 0
    for sample in samples:
        weight = sum(len(data) + 2 * tarfile.BLOCKSIZE for data in sample.parts.values())
        if held and size + weight > max_bytes:
            yield _write_shard(held, folder)
            held, size = [], 0
        held.append(sample)
        size += weight
    if held:
        yield _write_shard(held, folder)


def _write_shard(samples: Iterable[ShardSample], folder: Path) -> Path:
    """Write one shard under the next free number, whole or not at all."""
    taken = [int(found[1]) for path in folder.glob("*.tar") if (found := _NUMBERED.fullmatch(path.name))]
    target = folder / SHARD_NAME.format(max(taken, default=-1) + 1)
    try:
        with (
            written_whole(target) as stream,
            tarfile.open(fileobj=stream, mode="w", format=tarfile.PAX_FORMAT) as archive,
        ):
            for sample in samples:
                for ending, data in sample.parts.items():
                    name = f"{sample.set_name}/{sample.name.replace('.', '_')}.{ending}"
                    member = tarfile.TarInfo(name)
                    member.size = len(data)
                    archive.addfile(member, io.BytesIO(data))
    except OSError as error:
        raise ImageError(
            f"{target}: cannot be written ({error.strerror or error}); free some space"
        ) from error
    return target


def json_part(values: Mapping[str, object]) -> bytes:
    """Return plain values as the bytes of a ``json`` part."""
    return json.dumps(values, ensure_ascii=False).encode()
