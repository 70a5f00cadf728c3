"""Small pictures and their files in the arrangements that tests of `facerestore.io` need."""

import contextlib
import io
import struct
import zlib

import cv2
import numpy as np
from PIL import Image, ImageCms

from facerestore.io import FORMATS, _exif, lacking

XMP = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF>\xc3\xa9t\xc3\xa9</rdf:RDF></x:xmpmeta>'
ICC = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
LOSSLESS = ("PNG", "TIFF")
HELD = {"JPEG": True, "PNG": True, "WEBP": True, "TIFF": True, "BMP": False, "AVIF": True, "HEIF": True}
HERE = [name for name in FORMATS if lacking(name) is None]
"""The formats for which nothing is wanting here."""

# Pillow itself knows no HEIC; whatever test comes first, what is written is looked at.
with contextlib.suppress(ImportError):
    import pillow_heif

    pillow_heif.register_heif_opener()


def smooth(height=23, width=37, channels=3, dtype=np.uint8, seed=0):
    """Return a smooth picture of odd size that lossy formats keep well."""
    noise = np.random.default_rng(seed).random((height, width, channels), np.float32)
    blurred = cv2.GaussianBlur(noise, (0, 0), 4).reshape(height, width, channels)
    scaled = (blurred - blurred.min()) / np.ptp(blurred)
    return np.rint(scaled * np.iinfo(dtype).max).astype(dtype)


def noisy(shape, dtype=np.uint8, seed=1):
    return np.random.default_rng(seed).integers(0, np.iinfo(dtype).max, shape, dtype=dtype, endpoint=True)


def saved(picture, format, **options):
    stream = io.BytesIO()
    picture.save(stream, format, **options)
    return stream.getvalue()


def png_chunk(kind, body=b""):
    """Return a chunk of a PNG."""
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def exif_block(orientation=1, size=(37, 23)):
    exif = Image.Exif()
    exif[0x010F] = "Camera maker"
    exif[0x0112] = orientation
    exif[0x8298] = "Someone"
    exif.get_ifd(0x8769).update({0x9003: "2020:01:02 03:04:05", 0xA002: size[0], 0xA003: size[1]})
    exif.get_ifd(0x8825).update({1: "N", 2: (51.0, 30.0, 0.0)})
    return exif.tobytes()


def reread(exif):
    loaded = Image.Exif()
    loaded.load(exif)
    return loaded


def tiff(
    samples,
    *,
    order="<",
    photometric=None,
    planar=1,
    extra=None,
    compression=1,
    predictor=1,
    tile=None,
    tags=(),
    fields=None,
):
    """Return a TIFF of (H, W, C) samples in the given arrangement, in two strips a plane or in tiles."""
    height, width, count = samples.shape
    blocks = []
    rows = (height + 1) // 2
    for plane in [samples] if planar == 1 else [samples[..., i : i + 1] for i in range(count)]:
        if tile is None:
            parts = [plane[top : top + rows] for top in range(0, height, rows)]
        else:
            padded = np.pad(plane, ((0, -height % tile), (0, -width % tile), (0, 0)))
            parts = [
                padded[top : top + tile, left : left + tile]
                for top in range(0, height, tile)
                for left in range(0, width, tile)
            ]
        for part in parts:
            values = np.array(part)
            if predictor == 2:
                values[:, 1:] -= part[:, :-1]
            raw = values.astype(values.dtype.newbyteorder(order)).tobytes()
            blocks.append(zlib.compress(raw) if compression == 8 else raw)
    offsets = np.cumsum([8] + [len(block) for block in blocks])
    start = int(offsets[-1]) + int(offsets[-1]) % 2
    photometric = photometric if photometric is not None else (2 if count >= 3 else 1)
    where, sizes = (324, 325) if tile else (273, 279)
    values = {
        256: (4, (width,)),
        257: (4, (height,)),
        258: (3, (samples.dtype.itemsize * 8,) * count),
        259: (3, (compression,)),
        262: (3, (photometric,)),
        where: (4, tuple(int(offset) for offset in offsets[:-1])),
        277: (3, (count,)),
        sizes: (4, tuple(len(block) for block in blocks)),
        284: (3, (planar,)),
        317: (3, (predictor,)),
        **dict(tags),
    }
    values |= {322: (3, (tile,)), 323: (3, (tile,))} if tile else {278: (3, (rows,))}
    if extra is not None:
        values[338] = (3, (extra,))
    made = {tag: _exif.field_of(kind, numbers, order) for tag, (kind, numbers) in values.items()}
    fields = made | (fields or {})
    body = b"".join(blocks).ljust(start - 8, b"\x00")
    return _exif.header(order, start) + body + _exif.write_directory(_exif.Directory(fields), start, order)


def dng(pixels, *, orientation=1):
    """Return a DNG of 16-bit samples behind a filter of red, green, green and blue; light and samples are one.

    Args:
        pixels: (H, W, 3) uint16 linear sRGB, of even sides.
        orientation: as EXIF numbers it.
    """
    mosaic = pixels[..., 1].copy()
    mosaic[::2, ::2], mosaic[1::2, 1::2] = pixels[::2, ::2, 0], pixels[1::2, 1::2, 2]
    # XYZ of D65 to linear sRGB, by 10,000
    to_camera = (32406, -15372, -4986, -9689, 18758, 415, 557, -2040, 10570)
    text, rational, signed = 2, 5, 10

    def ratios(*numbers):
        return tuple(part for number in numbers for part in (number, 10_000))

    entries = {
        254: (4, (0,)),
        271: (text, b"Maker\0"),
        272: (text, b"Filter camera\0"),
        274: (3, (orientation,)),
        33421: (3, (2, 2)),
        33422: (1, (0, 1, 1, 2)),
        50706: (1, (1, 4, 0, 0)),
        50708: (text, b"Filter camera\0"),
        50714: (4, (0,)),
        50717: (4, (65535,)),
        50721: (signed, ratios(*to_camera)),
        50728: (rational, ratios(10_000, 10_000, 10_000)),
        50778: (3, (21,)),
    }
    fields = {
        tag: _exif.Field(kind, *_packed(kind, numbers), "<") for tag, (kind, numbers) in entries.items()
    }
    return tiff(mosaic[..., None], photometric=32803, fields=fields)


def _packed(kind, numbers):
    """Return the count and the bytes of an entry's numbers, which for ratios are numerator and denominator."""
    if isinstance(numbers, bytes):
        return len(numbers), numbers
    code = {1: "B", 3: "H", 4: "I", 5: "I", 10: "i"}[kind]
    return len(numbers) // (2 if kind in (5, 10) else 1), struct.pack(f"<{len(numbers)}{code}", *numbers)


def cmyk_profile():
    """Return a minimal CMYK output profile: an lut8 from CMYK to Lab with two grid points an axis."""

    def s15(value):
        return struct.pack(">i", round(value * 65536))

    corners = np.stack(np.meshgrid(*[[0, 1]] * 4, indexing="ij"), axis=-1).reshape(-1, 4)
    light = 255 * (1 - corners[:, :3].mean(axis=1)) * (1 - corners[:, 3])
    lab = np.stack((light, 128 + 60 * (corners[:, 1] - corners[:, 0]), 128 + 0 * light), axis=1)
    ramp = bytes(range(256))
    matrix = b"".join(s15(v) for v in (1, 0, 0, 0, 1, 0, 0, 0, 1))
    lut = (
        b"mft1\0\0\0\0"
        + bytes((4, 3, 2, 0))
        + matrix
        + ramp * 4
        + np.rint(lab).astype(np.uint8).tobytes()
        + ramp * 3
    )
    back = b"mft1\0\0\0\0" + bytes((3, 4, 2, 0)) + matrix + ramp * 3 + bytes(8 * 4) + ramp * 4
    white = b"XYZ \0\0\0\0" + s15(0.9642) + s15(1.0) + s15(0.8249)
    text = b"desc\0\0\0\0" + struct.pack(">I", 2) + b"x\0" + bytes(78)
    tags = {
        b"A2B0": lut,
        b"A2B1": lut,
        b"B2A0": back,
        b"wtpt": white,
        b"desc": text,
        b"cprt": b"text\0\0\0\0x\0",
    }
    position, table, body = 128 + 4 + 12 * len(tags), struct.pack(">I", len(tags)), b""
    for name, value in tags.items():
        padded = value + bytes(-len(value) % 4)
        table += name + struct.pack(">II", position + len(body), len(value))
        body += padded
    head = struct.pack(
        ">I4sI4s4s4s12s4s",
        position + len(body),
        b"none",
        0x02400000,
        b"prtr",
        b"CMYK",
        b"Lab ",
        bytes(12),
        b"acsp",
    )
    head = head.ljust(68, b"\0") + s15(0.9642) + s15(1.0) + s15(0.8249)
    return head.ljust(128, b"\0") + table + body
