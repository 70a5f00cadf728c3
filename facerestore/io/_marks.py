"""What a result says of itself: an IPTC term that programs know, and how it was made, added to the XMP of its photo.

Source: IPTC Photo Metadata Standard 2024.1 (Digital Source Type) and its NewsCodes; XMP part 1, section 7.4.
"""

from __future__ import annotations

import json
import os
import re
import struct
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import IO, Any

from facerestore.errors import ImageError
from facerestore.io import _xmp
from facerestore.io._remote import RemotePath
from facerestore.io._xmp import Name
from facerestore.types import Metadata

COMPOSITE = "http://cv.iptc.org/newscodes/digitalsourcetype/compositeWithTrainedAlgorithmicMedia"
"""IPTC's term for a photo into which a trained network has put something."""
_WHOLLY_MADE = b"http://cv.iptc.org/newscodes/digitalsourcetype/trainedAlgorithmicMedia"
_OURS, _IPTC = "urn:facerestore", "http://iptc.org/std/Iptc4xmpExt/2008-02-29/"
_SOURCE_TYPE, _RESULT, _MADE = (_IPTC, "DigitalSourceType"), (_OURS, "result"), (_OURS, "made")
_DAMAGED = "mark of what was restored, for the XMP is damaged"

# As we write it, and as a program does that writes attributes as elements.
_WORDS = re.compile(rb"facerestore:(drawn|result)(?:=\"|>)([a-z ]+)[\"<]")
_FACTS = re.compile(rb"facerestore:made(?:=\"([^\"]*)\"|>([^<]*)<)")
_WINDOW = 1 << 16
"""Bytes at either end of a file where a mark is sought; where a head of JPEG, PNG or TIFF is longer, all of that."""
_LONGEST_HEAD = 1 << 24
_MATROSKA, _SEGMENT, _CLUSTER = b"\x1a\x45\xdf\xa3", b"\x18\x53\x80\x67", b"\x1f\x43\xb6\x75"
_PARTS_OF_JPEG, _PIXELS_OF_PNG = frozenset((*range(0xE0, 0xF0), 0xFE, 0xDB, 0xC4, 0xDD)), (b"IDAT", b"IEND")


@dataclass(frozen=True, slots=True, kw_only=True)
class Mark:
    """What a result says of how it was made.

    Attributes:
        done: what was done to the photo, one after the other: ``restored``, ``coloured``, ``filled``, ``synthesized``;
            of one without a changed face ``cleaned`` or ``enlarged``.
        version: of the facerestore that did the last of it, as all that follows.
        weights: sha256 of the weights that ran, by their names; None where it is not known.
        strength: of the whole photo, 0 to 1.
        upscale: how much the photo was enlarged.
        background: the network that made the rest of the photo anew; None where nothing did.
        size: width and height of the result, pixels.
        faces: of each face that was changed: ``touched`` (left, top, right and bottom of the pixels of the result
            beyond which it changed nothing), ``weights``, ``strength``, ``change`` (levels of 255) and ``effect``.
    """

    done: tuple[str, ...]
    version: str
    weights: Mapping[str, str | None] = field(default_factory=dict)
    strength: float = 1.0
    upscale: float = 1.0
    background: str | None = None
    size: tuple[int, int] | None = None
    faces: Sequence[Mapping[str, Any]] = ()

    @property
    def areas(self) -> list[tuple[int, int, int, int]]:
        """Left, top, right and bottom of the pixels beyond which nothing was changed, for each face."""
        return [tuple(face["touched"]) for face in self.faces if face.get("touched")]


def with_mark(metadata: Metadata, mark: Mark) -> Metadata:
    """Return what a photo carries with a mark; what its XMP says stays, and what was done before is told too.

    A packet that cannot be read is carried as it is, and the mark is told as left out.
    """
    packet = metadata.xmp
    try:
        known = _xmp.properties(packet) if packet else {}
    except ValueError:
        return replace(metadata, dropped=(*metadata.dropped, _DAMAGED))
    before = known.get(_RESULT, b"").decode().split()
    done = tuple(dict.fromkeys((*before, *mark.done)))
    wholly = known.get(_SOURCE_TYPE) == _WHOLLY_MADE
    own = _packet(replace(mark, done=done), about=_about(packet or b""), source=not wholly)
    if packet is None:
        return replace(metadata, xmp=_wrapped(own))
    ours = {_RESULT, _MADE} | (set() if wholly else {_SOURCE_TYPE})

    def change(name: Name, _value: bytes) -> bytes | None:
        return b"" if name in ours else None

    try:
        return replace(metadata, xmp=_xmp.joined(_xmp.edited(packet, change), _wrapped(own)))
    except ValueError:
        return replace(metadata, dropped=(*metadata.dropped, _DAMAGED))


def _packet(mark: Mark, *, about: bytes, source: bool) -> bytes:
    """Return the description that holds a mark, with IPTC's term where ``source`` says so."""
    facts = asdict(mark)
    facts.pop("done")
    made = json.dumps(facts, separators=(",", ":"), ensure_ascii=True)
    escaped = made.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;").replace('"', "&quot;")
    term = f' xmlns:Iptc4xmpExt="{_IPTC}" Iptc4xmpExt:DigitalSourceType="{COMPOSITE}"' if source else ""
    return (
        b'<rdf:Description rdf:about="%b" xmlns:facerestore="%b" facerestore:result="%b" facerestore:made="%b"%b/>'
        % (about, _OURS.encode(), " ".join(mark.done).encode(), escaped.encode(), term.encode())
    )


def _wrapped(description: bytes) -> bytes:
    """Return a packet of one description."""
    return (
        b'<?xpacket begin="" id="W5M0MpCehiHzreSzNTczkc9d"?><x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="'
        + _xmp.RDF.encode()
        + b'">'
        + description
        + b'</rdf:RDF></x:xmpmeta><?xpacket end="w"?>'
    )


def _about(packet: bytes) -> bytes:
    """Return what the descriptions of a packet say that they are about, which is one thing for all of them."""
    found = re.search(rb"\brdf:about\s*=\s*(?:\"([^\"<]*)\"|'([^'<\"]*)')", packet)
    return b"" if found is None else found[1] or found[2] or b""


def read_mark(source: str | os.PathLike[str] | bytes) -> Mark | None:
    """Return what a picture file says of how facerestore made it; None where it says nothing.

    Args:
        source: a path, or the bytes of the file.

    Raises:
        ImageError: the file cannot be read.
    """
    if isinstance(source, bytes):
        text = source
    else:
        try:
            with Path(source).open("rb") as stream:
                text = _sought(stream)
        except OSError as error:
            raise ImageError(f"{source}: cannot be read ({error.strerror}); check the path") from error
    words, facts = dict(_WORDS.findall(text)), _FACTS.search(text)
    if b"result" not in words or facts is None:
        return None
    from html import unescape

    try:
        told = json.loads(unescape((facts[1] or facts[2] or b"").decode()))
        known = {each: told[each] for each in Mark.__dataclass_fields__ if each in told}
        mark = Mark(done=tuple(words[b"result"].decode().split()), **known)
        return mark if _is_sound(mark) else None
    except (ValueError, TypeError, RecursionError):
        return None


def _is_sound(mark: Mark) -> bool:
    """Say whether what a file states in the place of a mark is one, which anybody may have written."""
    texts, numbers = (mark.version, *mark.weights), (mark.strength, mark.upscale)
    sizes = [] if mark.size is None else [mark.size]
    areas = [face.get("touched") or [0] * 4 for face in mark.faces if isinstance(face, dict)]
    return (
        all(isinstance(text, str) for text in texts)
        and isinstance(mark.weights, dict)
        and all(isinstance(number, int | float) for number in numbers)
        and len(areas) == len(mark.faces)
        and all(_are_pixels(area, 4) for area in areas)
        and all(_are_pixels(size, 2) for size in sizes)
    )


def _are_pixels(numbers: object, count: int) -> bool:
    """Say whether something is a list of so many whole numbers that are places in a picture."""
    whole = isinstance(numbers, list) and all(type(each) is int and 0 <= each < 2**32 for each in numbers)
    return whole and len(numbers) == count  # type: ignore[arg-type]  # it is a list


def kinds_made(path: Path) -> frozenset[str]:
    """Return what a picture file says that facerestore has made of it; nothing of others, unreadable ones too.

    Of a drawing that is its kind (see `marked`), of a result each thing that was done: ``restored`` for example. What
    lies in a store is not fetched for it, and gives nothing.
    """
    if isinstance(path, RemotePath):
        return frozenset()
    try:
        with path.open("rb") as stream:
            text = _sought(stream)
    except OSError:  # whoever reads it will say why
        return frozenset()
    return frozenset(word for _, words in _WORDS.findall(text) for word in words.decode().split())


def _sought(stream: IO[bytes]) -> bytes:
    """Return the parts of a file where a mark may stand: its head, all of that before pixels, and its end."""
    head = stream.read(_WINDOW)
    size = stream.seek(0, os.SEEK_END)
    if size <= 2 * _WINDOW:
        stream.seek(0)
        return stream.read()
    start, end = 0, min(_head_end(stream, head), _LONGEST_HEAD)
    if end > _WINDOW:
        stream.seek(0)
        head = stream.read(end)
    if head[:4] in (b"II*\x00", b"MM\x00*"):  # its directory, which we write last, and what follows that
        start = struct.unpack_from("<I" if head[:2] == b"II" else ">I", head, 4)[0]
    place = max(min(start or size, size - _WINDOW), size - _LONGEST_HEAD)
    stream.seek(max(place, len(head)))  # never a piece twice, which a mark might be cut by
    return head + stream.read()


def _head_end(stream: IO[bytes], head: bytes) -> int:
    """Return where the pixels of a JPEG or a PNG begin, or those of an AVIF at the latest; 0 for other files."""
    if head.startswith(b"\xff\xd8\xff"):
        place = 2
        while (
            len(found := _bytes_at(stream, place, 4)) == 4 and found[0] == 0xFF and found[1] in _PARTS_OF_JPEG
        ):
            place += 2 + int.from_bytes(found[2:], "big")
        return place
    if head.startswith(b"\x89PNG"):
        place = 8
        while len(found := _bytes_at(stream, place, 8)) == 8 and found[4:] not in _PIXELS_OF_PNG:
            place += 12 + int.from_bytes(found[:4], "big")
        return place
    if head[4:8] == b"ftyp":
        place = 0
        while (
            len(found := _bytes_at(stream, place, 8)) == 8
            and found[4:] != b"mdat"
            and found[0:4] > b"\0\0\0\1"
        ):
            place += int.from_bytes(found[:4], "big")
        return place + 2 * _WINDOW  # EXIF comes first there
    return _matroska_head_end(stream) if head.startswith(_MATROSKA) else 0


def _matroska_head_end(stream: IO[bytes]) -> int:
    """Return where the first cluster of a Matroska file begins, of frames and sound (RFC 8794, 9559)."""
    place = 0
    while place < _LONGEST_HEAD and (found := _bytes_at(stream, place, 12)) and found[0] >= 0x10:
        name = found[: 9 - found[0].bit_length()]
        size = found[len(name) :][: 9 - found[len(name)].bit_length()] if len(found) > len(name) else b""
        if name == _CLUSTER or not size:
            break
        place += len(name) + len(size)
        if name != _SEGMENT:
            place += int.from_bytes(size, "big") & ~(1 << 7 * len(size))
    return place


def _bytes_at(stream: IO[bytes], place: int, count: int) -> bytes:
    stream.seek(place)
    return stream.read(count)
