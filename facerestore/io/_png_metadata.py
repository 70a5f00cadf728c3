"""What a PNG carries beside its pixels. Source: PNG specification, third edition, and ImageMagick's text profiles."""

from __future__ import annotations

import re
import struct
import zlib
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from facerestore.io import _claims, _photoshop, _xmp
from facerestore.io._exif import METRES_PER_INCH
from facerestore.io._settle import sane_dpi
from facerestore.types import Metadata, Part

PROFILE_NAME, DENSITY, SIGNIFICANT, BACKGROUND, PALETTE = b"iCCP", b"pHYs", b"sBIT", b"bKGD", b"PLTE"
"""Keys of parts: the name of the profile, and chunks that depend on how pixels are stored."""

TEXTS = (b"tEXt", b"zTXt", b"iTXt")
COLOURS = (b"cICP", b"sRGB", b"gAMA", b"cHRM", b"mDCV", b"cLLI")
_XMP_KEYWORD = b"XML:com.adobe.xmp"
_RAW = b"Raw profile type "
_EXIF_STARTS = (b"Exif\x00\x00", b"II", b"MM")
# In the order in which they are written: the colours, which come before a palette, first.
_ONCE = (*COLOURS, SIGNIFICANT, BACKGROUND, DENSITY, b"oFFs", b"pCAL", b"sCAL", b"sTER", b"gIFg", b"tIME")
_REPEATED = (*TEXTS, b"sPLT", b"gIFx")
# How the old file was packed: pixels and their order, a palette and how often it was used, animations, Apple's index.
_PACKING = frozenset(
    (
        b"IHDR",
        b"PLTE",
        b"tRNS",
        b"IDAT",
        b"IEND",
        b"hIST",
        b"acTL",
        b"fcTL",
        b"fdAT",
        b"iDOT",
        b"CgBI",
        b"fRAc",
    )
)
_SIGNING = {b"caBX": _claims.CREDENTIALS, b"dSIG": "digital signature, which signs the file as it was"}
# A profile or packet never comes near this; it stops a zip bomb in a text chunk.
_MAX_INFLATED_BYTES = 2**26
_HEX_PER_LINE = 72


def chunk(kind: bytes, body: bytes | memoryview) -> bytes:
    """Return one chunk with its length and checksum."""
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(body, zlib.crc32(kind)))


class Text(NamedTuple):
    """A text chunk: its keyword, and its text in the chunk's own encoding."""

    keyword: bytes
    text: bytes
    encoding: str


class _Found:
    """What the chunks of a PNG give, as they come."""

    def __init__(self) -> None:
        self.blocks: dict[str, bytes] = {}
        self.parts: list[Part] = []
        self.kinds: set[bytes] = set()
        self.dropped: list[str] = []
        self.budget = _MAX_INFLATED_BYTES

    def inflated(self, packed: bytes) -> bytes | None:
        """Return decompressed metadata; None where they are corrupt, or all together are unreasonably large."""
        block = _inflated(packed, self.budget)
        self.budget -= len(block or b"")
        return block

    def add(self, name: str, block: bytes | None, *, second: str | None = None) -> None:
        """Note a block of a kind of which a file has one; of a further one, that it does not come along."""
        if block and name in self.blocks:
            self.dropped += [second] if second and block != self.blocks[name] else []
        elif block:
            self.blocks[name] = block


def read(chunks: Iterable[tuple[bytes, memoryview]]) -> Metadata:
    """Return what a PNG carries."""
    found, header = _Found(), memoryview(b"")
    # EXIF and profiles as text stand in for chunks of their own; where there are both, those count.
    texts = []
    for kind, view in chunks:
        if kind in TEXTS:
            texts.append((kind, bytes(view)))
        elif kind == b"eXIf":
            found.add("exif", bytes(view), second=_claims.SECOND_EXIF)
        elif kind == b"iCCP":
            _take_profile(found, bytes(view))
        elif kind == b"IHDR":
            header = view
        elif kind not in _PACKING or kind == PALETTE:
            _take_other(found, kind, _in_8_bits(view, header) if kind == BACKGROUND else bytes(view))
    for kind, body in texts:
        _take_text(found, kind, body)
    icc = found.blocks.get("icc")
    parts = [part for part in found.parts if icc or part.key != PROFILE_NAME]
    return Metadata(
        exif=found.blocks.get("exif"),
        xmp=found.blocks.get("xmp"),
        icc=icc,
        dpi=_stated_dpi(next((part.body for part in parts if part.key == DENSITY), b"")),
        iptc=found.blocks.get("iptc"),
        photoshop=found.blocks.get("photoshop"),
        parts=tuple(parts),
        dropped=tuple(found.dropped),
    )


def _take_profile(found: _Found, body: bytes) -> None:
    """Note the colour profile, of which only the first counts."""
    if PROFILE_NAME in found.kinds:
        found.dropped.append(_claims.SECOND_ICC)
        return
    found.kinds.add(PROFILE_NAME)
    name, _, packed = body.partition(b"\x00")
    icc = found.inflated(packed[1:])
    found.add("icc", icc)
    found.parts.append(Part("PNG", PROFILE_NAME, name))
    found.dropped += [_claims.DAMAGED_ICC] if icc is None else []


def _in_8_bits(body: memoryview, header: memoryview) -> bytes:
    """Return the background of a picture of 1 to 4 bits of grey as it is in the 8 bits that it is read as."""
    depth, colour_type = header[8:10] if len(header) == 13 else (8, 0)
    if colour_type != 0 or depth >= 8 or len(body) != 2:
        return bytes(body)
    return bytes((0, (body[1] & (2**depth - 1)) * 255 // (2**depth - 1)))


def _take_other(found: _Found, kind: bytes, body: bytes) -> None:
    """Note a chunk that is neither pixels nor text: those known, and of others those that are safe to copy (5.4)."""
    if kind in _SIGNING:
        found.dropped.append(_SIGNING[kind])
    elif kind in (*_ONCE, PALETTE):
        if kind not in found.kinds:
            found.kinds.add(kind)
            found.parts.append(Part("PNG", kind, body))
    elif kind in _REPEATED or kind[3] & 0x20:
        found.parts.append(Part("PNG", kind, body))
    else:
        found.dropped.append(f"chunk {kind.decode('latin-1')}, which may depend on the old pixels")


def _take_text(found: _Found, kind: bytes, body: bytes) -> None:
    """Note a text chunk: a packet or profile that stands in one, or text for people."""
    keyword = body.partition(b"\x00")[0]
    if keyword != _XMP_KEYWORD and not keyword.startswith(_RAW):
        found.parts.append(Part("PNG", kind, body))
        return
    text = text_of(kind, body, most=found.budget)
    found.budget -= len(text.text) if text else 0
    payload = b"" if text is None else text.text
    if keyword == _XMP_KEYWORD:
        found.add("xmp", payload, second=_claims.SECOND_XMP)
        return
    block = _unhexed_block(payload)
    if block is None:
        found.parts.append(Part("PNG", kind, body))
    elif block.startswith(_xmp.PREFIX) or keyword == _RAW + b"xmp":
        found.add("xmp", block.removeprefix(_xmp.PREFIX), second=_claims.SECOND_XMP)
    elif keyword in (_RAW + b"exif", _RAW + b"APP1") and block.startswith(_EXIF_STARTS):
        found.add("exif", block, second=_claims.SECOND_EXIF)
    elif keyword in (_RAW + b"iptc", _RAW + b"8bim"):
        found.add("iptc" if block.startswith(b"\x1c") else "photoshop", block)
    elif keyword in (_RAW + b"icc", _RAW + b"icm"):
        found.add("icc", block, second=_claims.SECOND_ICC)
    else:
        found.parts.append(Part("PNG", kind, body))


def _stated_dpi(body: bytes) -> tuple[float, float] | None:
    """Return the resolution that a pHYs chunk states, in dots per inch; None where it has no unit."""
    if len(body) != 9 or body[8] != 1:
        return None
    across, down = struct.unpack_from(">II", body)
    return (across * METRES_PER_INCH, down * METRES_PER_INCH)


def _inflated(compressed: bytes, most: int) -> bytes | None:
    """Return decompressed metadata; None where they are corrupt or of more than ``most`` bytes."""
    stream = zlib.decompressobj()
    try:
        inflated = stream.decompress(compressed, max(most, 1))
    except zlib.error:
        return None
    return inflated if stream.eof else None


def text_of(kind: bytes, body: bytes, *, most: int = _MAX_INFLATED_BYTES) -> Text | None:
    """Return the text of a tEXt, zTXt or iTXt chunk; None where it is damaged.

    Args:
        kind: type of the chunk.
        body: keyword; of iTXt two flags, language and translated keyword; text.
        most: limit on its bytes.
    """
    keyword, _, rest = body.partition(b"\x00")
    packed = kind == b"zTXt"
    if kind == b"iTXt":
        packed = rest[:1] == b"\x01"
        rest = rest[2:].partition(b"\x00")[2].partition(b"\x00")[2]
    elif packed:
        rest = rest[1:]
    text = _inflated(rest, most) if packed else rest
    return None if text is None else Text(keyword, text, "utf-8" if kind == b"iTXt" else "latin-1")


def text_part(keyword: str, text: str) -> Part:
    """Return text for people as a chunk: plain where Latin-1 holds it, else in UTF-8."""
    try:
        return Part("PNG", b"tEXt", f"{keyword}\x00{text}".encode("latin-1"))
    except UnicodeEncodeError:
        return Part("PNG", b"iTXt", f"{keyword}\x00\x00\x00\x00\x00{text}".encode())


def _unhexed_block(text: bytes) -> bytes | None:
    """Return the block that ImageMagick wrote as text: a name, a length, hexadecimal lines; None for other text."""
    head = re.match(rb"\s*\S+\s+\d+\s", text)
    try:
        return bytes.fromhex(text[head.end() :].decode("ascii")) if head else None
    except ValueError:
        return None


def _raw_profile(name: str, block: bytes) -> bytes:
    """Return the body of a zTXt chunk that holds a block as ImageMagick writes it."""
    digits = block.hex()
    lines = (digits[start : start + _HEX_PER_LINE] for start in range(0, len(digits), _HEX_PER_LINE))
    text = "\n".join(("", name, f"{len(block):8d}", *lines, ""))
    return _RAW + name.encode() + b"\x00\x00" + zlib.compress(text.encode())


def chunks(metadata: Metadata, *, channels: int, depth: int) -> Iterator[bytes]:
    """Yield the chunks that carry metadata, in the order that the specification asks for.

    Args:
        metadata: every part of it has found its place already.
        channels: of the pixels, 1 to 4.
        depth: bits of a sample.
    """
    own = {part.key: part.body for part in metadata.parts if part.key not in _REPEATED}
    own[SIGNIFICANT] = _significant_bits(own.get(SIGNIFICANT, b""), channels, depth)
    own[BACKGROUND] = _background_body(own.get(BACKGROUND, b""), own.get(PALETTE, b""), channels)
    own[DENSITY] = _density_body(own.get(DENSITY, b""), metadata.dpi)
    name = own.pop(PROFILE_NAME, b"ICC profile")
    if metadata.icc:
        yield chunk(b"iCCP", name + b"\x00\x00" + zlib.compress(metadata.icc))
    for key in _ONCE:
        if own.get(key):
            yield chunk(key, own[key])
    if metadata.exif:
        yield chunk(b"eXIf", metadata.exif)
    if metadata.xmp:
        yield chunk(b"iTXt", _XMP_KEYWORD + b"\x00\x00\x00\x00\x00" + metadata.xmp)
    if block := _photoshop.with_iptc(metadata.photoshop, metadata.iptc):
        yield chunk(b"zTXt", _raw_profile("iptc", block))
    for part in metadata.parts:
        if part.key not in (*_ONCE, PROFILE_NAME, PALETTE):
            yield chunk(part.key, part.body)


def _significant_bits(body: bytes, channels: int, depth: int) -> bytes:
    """Return sBIT for other channels than the source's: grey for each colour, and all bits of an alpha it has not."""
    if not body or not all(0 < bits <= depth for bits in body):
        return b""
    colour = body[:1] if len(body) <= 2 else body[:3]
    alpha = body[len(colour) :]
    if channels >= 3 and len(colour) == 1:
        colour *= 3
    elif channels <= 2 and len(colour) == 3:
        colour = bytes((max(colour),))
    return colour + ((alpha or bytes((depth,))) if channels in (2, 4) else b"")


def _background_body(body: bytes, palette: bytes, channels: int) -> bytes:
    """Return bKGD for the channels that are written: a palette's colour, grey in each colour, or nothing."""
    if len(body) == 1:
        colour = palette[3 * body[0] : 3 * body[0] + 3]
        body = b"".join(bytes((0, value)) for value in colour) if len(colour) == 3 else b""
    if channels >= 3 and len(body) == 2:
        return body * 3
    if channels <= 2 and len(body) == 6:
        return body[:2] if body[:2] == body[2:4] == body[4:] else b""
    return body


def density_of(metadata: Metadata) -> tuple[float, float] | None:
    """Return the resolution that the pHYs chunk of the source states, in dots per inch; None for none."""
    return sane_dpi(_stated_dpi(metadata.body_of(DENSITY) or b""))


def _density_body(body: bytes, dpi: tuple[float, float] | None) -> bytes:
    """Return pHYs: as the source had it, where that is the resolution still."""
    if body and sane_dpi(_stated_dpi(body)) == dpi:
        return body
    if dpi is None:
        return b""
    return struct.pack(">IIB", *(round(value / METRES_PER_INCH) for value in dpi), 1)
