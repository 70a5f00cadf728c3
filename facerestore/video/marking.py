"""Where files of moving pictures hold XMP, in which a result says of itself that it is one.

Source: XMP part 3 (2020), the chapters on GIF, MPEG-4, QuickTime, AVI and ASF. Matroska knows tags by any name.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from facerestore.io import GIF_XMP, Mark, with_mark
from facerestore.types import Metadata

_TAGS = {".mov": "xmp", ".mkv": "XMP", ".webm": "XMP"}
"""Tags of files, by suffix, which FFmpeg writes where XMP stands."""

_UUID = bytes.fromhex("be7acfcb97a942e89c71999491e3afac")
_GUID = bytes.fromhex("cbcf7abea997e8429c71999491e3afac")
_GIF_TRAILER = b"\x01" + bytes(range(255, -1, -1)) + b"\x00"
"""Behind a packet in a GIF: whichever byte a reader takes for a length, it comes to the end."""


def xmp_of(container: Any) -> bytes | None:
    """Return the XMP of an open video; None where it has none, or a kind of file from which it is not read."""
    text = next((container.metadata[tag] for tag in ("xmp", "XMP") if tag in container.metadata), None)
    return None if text is None else str(text).encode()


def with_marks(packet: bytes | None, mark: Mark | None) -> tuple[bytes | None, Sequence[str]]:
    """Return the XMP of a result, and what could not be kept of it, a line each.

    Args:
        packet: of the source.
        mark: how the result was made; None for no word of it.
    """
    if mark is None:
        return packet, ()
    made = with_mark(Metadata(xmp=packet), mark)
    return made.xmp, made.dropped


def tag_of(suffix: str) -> str | None:
    """Return the name of the tag that holds XMP in a video; None where none does."""
    return _TAGS.get(suffix.lower())


def add_xmp(path: Path, packet: bytes) -> bool:
    """Add XMP to a whole file that has none, and say whether its format has a place for it.

    Args:
        path: of a video without a tag for it, or a GIF.
        packet: the XMP.
    """
    suffix = path.suffix.lower()
    if suffix in (".mp4", ".m4v", ".3gp"):
        _append(path, struct.pack(">I4s", 24 + len(packet), b"uuid") + _UUID + packet)
    elif suffix == ".wmv":
        _append(path, _GUID + struct.pack("<Q", 24 + len(packet)) + packet)
    elif suffix == ".avi":
        return _add_to_avi(path, packet)
    elif suffix == ".gif":
        data = path.read_bytes()
        begin = 13 + (3 << (data[10] & 7) + 1 if data[10] & 0x80 else 0)
        path.write_bytes(b"GIF89a" + data[6:begin] + GIF_XMP + packet + _GIF_TRAILER + data[begin:])
    else:
        return False
    return True


def _append(path: Path, data: bytes) -> None:
    with path.open("ab") as stream:
        stream.write(data)


def _add_to_avi(path: Path, packet: bytes) -> bool:
    """Add XMP to an AVI of one part; those of more than 1 GB have several."""
    chunk = struct.pack("<4sI", b"_PMX", len(packet)) + packet + b"\0" * (len(packet) % 2)
    with path.open("r+b") as stream:
        (size,) = struct.unpack("<4xI", stream.read(8))
        if stream.seek(0, 2) != size + 8:
            return False
        stream.write(chunk)
        stream.seek(4)
        stream.write(struct.pack("<I", size + len(chunk)))
    return True
