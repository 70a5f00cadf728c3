"""Makes picture files that carry all that files of their format are known to carry, byte by byte."""

import io
import struct
import zlib
from hashlib import md5

import cv2
import numpy as np
from picture_files import png_chunk
from PIL import Image, ImageCms

from facerestore.io import _exif, decode_image, encode_image

ICC = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
SIZES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 7: 1, 10: 8, 11: 4, 12: 8, 13: 4}
THUMBNAIL = b"\xff\xd8\xff\xe0\x00\x10JFIF\x00 old face \xff\xd9"
"""What stands for a picture in a picture: it starts and ends as one."""

GOOGLE = "http://ns.google.com/photos/1.0/"
NAMESPACES = {
    "tiff": "http://ns.adobe.com/tiff/1.0/",
    "exif": "http://ns.adobe.com/exif/1.0/",
    "dc": "http://purl.org/dc/elements/1.1/",
    "xmp": "http://ns.adobe.com/xap/1.0/",
    "photoshop": "http://ns.adobe.com/photoshop/1.0/",
    "xmpNote": "http://ns.adobe.com/xmp/note/",
    "hdrgm": "http://ns.adobe.com/hdr-gain-map/1.0/",
    "GCamera": f"{GOOGLE}camera/",
    "Container": f"{GOOGLE}container/",
    "Item": f"{GOOGLE}container/item/",
    "GImage": f"{GOOGLE}image/",
    "GPano": f"{GOOGLE}panorama/",
    "xmpGImg": "http://ns.adobe.com/xap/1.0/g/img/",
    "rdf": "http://www.w3.org/1999/02/22-rdf-syntax-ns#",
}


def scene(height=48, width=64, channels=3, dtype=np.uint8):
    """Return a picture whose pixels all differ a little, (H, W, C)."""
    y, x = np.mgrid[:height, :width]
    planes = [(x * (3 + c) + y * (7 - c)) % 256 for c in range(channels)]
    return (np.stack(planes, axis=-1) * (257 if dtype == np.uint16 else 1)).astype(dtype)


# --- TIFF blocks ----------------------------------------------------------------------------------------------------


def numbers(kind, *values, order="<"):
    """Return an entry of whole numbers."""
    return kind, struct.pack(f"{order}{len(values)}{ {1: 'B', 3: 'H', 4: 'I', 13: 'I'}[kind] }", *values)


def ratios(*values, order="<"):
    """Return an entry of rational numbers, a thousandth exact."""
    return 5, b"".join(struct.pack(order + "II", round(value * 1000), 1000) for value in values)


def doubles(*values, order="<"):
    return 12, struct.pack(f"{order}{len(values)}d", *values)


def text(value):
    return 2, value.encode() + b"\x00"


def blob(value):
    return 7, value


def directory(entries, start, order="<", following=0):
    """Return a classic directory at ``start`` with its values: entries are (kind, bytes) by tag."""
    place, table, values = start + 2 + 12 * len(entries) + 4, b"", b""
    for tag, (kind, value) in sorted(entries.items()):
        stored = value.ljust(4, b"\x00")
        if len(value) > 4:
            stored, values = (
                struct.pack(order + "I", place + len(values)),
                values + value + bytes(len(value) % 2),
            )
        table += struct.pack(order + "HHI", tag, kind, len(value) // SIZES[kind]) + stored
    return struct.pack(order + "H", len(entries)) + table + struct.pack(order + "I", following) + values


def head(order, first=8):
    return (b"II" if order == "<" else b"MM") + struct.pack(order + "HI", 42, first)


def exif(first, *, camera=None, place=None, thumbnail=None, order="<", front=8):
    """Return an EXIF block of its directories: the first, the camera's, that of the place; and a thumbnail.

    The camera's comes first, so that a maker note in it may be written for the place where it will be.
    """
    block, first = head(order).ljust(front, b"\x00"), dict(first)
    for tag, entries in ((0x8769, camera), (0x8825, place)):
        if entries:
            first[tag] = numbers(4, len(block), order=order)
            block += directory(entries, len(block), order)
            block += bytes(len(block) % 2)
    start, following = len(block), 0
    if thumbnail:
        following = start + len(directory(first, start, order))
        following += following % 2
    block = (block + directory(first, start, order, following)).ljust(following, b"\x00")
    block = head(order, start) + block[8:]
    if thumbnail:
        pointed = {0x0103: numbers(3, 6, order=order), 0x0112: numbers(3, 6, order=order)}
        pointed[0x0201] = pointed[0x0202] = numbers(4, 0, order=order)
        end = following + len(directory(pointed, following, order))
        pointed[0x0201] = numbers(4, end, order=order)
        pointed[0x0202] = numbers(4, len(thumbnail), order=order)
        block += directory(pointed, following, order) + thumbnail
    return block


def photo_exif(orientation=1, size=(64, 48), *, order="<", thumbnail=None, unsorted=None):
    """Return the EXIF block of a camera."""

    def n(kind, *values):
        return numbers(kind, *values, order=order)

    first = {
        0x010E: text("A description"),
        0x010F: text("Maker"),
        0x0110: text("Model"),
        0x0112: n(3, orientation),
        0x011A: ratios(72, order=order),
        0x011B: ratios(96, order=order),
        0x0128: n(3, 2),
        0x0131: text("Camera 1.0"),
        0x0132: text("2020:01:02 03:04:05"),
        0x013B: text("Someone"),
        0x8298: text("(c) Someone"),
        0x9C9B: (1, "Titel ü".encode("utf-16-le") + b"\x00\x00"),
        **(unsorted or {}),
    }
    camera = {
        0x829A: ratios(0.01, order=order),
        0x8827: n(3, 200),
        0x9000: blob(b"0232"),
        0x9003: text("2020:01:02 03:04:05"),
        0x9011: text("+02:00"),
        0x9286: blob(b"ASCII\x00\x00\x00a user's comment"),
        0xA001: n(3, 1),
        0xA002: n(3, size[0]),
        0xA003: n(4, size[1]),
        0xA434: text("A lens"),
    }
    place = {
        0: (1, b"\x02\x03\x00\x00"),
        1: text("N"),
        2: ratios(51, 30, 0, order=order),
        29: text("2020:01:02"),
    }
    return exif(first, camera=camera, place=place, thumbnail=thumbnail, order=order)


# --- XMP, IPTC and Photoshop ----------------------------------------------------------------------------------------


def xmp(attributes="", elements="", *, wrapper=True, prefixes=tuple(NAMESPACES)):
    """Return an XMP packet of properties as attributes and as elements."""
    declared = "".join(f'\n    xmlns:{p}="{NAMESPACES[p]}"' for p in prefixes if p != "rdf")
    packet = (
        f'<x:xmpmeta xmlns:x="adobe:ns:meta/">\n <rdf:RDF xmlns:rdf="{NAMESPACES["rdf"]}">\n'
        f'  <rdf:Description rdf:about=""{declared}\n    {attributes}>\n   {elements}\n  </rdf:Description>\n'
        " </rdf:RDF>\n</x:xmpmeta>"
    )
    if wrapper:
        packet = f'<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>\n{packet}\n<?xpacket end="w"?>'
    return packet.encode()


TITLE = '<dc:title><rdf:Alt><rdf:li xml:lang="x-default">A title</rdf:li></rdf:Alt></dc:title>'
RATING = 'xmp:Rating="4" photoshop:City="Köln"'


def iptc(*sets):
    """Return IPTC records of (record, number, value)."""
    return b"".join(struct.pack(">BBBH", 0x1C, r, n, len(value)) + value for r, n, value in sets)


CAPTION = (
    (1, 90, b"\x1b%G"),
    (2, 120, b"The caption"),
    (2, 25, b"one"),
    (2, 25, b"two"),
    (2, 80, b"A. Writer"),
)


def photoshop(*resources):
    """Return Photoshop's resources of (number, data)."""
    return b"".join(
        b"8BIM" + struct.pack(">HHI", number, 0, len(data)) + data + bytes(len(data) % 2)
        for number, data in resources
    )


def with_digest(records, *more):
    """Return resources with IPTC records, their digest, a URL, and others."""
    return photoshop((0x0404, records), (0x0425, md5(records).digest()), (0x040B, b"http://a.example"), *more)


# --- files ----------------------------------------------------------------------------------------------------------


def png(pixels, *chunks, depth=None, colour_type=None):
    """Return a PNG of (H, W, C) pixels, or of rows as they stand, with (type, body) chunks before its pixels."""
    height, width, count = pixels.shape
    kind = {1: 0, 2: 4, 3: 2, 4: 6}[count] if colour_type is None else colour_type
    bits = pixels.dtype.itemsize * 8 if depth is None else depth
    stored = pixels.astype(pixels.dtype.newbyteorder(">")).reshape(height, -1)
    rows = b"".join(b"\x00" + row.tobytes() for row in stored)
    if bits < 8:
        packed = np.packbits(
            np.unpackbits(pixels[..., 0, None], axis=2)[..., 8 - bits :].reshape(height, -1), axis=1
        )
        rows = b"".join(b"\x00" + row.tobytes() for row in packed)
    header = struct.pack(">IIBBBBB", width, height, bits, kind, 0, 0, 0)
    every = ((b"IHDR", header), *chunks, (b"IDAT", zlib.compress(rows)), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(png_chunk(kind, body) for kind, body in every)


def png_chunks(data):
    """Return (type, body) of the chunks of a PNG."""
    found, position = [], 8
    while position < len(data):
        length = struct.unpack_from(">I", data, position)[0]
        found.append((data[position + 4 : position + 8], data[position + 8 : position + 8 + length]))
        position += 12 + length
    return found


def raw_profile(name, block):
    """Return the text that ImageMagick writes for a profile."""
    lines = [block.hex()[at : at + 72] for at in range(0, 2 * len(block), 72)]
    return ("\n".join(("", name, f"{len(block):8d}", *lines)) + "\n").encode()


def text_chunk(kind, keyword, value):
    """Return a text chunk of any of the three types; ``iTXz`` is a compressed iTXt."""
    key = keyword.encode("latin-1") + b"\x00"
    if kind == b"tEXt":
        return kind, key + value
    if kind == b"zTXt":
        return kind, key + b"\x00" + zlib.compress(value)
    packed = kind == b"iTXz"
    return b"iTXt", key + bytes((packed, 0)) + b"de\x00W\xc3\xb6rter\x00" + (
        zlib.compress(value) if packed else value
    )


def jpeg(pixels, *segments, quality=90, trailer=b"", keep_jfif=False, **options):
    """Return a JPEG of pixels with (marker, body) segments in place of its JFIF segment, and what stands behind it."""
    stream = io.BytesIO()
    Image.fromarray(pixels[..., 0] if pixels.shape[2] == 1 else pixels).save(
        stream, "JPEG", quality=quality, **options
    )
    plain = stream.getvalue()
    start = 2 if keep_jfif else 4 + struct.unpack_from(">H", plain, 4)[0]
    packed = b"".join(struct.pack(">BBH", 255, marker, len(body) + 2) + body for marker, body in segments)
    return plain[:2] + packed + plain[start:] + trailer


def jfif(unit=1, across=72, down=72, thumbnail=b""):
    side = round((len(thumbnail) // 3) ** 0.5)
    return 0xE0, b"JFIF\x00" + struct.pack(">HBHHBB", 0x0102, unit, across, down, side, side) + thumbnail


def jpeg_segments(data):
    """Return (marker, body) of the segments of a JPEG before its pixels."""
    found, position = [], 2
    while data[position + 1] != 0xDA:
        length = struct.unpack_from(">H", data, position + 2)[0]
        found.append((data[position + 1], data[position + 4 : position + 2 + length]))
        position += 2 + length
    return found


def extended_xmp(extension, name=None):
    """Return the segments of an XMP extension, of 40 kB each."""
    name = name or md5(extension).hexdigest().upper()
    start = b"http://ns.adobe.com/xmp/extension/\x00" + name.encode() + struct.pack(">I", len(extension))
    return [
        (0xE1, start + struct.pack(">I", at) + extension[at : at + 40_000])
        for at in range(0, len(extension), 40_000)
    ]


def in_segments(icc, count=3):
    """Return the segments of a profile in as many pieces."""
    size = -(-len(icc) // count)
    return [
        (0xE2, b"ICC_PROFILE\x00" + bytes((i + 1, count)) + icc[i * size : (i + 1) * size])
        for i in range(count)
    ]


def mpf(following):
    """Return an MPF segment that tells of a second picture of so many bytes."""
    entries = struct.pack("<IIIHH", 0x030000, 5000, 0, 0, 0) + struct.pack("<IIIHH", 0, following, 5000, 0, 0)
    index = {0xB000: blob(b"0100"), 0xB001: numbers(4, 2), 0xB002: blob(entries)}
    return 0xE2, b"MPF\x00" + head("<") + directory(index, 8)


def tiff(pixels, entries, *, order="<", camera=None, place=None, note_at=None):
    """Return an uncompressed TIFF with further (kind, bytes) entries by tag, and directories of EXIF.

    The camera's directory stands at ``note_at`` bytes, if given.
    """
    height, width, count = pixels.shape
    block = head(order) + pixels.astype(pixels.dtype.newbyteorder(order)).tobytes()
    block += bytes(len(block) % 2)
    fields = {
        254: numbers(4, 0, order=order),
        256: numbers(4, width, order=order),
        257: numbers(4, height, order=order),
        258: numbers(3, *[pixels.dtype.itemsize * 8] * count, order=order),
        259: numbers(3, 1, order=order),
        262: numbers(3, 2 if count > 2 else 1, order=order),
        273: numbers(4, 8, order=order),
        277: numbers(3, count, order=order),
        278: numbers(4, height, order=order),
        279: numbers(4, pixels.nbytes, order=order),
        **entries,
    }
    for tag, child in ((0x8769, camera), (0x8825, place)):
        if child:
            if tag == 0x8769 and note_at is not None:
                block = block.ljust(note_at, b"\x00")
            fields[tag] = numbers(4, len(block), order=order)
            block += directory(child, len(block), order)
            block += bytes(len(block) % 2)
    return head(order, len(block)) + block[8:] + directory(fields, len(block), order)


def webp(pixels, *chunks, lossless=True, quality=90):
    """Return a WebP with (type, body) chunks; those of EXIF, XMP and a profile are flagged."""
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "WEBP", lossless=lossless, quality=quality, exact=True)
    plain = stream.getvalue()[12:]
    flags = {b"ICCP": 0x20, b"EXIF": 0x08, b"XMP ": 0x04}
    bits = sum(flags.get(kind, 0) for kind, _ in chunks) | (0x10 if pixels.shape[2] == 4 else 0)
    sides = b"".join((side - 1).to_bytes(3, "little") for side in (pixels.shape[1], pixels.shape[0]))
    first = [(b"VP8X", struct.pack("<I", bits) + sides), *(c for c in chunks if c[0] == b"ICCP")]
    last = [c for c in chunks if c[0] != b"ICCP"]

    def packed(items):
        return b"".join(k + struct.pack("<I", len(b)) + b + bytes(len(b) % 2) for k, b in items)

    position, body = 0, b""
    while position < len(plain):
        kind, length = plain[position : position + 4], struct.unpack_from("<I", plain, position + 4)[0]
        end = position + 8 + length + length % 2
        body += b"" if kind == b"VP8X" else plain[position:end]
        position = end
    body = packed(first) + body + packed(last) if chunks else body
    return b"RIFF" + struct.pack("<I", len(body) + 4) + b"WEBP" + body


def bmp(pixels, *, space=b"BGRs", ends=bytes(48), intent=4, icc=b"", size=124, dots=(2835, 3000)):
    """Return a BMP of version 4 or 5, of 24 bits or of 32 with transparency."""
    height, width, count = pixels.shape
    row = -(-width * count // 4) * 4
    rows = np.zeros((height, row), np.uint8)
    order = [2, 1, 0, 3][:count]
    rows[:, : width * count] = pixels[::-1][..., order].reshape(height, -1)
    start = 14 + size
    masks = struct.pack("<4I", 0xFF0000, 0xFF00, 0xFF, 0xFF000000) if count == 4 else bytes(16)
    header = struct.pack("<IiiHHII", size, width, height, 1, 8 * count, 3 if count == 4 else 0, rows.nbytes)
    header += struct.pack("<iiII", *dots, 0, 0) + masks + space + ends
    if size == 124:
        header += struct.pack("<4I", intent, size + rows.nbytes if icc else 0, len(icc), 0)
    total = start + rows.nbytes + len(icc)
    return b"BM" + struct.pack("<IHHI", total, 0, 0, start) + header + rows.tobytes() + icc


def small_jpeg():
    """Return a whole JPEG of another picture, such as a gain map."""
    return cv2.imencode(".jpg", np.full((8, 8), 128, np.uint8))[1].tobytes()


XMP_PREFIX = b"http://ns.adobe.com/xap/1.0/\0"


def again(data, format=None):
    """Return the picture of a file, and the bytes that it is written back to."""
    image = decode_image(data)
    return image, encode_image(image, format=format or image.format)


def with_xmp(packet, *segments, **options):
    """Return a JPEG with an XMP packet."""
    return jpeg(scene(), jfif(), (0xE1, XMP_PREFIX + packet), *segments, **options)


def tiff_tags(data):
    """Return the entries of the first directory of a TIFF."""
    layout, first = _exif.read_layout(data)
    return _exif.read_directory(data, first, layout).fields
