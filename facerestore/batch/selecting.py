"""Which of the photos that there are a run takes: by a list, by patterns, or one share of them."""

from __future__ import annotations

import hashlib
import json
import os
import sqlite3
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import cache
from pathlib import Path

from facerestore.batch.journal_file import FILE, check_tables, checked_texts, telling
from facerestore.errors import ConfigError, MalformedError, parse_whole
from facerestore.io import SUFFIXES, RemotePath, lacking, located
from facerestore.video import VIDEO_SUFFIXES

_KINDS = {
    "HEIC": ".heic .heif .hif",
    "undo file": ".undo",
    "GIF": ".gif",
    "PDF": ".pdf",
    "JPEG XL": ".jxl",
    "JPEG 2000": ".jp2 .j2k .jpf .jpx",
    "Photoshop": ".psd .psb",
    "SVG": ".svg",
    "camera raw": ".3fr .arw .cr2 .cr3 .crw .dng .erf .iiq .kdc .mef .mos .nef .nrw .orf .pef .raf .rw2 .srw .x3f",
    "video": " ".join(sorted(VIDEO_SUFFIXES)),
}
_KIND_OF = {suffix: kind for kind, suffixes in _KINDS.items() for suffix in suffixes.split()}


@dataclass(frozen=True, slots=True)
class Shard:
    """One of several shares of the photos of a run, which together are all of them, each once.

    Attributes:
        number: of the share, from 1.
        count: how many there are.
    """

    number: int
    count: int

    def holds(self, name: Path) -> bool:
        """Say whether a photo is in this share, by the name of its result within the run and by nothing else."""
        text = unicodedata.normalize("NFC", name.as_posix())
        digest = hashlib.blake2b(os.fsencode(text), digest_size=8).digest()
        return int.from_bytes(digest, "big") % self.count == self.number - 1


def parse_shard(text: str) -> Shard:
    """Return the share that a text such as ``3/16`` names.

    Raises:
        ConfigError: it names none.
    """
    number, _, count = text.partition("/")
    try:
        shard = Shard(parse_whole(number), parse_whole(count))
    except MalformedError:
        shard = Shard(0, 0)
    if not 1 <= shard.number <= shard.count:
        raise ConfigError(f"--shard is '{text}'; give K/N with K from 1 to N, such as 3/16")
    return shard


@dataclass(frozen=True, slots=True, kw_only=True)
class Selection:
    """What is taken of the photos that there are.

    Attributes:
        listed: photos and directories beside the inputs; each has its place in the output by its path.
        include: patterns, one of which a photo matches; none for all photos.
        exclude: patterns that it does not match.
        shard: one share of them; None for all.
        results: those of earlier runs too.
        clips: says of a file whether it is restored as a moving picture; in a directory such are taken too, where what
            they need is installed.
    """

    listed: tuple[Path, ...] = ()
    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    shard: Shard | None = None
    results: bool = False
    clips: Callable[[Path], bool] = lambda path: False

    def takes(self, path: Path) -> bool:
        """Say whether the patterns let a photo through.

        A pattern with a slash is for its path within the directory that is searched, others are for its name and the
        name of each directory on that path. Case counts; ``*`` stands for slashes too.
        """
        wanted = not self.include or any(_matches(path, pattern) for pattern in self.include)
        return wanted and not any(_matches(path, pattern) for pattern in self.exclude)


def _matches(path: Path, pattern: str) -> bool:
    texts = [path.as_posix()] if "/" in pattern else path.parts
    return any(fnmatchcase(text, pattern) for text in texts)


def read_list(data: bytes) -> tuple[Path, ...]:
    """Return the paths of a list: one a line, or with a zero byte after each, as ``find -print0`` writes them."""
    data = data.removeprefix(b"\xef\xbb\xbf")
    lines = data.split(b"\0") if b"\0" in data else data.splitlines()
    return tuple(located(os.fsdecode(line)) for line in lines if line)


def place_of(path: Path) -> Path:
    """Return a listed path's place in the output: where it lies below the current directory, else its whole path.

    Of an address, all that follows its scheme.
    """
    if isinstance(path, RemotePath):
        return Path(*path.parts[1:])
    whole = Path(os.path.normpath(Path.cwd() / path))
    return whole.relative_to(Path.cwd() if whole.is_relative_to(Path.cwd()) else whole.anchor)


def kinds_of(paths: Iterable[Path], *, lacks: Callable[[str], str | None] = lacking) -> str:
    """Return files counted by kind: ``3 videos, 2 .txt, 1 PDF``, the most first, with what would read them.

    Args:
        paths: the files.
        lacks: returns the command that installs what a format needs; None where nothing is wanting.
    """
    counts, installs = Counter[str](), dict[str, str]()
    for suffix in (path.suffix.lower() for path in paths):
        kind = _KIND_OF.get(suffix, suffix or "without a suffix")
        counts[kind] += 1
        if install := lacks(SUFFIXES.get(suffix, "")):
            installs[kind] = f" (to read them: {install})"
    return ", ".join(
        f"{number} {kind}{'s' if kind in ('video', 'undo file') and number > 1 else ''}{installs.get(kind, '')}"
        for kind, number in counts.most_common()
    )


def known_results() -> Callable[[Path], bool]:
    """Return what says of a file whether an earlier run has written it, by the journals of directories that it lies in.

    It reads each journal once, when it is first asked for; and raises JournalError where one is damaged.
    """
    written_in = cache(_written_in)

    def is_known(path: Path) -> bool:
        whole = path.absolute()
        return any(whole.relative_to(folder).as_posix() in written_in(folder) for folder in whole.parents)

    return is_known


def _written_in(folder: Path) -> frozenset[str]:
    """Return the files that a directory's journal knows, by their paths within it; none where there is no journal."""
    if isinstance(folder, RemotePath) or not os.path.lexists(folder / FILE):
        return frozenset()
    with telling(folder):
        base = sqlite3.connect(f"{(folder / FILE).as_uri()}?mode=ro", uri=True)
        try:
            check_tables(base)
            rows = base.execute("SELECT written FROM photos WHERE state = 'done'").fetchall()
        finally:
            base.close()
        return frozenset(name for (names,) in rows for name in checked_texts(json.loads(names)))
