"""What a PNG carries beside its pixels. Source: PNG specification, third edition."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterable, Iterator

from facerestore.types import Metadata

_XMP_KEYWORD = b"XML:com.adobe.xmp"
_RAW_EXIF_KEYWORDS = (b"Raw profile type exif", b"Raw profile type APP1")
_METRES_PER_INCH = 0.0254
# A profile or packet never comes near this; it stops a zip bomb in a text chunk.
_MAX_INFLATED_BYTES = 2**26


def chunk(kind: bytes, body: bytes | memoryview) -> bytes:
    """Return one chunk with its length and checksum."""
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(body, zlib.crc32(kind)))


def read(chunks: Iterable[tuple[bytes, memoryview]]) -> Metadata:
    """Return the EXIF, XMP, ICC profile and resolution that a PNG carries."""
    exif: bytes | None = None
    xmp: bytes | None = None
    icc: bytes | None = None
    dpi: tuple[float, float] | None = None
    for kind, view in chunks:
        if kind == b"eXIf":
            exif = bytes(view)
        elif kind == b"iCCP":
            icc = _inflated(bytes(view).partition(b"\x00")[2][1:])
        elif kind == b"iTXt" and bytes(view[: len(_XMP_KEYWORD)]) == _XMP_KEYWORD:
            xmp = _international_text(bytes(view))
        elif kind == b"zTXt" and exif is None:
            exif = _raw_exif(bytes(view))
        elif kind == b"pHYs" and len(view) == 9 and view[8] == 1:
            across, down = struct.unpack_from(">II", view)
            dpi = (across * _METRES_PER_INCH, down * _METRES_PER_INCH)
    return Metadata(exif=exif, xmp=xmp, icc=icc, dpi=dpi)


def _inflated(compressed: bytes) -> bytes | None:
    """Return decompressed metadata; None where it is corrupt or unreasonably large."""
    stream = zlib.decompressobj()
    try:
        inflated = stream.decompress(compressed, _MAX_INFLATED_BYTES)
    except zlib.error:
        return None
    return inflated if stream.eof else None


def _international_text(body: bytes) -> bytes | None:
    """Return the text of an iTXt chunk: keyword, two flags, language, translated keyword, text."""
    _, _, rest = body.partition(b"\x00")
    compressed = rest[:1] == b"\x01"
    _, _, rest = rest[2:].partition(b"\x00")
    _, _, text = rest.partition(b"\x00")
    return _inflated(text) if compressed else text


def _raw_exif(body: bytes) -> bytes | None:
    """Return the EXIF that ImageMagick wrote as hexadecimal text before PNG had an eXIf chunk; None for other text."""
    keyword, _, rest = body.partition(b"\x00")
    text = _inflated(rest[1:]) if keyword in _RAW_EXIF_KEYWORDS else None
    if text is None:
        return None
    # A line with the name, a line with the length, then hexadecimal lines.
    try:
        block = bytes.fromhex(b"".join(text.split()[2:]).decode("ascii"))
    except ValueError:
        return None
    # APP1 profiles hold XMP as well; only EXIF starts so.
    return block if block.startswith((b"Exif\x00\x00", b"II", b"MM")) else None


def chunks(metadata: Metadata) -> Iterator[bytes]:
    """Yield the chunks that carry metadata, in the order that the specification asks for."""
    if metadata.icc:
        yield chunk(b"iCCP", b"ICC profile\x00\x00" + zlib.compress(metadata.icc))
    if metadata.dpi:
        across, down = (round(value / _METRES_PER_INCH) for value in metadata.dpi)
        yield chunk(b"pHYs", struct.pack(">IIB", across, down, 1))
    if metadata.exif:
        yield chunk(b"eXIf", metadata.exif)
    if metadata.xmp:
        yield chunk(b"iTXt", _XMP_KEYWORD + b"\x00\x00\x00\x00\x00" + metadata.xmp)
