"""File names as long as a disk takes them."""

from __future__ import annotations

import hashlib
import os
from functools import lru_cache
from pathlib import Path

USUAL_LONGEST = 255
"""Bytes of a name on nearly all file systems (NAME_MAX)."""
_LEAST_LONGEST = 64
"""What says less does not know (some network file systems say 0)."""


def fitting(folder: Path, stem: str, ending: str) -> str:
    """Return ``stem`` and ``ending`` as a name for ``folder``; one that is too long ends in a hash.

    The same stem always gives the same name, and different ones different names.
    """
    longest = longest_name(folder)
    if len(os.fsencode(stem + ending)) <= longest:
        return stem + ending
    ending = f"~{hashlib.blake2b(os.fsencode(stem), digest_size=6).hexdigest()}{ending}"
    room = longest - len(os.fsencode(ending))
    while stem and len(os.fsencode(stem)) > room:  # by characters: none is cut in two
        stem = stem[:-1]
    return stem + ending


@lru_cache(maxsize=1024)
def longest_name(folder: Path) -> int:
    """Return how many bytes a name in a folder, which need not be there yet, may have."""
    if not hasattr(os, "pathconf"):
        return USUAL_LONGEST
    for place in (folder, *folder.parents):
        try:
            longest = os.pathconf(place, "PC_NAME_MAX")
        except (OSError, ValueError):
            continue
        return min(longest, USUAL_LONGEST) if longest >= _LEAST_LONGEST else USUAL_LONGEST
    return USUAL_LONGEST


def is_folder(path: Path) -> bool:
    """Say whether a path is known to lead to a folder; it is not where it cannot be looked at, which never raises.

    ``Path.is_dir`` raises for what may not be looked at, and for a name that is too long.
    """
    return os.path.isdir(path)  # noqa: PTH112


def is_file(path: Path) -> bool:
    """Say whether a path is known to lead to a file; never raises."""
    return os.path.isfile(path)  # noqa: PTH113


def exists(path: Path) -> bool:
    """Say whether a path is known to lead anywhere; never raises."""
    return os.path.exists(path)  # noqa: PTH110
