"""The five file formats: their names, suffixes, signatures, and what each can hold."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from facerestore.errors import ConfigError, ImageError
from facerestore.types import DecodedImage


@dataclass(frozen=True, slots=True)
class FormatTraits:
    """What a file format can hold.

    Attributes:
        suffix: the usual file suffix, with its dot.
        alpha: it holds transparency.
        deep: it holds 16 bits per sample.
        grey: it has pixels of one channel.
        lossy: it is written with a quality.
        max_side_px: the longest side its header can state.
    """

    suffix: str
    alpha: bool
    deep: bool
    grey: bool
    lossy: bool
    max_side_px: int


# Longest sides: libjpeg's JPEG_MAX_DIMENSION; VP8's 14-bit fields; 31 bits in PNG and BMP headers, 32 in TIFF.
FORMATS: Mapping[str, FormatTraits] = MappingProxyType(
    {
        "JPEG": FormatTraits(".jpg", alpha=False, deep=False, grey=True, lossy=True, max_side_px=65500),
        "PNG": FormatTraits(".png", alpha=True, deep=True, grey=True, lossy=False, max_side_px=2**31 - 1),
        "WEBP": FormatTraits(".webp", alpha=True, deep=False, grey=False, lossy=True, max_side_px=2**14 - 1),
        "TIFF": FormatTraits(".tif", alpha=True, deep=True, grey=True, lossy=False, max_side_px=2**32 - 1),
        "BMP": FormatTraits(".bmp", alpha=True, deep=False, grey=True, lossy=False, max_side_px=2**31 - 1),
    }
)
"""Traits by upper-case Pillow name."""

_SUFFIXES = {
    "JPEG": ".jpg .jpeg .jpe .jfif",
    "PNG": ".png",
    "WEBP": ".webp",
    "TIFF": ".tif .tiff",
    "BMP": ".bmp",
}
SUFFIXES: Mapping[str, str] = MappingProxyType(
    {suffix: name for name, suffixes in _SUFFIXES.items() for suffix in suffixes.split()}
)
"""Format names by lower-case file suffix."""

_SIGNATURES = (
    (b"\xff\xd8\xff", "JPEG"),
    (b"\x89PNG\r\n\x1a\n", "PNG"),
    (b"II*\x00", "TIFF"),
    (b"MM\x00*", "TIFF"),
    (b"II+\x00", "TIFF"),
    (b"MM\x00+", "TIFF"),
    (b"BM", "BMP"),
)
# Formats that people do have and that are not read here, so that the error can name them.
_FOREIGN_SIGNATURES = (
    (0, b"GIF8", "a GIF"),
    (0, b"%PDF", "a PDF"),
    (0, b"8BPS", "a Photoshop document"),
    (0, b"\x00\x00\x00\x0cjP  ", "a JPEG 2000 picture"),
    (0, b"\xff\x0a", "a JPEG XL picture"),
    (0, b"\x00\x00\x00\x0cJXL ", "a JPEG XL picture"),
    (8, b"avi", "an AVIF picture"),
    (8, b"he", "a HEIC picture"),
    (8, b"mif1", "a HEIF picture"),
)
SIGNATURE_BYTES = 12
"""How many leading bytes ``sniff`` looks at."""


def resolve_format(name: str) -> str:
    """Return the upper-case Pillow name of a format given as ``JPEG``, ``jpg``, ``.jpg``, ``tif`` and the like.

    Raises:
        ConfigError: the name is none of the five formats.
    """
    key = name.strip().lower().lstrip(".")
    if key.upper() in FORMATS:
        return key.upper()
    if f".{key}" in SUFFIXES:
        return SUFFIXES[f".{key}"]
    raise ConfigError(f"unknown image format '{name}'; choose one of {', '.join(FORMATS)}")


def sniff(head: bytes, name: str) -> str:
    """Return the format that the first bytes of a file announce; the suffix is never trusted.

    Args:
        head: at least ``SIGNATURE_BYTES`` bytes of the file, or all of a shorter one.
        name: what to call the picture in errors.

    Raises:
        ImageError: the file is empty, or none of the five formats.
    """
    if not head:
        raise ImageError(f"{name}: the file is empty (0 bytes); give a picture")
    for signature, format_name in _SIGNATURES:
        if head.startswith(signature):
            return format_name
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return "WEBP"
    readable = ", ".join(FORMATS)
    for offset, signature, kind in _FOREIGN_SIGNATURES:
        if head.startswith(signature, offset) and (offset == 0 or head[4:8] == b"ftyp"):
            raise ImageError(f"{name}: this is {kind}, which is not read; convert it to one of {readable}")
    raise ImageError(f"{name}: not an image of a known format; readable are {readable}")


def check_holds(image: DecodedImage, *, format: str) -> None:
    """Raise unless a picture's depth, alpha and size fit into a format, so that nothing is lost silently.

    Args:
        image: the picture to be written.
        format: a name that ``resolve_format`` knows.

    Raises:
        ImageError: the format cannot hold it; the message names those that can.
        ConfigError: unknown format.
    """
    target = resolve_format(format)
    traits = FORMATS[target]
    height, width = image.pixels.shape[:2]
    deep = image.pixels.dtype.itemsize > 1
    if deep and not traits.deep:
        raise ImageError(
            f"{target} cannot hold 16-bit pixels; write {_able_formats(deep=True)}, or reduce the picture to 8 bits"
        )
    if image.alpha is not None and not traits.alpha:
        raise ImageError(
            f"{target} cannot hold transparency; write {_able_formats(deep=deep)}, or flatten the picture first"
        )
    if max(height, width) > traits.max_side_px:
        raise ImageError(
            f"{target} cannot hold {width}x{height} pixels (at most {traits.max_side_px} a side); write PNG or TIFF"
        )


def _able_formats(*, deep: bool) -> str:
    """Return the names of the formats that hold alpha, and 16 bits where asked, as ``PNG or TIFF``."""
    return " or ".join(name for name, traits in FORMATS.items() if traits.alpha and (traits.deep or not deep))
