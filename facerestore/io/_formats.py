"""The file formats: their names, suffixes, signatures, and what each can hold."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cache
from importlib.util import find_spec
from types import MappingProxyType, ModuleType

import numpy as np

from facerestore.errors import ConfigError, ImageError, required_package
from facerestore.types import DecodedImage


@dataclass(frozen=True, slots=True)
class FormatTraits:
    """What a file format can hold.

    Attributes:
        suffix: the usual file suffix, with its dot.
        alpha: it holds transparency.
        bits: the most bits of a sample that it holds; where they are more than 8, 16 are reduced to them.
        grey: it has pixels of one channel.
        lossy: it is written with a quality.
        max_side_px: the longest side its header can state.
    """

    suffix: str
    alpha: bool
    bits: int
    grey: bool
    lossy: bool
    max_side_px: int

    @property
    def deep(self) -> bool:
        """It holds more than 8 bits of a sample."""
        return self.bits > 8


# Longest sides: libjpeg's JPEG_MAX_DIMENSION; VP8's 14-bit fields; 31 bits in PNG and BMP headers, 32 in TIFF; what
# libavif decodes unless told otherwise; the square root of 8 times the largest picture of HEVC (level 6.2).
FORMATS: Mapping[str, FormatTraits] = MappingProxyType(
    {
        "JPEG": FormatTraits(".jpg", alpha=False, bits=8, grey=True, lossy=True, max_side_px=65500),
        "PNG": FormatTraits(".png", alpha=True, bits=16, grey=True, lossy=False, max_side_px=2**31 - 1),
        "WEBP": FormatTraits(".webp", alpha=True, bits=8, grey=False, lossy=True, max_side_px=2**14 - 1),
        "TIFF": FormatTraits(".tif", alpha=True, bits=16, grey=True, lossy=False, max_side_px=2**32 - 1),
        "BMP": FormatTraits(".bmp", alpha=True, bits=8, grey=True, lossy=False, max_side_px=2**31 - 1),
        "AVIF": FormatTraits(".avif", alpha=True, bits=12, grey=True, lossy=True, max_side_px=2**15),
        "HEIF": FormatTraits(".heic", alpha=True, bits=10, grey=True, lossy=True, max_side_px=16888),
    }
)
"""Traits by upper-case Pillow name."""

_SUFFIXES = {
    "JPEG": ".jpg .jpeg .jpe .jfif",
    "PNG": ".png",
    "WEBP": ".webp",
    "TIFF": ".tif .tiff",
    "BMP": ".bmp",
    "AVIF": ".avif",
    "HEIF": ".heic .heif .hif",
    "RAW": ".3fr .arw .cr2 .cr3 .crw .dng .nef .nrw .orf .pef .raf .rw2 .srw",
}
SUFFIXES: Mapping[str, str] = MappingProxyType(
    {suffix: name for name, suffixes in _SUFFIXES.items() for suffix in suffixes.split()}
)
"""Names of formats that are read by lower-case file suffix."""

RAW, OF_RAW = "RAW", "TIFF"
"""Stands for what cameras write, each its own, and is only read; and what comes of it unless another is asked for."""

WRITTEN_SUFFIXES: Mapping[str, str] = MappingProxyType(
    {end: name for end, name in SUFFIXES.items() if name != RAW}
)
"""Names of formats that are written by lower-case file suffix."""

RAW_TIFFS = (b"IIRO", b"IIRS", b"MMOR", b"IIU\x00")
"""How TIFFs begin in which Olympus and Panasonic write, with a number of their own."""
INSTALLS: Mapping[str, tuple[str, str]] = MappingProxyType(
    {
        "HEIF": ("pillow_heif", 'pip install "facerestore[heif]"'),
        RAW: ("rawpy", 'pip install "facerestore[raw]"'),
    }
)
"""The module that a format needs beside what is always installed, and the command that installs it."""

_SIGNATURES = (
    (b"\xff\xd8\xff", "JPEG"),
    (b"\x89PNG\r\n\x1a\n", "PNG"),
    (b"II*\x00", "TIFF"),
    (b"MM\x00*", "TIFF"),
    (b"II+\x00", "TIFF"),
    (b"MM\x00+", "TIFF"),
    (b"BM", "BMP"),
    (b"GIF8", "GIF"),
    # Canon's two old kinds, Fujifilm's, Olympus' three and Panasonic's; others are TIFF by their first bytes.
    (b"II\x1a\x00\x00\x00HEAPCCDR", RAW),
    (b"FUJIFILMCCD-RAW", RAW),
    *((start, RAW) for start in RAW_TIFFS),
)
# Formats that people do have and that are not read here, so that the error can name them.
_FOREIGN_SIGNATURES = (
    (b"%PDF", "a PDF"),
    (b"8BPS", "a Photoshop document"),
    (b"\x00\x00\x00\x0cjP  ", "a JPEG 2000 picture"),
    (b"\xff\x0a", "a JPEG XL picture"),
    (b"\x00\x00\x00\x0cJXL ", "a JPEG XL picture"),
)
# Brands that files of boxes have first (ISO/IEC 23008-12 annex B, AV1's binding, Canon's CR3); the two of HEIF that
# leave the codec open are followed by others.
_BRANDS = {b"avif": "AVIF", b"avis": "AVIF", b"crx ": RAW} | dict.fromkeys(
    (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs", b"mif1", b"msf1", b"mif2"),
    "HEIF",
)
_OPEN_BRANDS = (b"mif1", b"msf1", b"mif2")
SIGNATURE_BYTES = 64
"""How many leading bytes ``sniff`` looks at."""


def resolve_format(name: str) -> str:
    """Return the upper-case Pillow name of a format given as ``JPEG``, ``jpg``, ``.jpg``, ``tif`` and the like.

    Raises:
        ConfigError: the name is none of the formats that are written.
    """
    key = name.strip().lower().lstrip(".")
    if key.upper() in FORMATS:
        return key.upper()
    if f".{key}" in WRITTEN_SUFFIXES:
        return WRITTEN_SUFFIXES[f".{key}"]
    raise ConfigError(f"unknown image format '{name}'; choose one of {', '.join(FORMATS)}")


def sniff(head: bytes, name: str) -> str:
    """Return the format that the first bytes of a file announce; the suffix is never trusted.

    Args:
        head: at least ``SIGNATURE_BYTES`` bytes of the file, or all of a shorter one.
        name: what to call the picture in errors.

    Raises:
        ImageError: the file is empty, or of no format that is read.
    """
    if not head:
        raise ImageError(f"{name}: the file is empty (0 bytes); give a picture")
    for signature, format_name in _SIGNATURES:
        if head.startswith(signature):
            return format_name
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return "WEBP"
    if head[4:8] == b"ftyp" and (found := _BRANDS.get(head[8:12])) is not None:
        return "AVIF" if head[8:12] in _OPEN_BRANDS and re.search(b"avi[fs]", head) else found
    readable = f"{', '.join(FORMATS)}, GIF and camera raw"
    for signature, kind in _FOREIGN_SIGNATURES:
        if head.startswith(signature):
            raise ImageError(
                f"{name}: this is {kind}, which is not read; convert it to one of {', '.join(FORMATS)}"
            )
    raise ImageError(f"{name}: not an image of a known format; readable are {readable}")


def needed(format: str, *, name: str) -> ModuleType:
    """Return the module that a format needs, imported now.

    Args:
        format: one of ``INSTALLS``.
        name: what to call the picture in errors.

    Raises:
        ImageError: it is not installed.
    """
    module, install = INSTALLS[format]
    what = f"{name}: {'camera raw' if format == RAW else 'HEIC'}"
    return required_package(module, what=what, install=install, error=ImageError)


@cache
def lacking(format: str) -> str | None:
    """Return the command that installs what a format needs and what is not here; None where nothing is wanting."""
    module, install = INSTALLS.get(format, ("facerestore", ""))
    return None if find_spec(module) else install


def fitted(image: DecodedImage, *, format: str) -> DecodedImage:
    """Return a picture as a format holds it, where nothing is lost by it that its file had: raw developed to 8 bits.

    Args:
        image: the picture.
        format: a name that ``resolve_format`` knows.
    """
    if image.format != RAW or image.pixels.dtype == np.uint8 or FORMATS[resolve_format(format)].deep:
        return image
    pixels = np.empty(image.pixels.shape, np.uint8)
    for row, samples in zip(
        pixels, image.pixels, strict=True
    ):  # by rows: what is computed beside them stays small
        row[:] = (samples.astype(np.uint32) + 128) // 257
    return replace(image, pixels=pixels)


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
