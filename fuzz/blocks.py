"""Target ``metadata``: EXIF with a maker note, XMP, profiles and IPTC alone, each packed into a picture of few pixels.

What is altered is the block itself; lengths and checksums around it are right, so that its reader sees every one.
"""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Callable
from functools import partial

import numpy as np
from PIL import Image, ImageCms

from facerestore.io import decode_image, encode_image
from fuzz.kinds import Kind
from fuzz.pictures import chunk, exif_block, iptc_block

_SIDE = 8
_MOST_SEGMENT = 65_533  # bytes that a JPEG segment holds

_XMP = (
    b'<?xpacket begin="" id="W5M0MpCehiHzreSzNTczkc9d"?><x:xmpmeta xmlns:x="adobe:ns:meta/">'
    b'<rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#"><rdf:Description rdf:about=""'
    b' xmlns:tiff="http://ns.adobe.com/tiff/1.0/" xmlns:mwg="http://www.metadataworkinggroup.com/schemas/regions/"'
    b' xmlns:stArea="http://ns.adobe.com/xmp/sType/Area#" tiff:Orientation="6"><mwg:Regions><rdf:Bag><rdf:li>'
    b'<rdf:Description stArea:x="0.5" stArea:y="0.2" stArea:w="0.1" stArea:h="0.3"/></rdf:li></rdf:Bag></mwg:Regions>'
    b'<tiff:ImageWidth>8</tiff:ImageWidth></rdf:Description></rdf:RDF></x:xmpmeta><?xpacket end="w"?>'
)


def kinds() -> tuple[Kind, ...]:
    """Return a kind for each block in each format that holds it."""
    exif = (exif_block(), b"MM" + exif_block()[2:])
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    jpeg, png, webp = (_saved(format) for format in ("JPEG", "PNG", "WEBP"))
    head = png[:33]

    def of_png(name: str, examples: tuple[bytes, ...], kind: bytes, start: bytes, *, inflated: bool) -> Kind:
        def pack(block: bytes) -> bytes:
            return head + chunk(kind, start + (zlib.compress(block, 1) if inflated else block)) + png[33:]

        return _kind(name, examples, pack)

    return (
        _kind("exif.jpeg", exif, partial(_in_jpeg, jpeg, 0xE1, b"Exif\0\0")),
        _kind("xmp.jpeg", (_XMP,), partial(_in_jpeg, jpeg, 0xE1, b"http://ns.adobe.com/xap/1.0/\0")),
        _kind("icc.jpeg", (profile,), partial(_in_jpeg, jpeg, 0xE2, b"ICC_PROFILE\0\1\1")),
        _kind("iptc.jpeg", (iptc_block(),), partial(_in_jpeg, jpeg, 0xED, b"Photoshop 3.0\0")),
        of_png("exif.png", exif, b"eXIf", b"", inflated=False),
        of_png("xmp.png", (_XMP,), b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0", inflated=False),
        of_png("icc.png", (profile,), b"iCCP", b"x\0\0", inflated=True),
        of_png("raw.png", (_raw(exif[0]),), b"zTXt", b"Raw profile type exif\0\0", inflated=True),
        _kind("exif.webp", exif, partial(_in_webp, webp, b"EXIF", 8)),
        _kind("xmp.webp", (_XMP,), partial(_in_webp, webp, b"XMP ", 4)),
    )


def _kind(name: str, examples: tuple[bytes, ...], pack: Callable[[bytes], bytes]) -> Kind:
    def read(block: bytes) -> None:
        """Decode the picture, and write it in its own format and in another."""
        image = decode_image(pack(block), name="mutant", max_pixels=_SIDE * _SIDE)
        for format in (image.format or "PNG", "PNG" if image.format != "PNG" else "JPEG"):
            encode_image(image, format=format)

    return Kind(name, examples, read)


def _saved(format: str) -> bytes:
    stream = io.BytesIO()
    grey = np.arange(_SIDE * _SIDE, dtype=np.uint8).reshape(_SIDE, _SIDE)
    Image.fromarray(np.dstack([grey, grey, grey])).save(stream, format)
    return stream.getvalue()


def _raw(exif: bytes) -> bytes:
    return f"\nexif\n{len(exif):8d}\n{exif.hex()}\n".encode()


def _in_jpeg(jpeg: bytes, marker: int, start: bytes, block: bytes) -> bytes:
    body = (start + block)[:_MOST_SEGMENT]
    return jpeg[:2] + struct.pack(">BBH", 0xFF, marker, len(body) + 2) + body + jpeg[2:]


def _in_webp(webp: bytes, kind: bytes, flag: int, block: bytes) -> bytes:
    extended = struct.pack("<4sIB3x", b"VP8X", 10, flag) + (_SIDE - 1).to_bytes(3, "little") * 2
    body = extended + webp[12:] + struct.pack("<4sI", kind, len(block)) + block + b"\0" * (len(block) % 2)
    return b"RIFF" + struct.pack("<I", 4 + len(body)) + b"WEBP" + body
