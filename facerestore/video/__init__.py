"""Moving pictures: each frame goes through the line of photos, faces are followed and steadied, all else is kept."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

from facerestore.io import RemotePath

VIDEO_SUFFIXES = frozenset(
    ".3gp .avi .m2ts .m4v .mkv .mov .mp4 .mpeg .mpg .mts .webm .wmv".split()  # noqa: SIM905
)
"""What the names of videos end in."""

ANIMATION_SUFFIXES = frozenset({".gif", ".apng"})
"""What the names of pictures end in that are read as animations alone; PNG and WebP may be photos too."""

_HEAD_BYTES = 1 << 16
"""Of a file, in which a PNG or WebP says that it moves: before its pixels."""


def has_video_name(path: Path) -> bool:
    """Say whether the name of a file is that of a video, which PyAV reads; animations are Pillow's."""
    return path.suffix.lower() in VIDEO_SUFFIXES


def has_clip_name(path: Path) -> bool:
    """Say whether the name of a file is that of a moving picture and of nothing else."""
    return has_video_name(path) or path.suffix.lower() in ANIMATION_SUFFIXES


def is_clip(path: Path) -> bool:
    """Say whether a file is a moving picture: a video or GIF by its name, an animated PNG or WebP by what it holds."""
    if isinstance(path, RemotePath):
        return has_clip_name(path)
    return has_clip_name(path) or (path.suffix.lower() in (".png", ".webp") and _moves(path))


INSTALL = "pip install 'facerestore[video]'"
"""What brings PyAV."""


def can_restore(path: Path) -> bool:
    """Say whether a moving picture lies on a disk, and what it needs is installed: PyAV for videos."""
    if isinstance(path, RemotePath):
        return False
    return not has_video_name(path) or find_spec("av") is not None


def _moves(path: Path) -> bool:
    """Say whether a PNG or WebP is an animation; what cannot be read is none, nor is a pipe, which may never end."""
    try:
        if not path.is_file():
            return False
        with path.open("rb") as stream:
            head = stream.read(_HEAD_BYTES)
    except (OSError, ValueError):
        return False
    if head.startswith(b"\x89PNG"):
        pixels = head.find(b"IDAT")
        return head.find(b"acTL", 0, pixels if pixels >= 0 else len(head)) >= 0
    return head[12:16] == b"VP8X" and len(head) > 20 and bool(head[20] & 0x02)
