"""Target ``decode``: a small picture of every format, container and kind, made here; read and written again."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageCms
from PIL.PngImagePlugin import PngInfo

from facerestore.io import decode_image, encode_image, picture_size
from facerestore.types import DecodedImage
from fuzz.kinds import Kind

HEIGHT, WIDTH = 40, 56
MAX_PIXELS = 2**20
_PASSES = ((0, 8, 0, 8), (4, 8, 0, 8), (0, 4, 4, 8), (2, 4, 0, 4), (0, 2, 2, 4), (1, 2, 0, 2), (0, 1, 1, 2))
_TIFF_COMPRESSIONS = ("raw", "tiff_lzw", "tiff_adobe_deflate", "packbits", "jpeg", "zstd", "lzma")


def kinds() -> tuple[Kind, ...]:
    """Return a kind for each format."""
    made = list(pictures())
    suffixes = dict.fromkeys(name.partition(".")[2] for name, _ in made)
    return tuple(
        Kind(suffix, tuple(data for name, data in made if name.endswith(f".{suffix}")), read_picture)
        for suffix in suffixes
    )


def read_picture(data: bytes) -> None:
    """Decode a picture and write it again in its own format."""
    picture_size(data, name="mutant", max_pixels=MAX_PIXELS, page=1)
    image = decode_image(data, name="mutant", max_pixels=MAX_PIXELS, page=1)
    encode_image(image, format=image.format or "PNG")


def photo(channels: int = 3, dtype: type = np.uint8) -> NDArray[np.generic]:
    """Return (HEIGHT, WIDTH, channels): slopes with a grain."""
    rng = np.random.default_rng(5)
    rows, columns = np.mgrid[:HEIGHT, :WIDTH]
    slopes = [(rows * a + columns * b) % 200 for a, b in ((3, 1), (1, 4), (2, 2), (5, 3))][:channels]
    pixels = np.stack(slopes, axis=2) + rng.integers(0, 30, (HEIGHT, WIDTH, channels))
    return (pixels * (257 if dtype == np.uint16 else 1)).astype(dtype)


def _saved(picture: Image.Image, format: str, **options: object) -> bytes:
    stream = io.BytesIO()
    picture.save(stream, format, **options)
    return stream.getvalue()


def exif_block() -> bytes:
    """Return EXIF with a maker note, a place and a turn."""
    exif = Image.Exif()
    exif[0x010F], exif[0x0112] = "Maker", 6
    exif.get_ifd(0x8769).update(
        {0x9003: "2020:01:02 03:04:05", 0xA002: WIDTH, 0x927C: b"Nikon\0\2" + bytes(40)}
    )
    exif.get_ifd(0x8825).update({1: "N", 2: (51.0, 30.0, 0.0)})
    return exif.tobytes()


_XMP = (
    b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
    b'<rdf:Description rdf:about="" xmlns:tiff="http://ns.adobe.com/tiff/1.0/" tiff:Orientation="6"/></rdf:RDF>'
    b"</x:xmpmeta>"
)


def pictures() -> Iterator[tuple[str, bytes]]:
    """Yield name and content of every kind of picture."""
    rgb = Image.fromarray(photo())
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    carried = {"exif": exif_block(), "icc_profile": profile}
    yield from _jpegs(rgb, carried)
    yield from _pngs(rgb, carried)
    yield from _tiffs(rgb)
    yield from _bmps(rgb)
    yield "moving.gif", _saved(rgb, "GIF", save_all=True, append_images=[rgb.rotate(90), rgb], duration=40)
    yield "lossy.webp", _saved(rgb, "WEBP", xmp=_XMP, **carried)
    yield "lossless.webp", _saved(rgb.convert("RGBA"), "WEBP", lossless=True)
    yield "alpha.webp", _saved(Image.fromarray(photo(4)), "WEBP")
    moving = [Image.fromarray(np.roll(photo(), step, 1)) for step in range(3)]
    yield "moving.webp", _saved(moving[0], "WEBP", save_all=True, append_images=moving[1:])


def _jpegs(rgb: Image.Image, carried: dict[str, object]) -> Iterator[tuple[str, bytes]]:
    yield "plain.jpg", _saved(rgb, "JPEG", comment="words", xmp=_XMP, **carried)
    yield "progressive.jpg", _saved(rgb, "JPEG", progressive=True)
    yield "restarts.jpg", _saved(rgb, "JPEG", restart_marker_blocks=2, subsampling=0)
    yield "grey.jpg", _saved(rgb.convert("L"), "JPEG", **carried)
    yield "cmyk.jpg", _saved(rgb.convert("CMYK"), "JPEG")
    photoshop = b"Photoshop 3.0\0" + iptc_block()
    plain = _saved(rgb, "JPEG")
    yield "iptc.jpg", plain[:2] + struct.pack(">HH", 0xFFED, len(photoshop) + 2) + photoshop + plain[2:]
    yield "two.jpg", plain + plain


def iptc_block() -> bytes:
    """Return Photoshop resources: IPTC records with a caption."""
    return b"8BIM\x04\x04\0\0" + struct.pack(">I", 12) + b"\x1c\x02\x78\0\x07caption"


def chunk(kind: bytes, body: bytes) -> bytes:
    """Return a PNG chunk."""
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def _pngs(rgb: Image.Image, carried: dict[str, object]) -> Iterator[tuple[str, bytes]]:
    texts = PngInfo()
    texts.add_text("Comment", "words", zip=True)
    texts.add_itxt("XML:com.adobe.xmp", _XMP.decode())
    exif = exif_block()
    texts.add_text("Raw profile type exif", f"\nexif\n{len(exif):8d}\n{exif.hex()}\n")
    yield "plain.png", _saved(rgb, "PNG", pnginfo=texts, **carried)
    yield "grey1.png", _saved(rgb.convert("1"), "PNG")
    yield "palette4.png", _saved(rgb.quantize(16), "PNG", bits=4, transparency=3)
    yield "palette.png", _saved(rgb.convert("P"), "PNG")
    yield "alpha.png", _saved(Image.fromarray(photo(4)), "PNG")
    yield "greyalpha.png", _saved(rgb.convert("LA"), "PNG")
    for name, count, grey in (("deep.png", 3, False), ("deepalpha.png", 4, False), ("deepgrey.png", 3, True)):
        pixels = photo(count, np.uint16)
        image = DecodedImage(pixels[..., :3], pixels[..., 3].copy() if count == 4 else None, grey=grey)
        yield name, encode_image(image, format="PNG")
    moving = [Image.fromarray(np.roll(photo(), step, 1)) for step in range(3)]
    yield "moving.png", _saved(moving[0], "PNG", save_all=True, append_images=moving[1:])
    raw = b"".join(
        b"\0" + row.tobytes()
        for left, across, top, down in _PASSES
        for row in photo()[top::down, left::across]
    )
    head = struct.pack(">IIBBBBB", WIDTH, HEIGHT, 8, 2, 0, 0, 1)
    colours = chunk(b"gAMA", struct.pack(">I", 45455)) + chunk(b"cHRM", bytes(32)) + chunk(b"tIME", bytes(7))
    parts = (chunk(b"IHDR", head), colours, chunk(b"IDAT", zlib.compress(raw)), chunk(b"IEND", b""))
    yield "interlaced.png", b"\x89PNG\r\n\x1a\n" + b"".join(parts)


def _tiffs(rgb: Image.Image) -> Iterator[tuple[str, bytes]]:
    for compression in _TIFF_COMPRESSIONS:
        carried = (
            {"exif": exif_block()} if compression == "raw" else {}
        )  # libtiff writes no directory in a directory
        yield f"{compression}.tif", _saved(rgb, "TIFF", compression=compression, **carried)
    for compression in ("group3", "group4", "tiff_ccitt"):
        yield f"{compression}.tif", _saved(rgb.convert("1"), "TIFF", compression=compression)
    yield "F.tif", _saved(Image.fromarray(photo(1)[..., 0].astype(np.float32) / 255), "TIFF")
    for mode in ("L", "P", "CMYK", "LAB", "I;16", "I", "RGBA"):
        source = rgb.convert("L") if mode in ("I", "I;16") else rgb
        if mode == "LAB":
            source = ImageCms.profileToProfile(
                rgb, ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB"), outputMode="LAB"
            )
        yield f"{mode}.tif", _saved(source if mode == "LAB" else source.convert(mode), "TIFF")
    pixels = photo(4, np.uint16)
    yield "deep.tif", encode_image(DecodedImage(pixels[..., :3], pixels[..., 3].copy()), format="TIFF")
    yield "pages.tif", _saved(rgb, "TIFF", save_all=True, append_images=[rgb.convert("L"), rgb])
    yield "big.tif", _saved(rgb, "TIFF", big_tiff=True)


def _bmps(rgb: Image.Image) -> Iterator[tuple[str, bytes]]:
    yield "plain.bmp", _saved(rgb, "BMP", dpi=(72, 72))
    yield "palette.bmp", _saved(rgb.convert("P"), "BMP")
    yield "grey1.bmp", _saved(rgb.convert("1"), "BMP")
    alpha = photo(4)
    yield (
        "version5.bmp",
        encode_image(DecodedImage(alpha[..., :3].copy(), alpha[..., 3].copy()), format="BMP"),
    )
    masks = struct.pack("<III", 0xF800, 0x7E0, 0x1F)
    info = struct.pack("<IiiHHIIiiII", 40, WIDTH, HEIGHT, 1, 16, 3, WIDTH * HEIGHT * 2, 2835, 2835, 0, 0)
    body = photo(2).tobytes()
    yield "fields.bmp", struct.pack("<2sIHHI", b"BM", 66 + len(body), 0, 0, 66) + info + masks + body
    rle = b"".join(bytes((WIDTH, row)) + b"\0\0" for row in range(HEIGHT)) + b"\0\1"
    info = struct.pack("<IiiHHIIiiII", 40, WIDTH, HEIGHT, 1, 8, 1, len(rle), 0, 0, 256, 0)
    palette = b"".join(bytes((value, value // 2, 9, 0)) for value in range(256))
    yield "rle.bmp", struct.pack("<2sIHHI", b"BM", 1078 + len(rle), 0, 0, 1078) + info + palette + rle
