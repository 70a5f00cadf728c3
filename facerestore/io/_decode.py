"""From the bytes of a picture file, a Pillow picture or an array to a DecodedImage."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from facerestore.errors import ConfigError, ImageError
from facerestore.io import _avif, _bmp, _exif, _gif, _heif, _jpeg, _pillow, _png, _raw, _tiff, _webp
from facerestore.io._boundary import readable
from facerestore.io._files import read_encoded
from facerestore.io._formats import RAW, SIGNATURE_BYTES, sniff
from facerestore.io._source import DEFAULT_MAX_PIXELS, Samples, SeveralError, Source, finish, tripled
from facerestore.io._tiff_page import page_offsets
from facerestore.types import DecodedImage, Metadata

if TYPE_CHECKING:
    from PIL import Image as PillowImage


def decode_image(
    data: bytes, *, name: str = "image", max_pixels: int = DEFAULT_MAX_PIXELS, page: int | None = None
) -> DecodedImage:
    """Return a picture file's pixels, upright, in the file's own depth, with everything needed to write it in kind.

    JPEG, PNG, WebP, TIFF, BMP, GIF, AVIF, HEIC and camera raw are told apart by their bytes. Grey, alpha and more than
    8 bits are kept; palettes become RGB or RGBA; CMYK becomes sRGB through its profile; raw is developed to 16-bit sRGB
    as the camera was set. Of an MPO file (phones write them as .jpg) the first picture is read, of HEIC the primary.
    HEIC and raw need an extra (``facerestore[heif]``, ``facerestore[raw]``).

    Args:
        data: the whole file.
        name: what to call the picture in errors.
        max_pixels: limit on width times height, checked before any pixel is decoded.
        page: which page of a TIFF, or which frame of an animation, the first is 1; None for the only one.

    Raises:
        ImageError: empty, no image, damaged in its header or nearly everywhere, too large, of several frames or pages
            and none chosen, or of an unhandled kind.
    """
    source = Source(data, name, max_pixels, page)
    with readable(name):
        return _DECODERS[_kind_of(source)](source)


def _kind_of(source: Source) -> str:
    """Return the format of a file; raw that is TIFF by its first bytes is known by its directories."""
    kind = sniff(source.data[:SIGNATURE_BYTES], source.name)
    return RAW if kind == "TIFF" and _raw.is_raw(source) else kind


class _SizeKnown(BaseException):
    """Carries the size of a picture out of its decoder, through what handles errors, before any pixel is decoded."""

    def __init__(self, width: int, height: int) -> None:
        super().__init__()
        self.size = (width, height)


class _SizeOnly(Source):
    """A source whose decoding ends where its size is known."""

    __slots__ = ()

    def check_size(self, width: int, height: int) -> None:
        """Raise ImageError for an impossible size, and else what carries it out."""
        Source.check_size(self, width, height)
        raise _SizeKnown(width, height)


def picture_size(
    data: bytes, *, name: str = "image", max_pixels: int = DEFAULT_MAX_PIXELS, page: int | None = None
) -> tuple[int, int]:
    """Return the width and height that a picture file states, not yet turned upright; no pixel is decoded.

    Raises:
        ImageError: as ``decode_image``, as far as the file had to be read.
    """
    source = _SizeOnly(data, name, max_pixels, page)
    try:
        with readable(name):
            _DECODERS[_kind_of(source)](source)
    except _SizeKnown as known:
        return known.size
    raise source.damaged("it states no size")


def page_count(data: bytes, *, name: str = "image") -> int:
    """Return how many pages a TIFF has, beside reduced copies of them; 1 for every other picture file.

    Raises:
        ImageError: as ``decode_image``, as far as the file had to be read.
    """
    with readable(name):
        source = Source(data, name)
        return max(1, len(page_offsets(source)[1])) if _kind_of(source) == "TIFF" else 1


def read_image(
    path: str | os.PathLike[str], *, max_pixels: int = DEFAULT_MAX_PIXELS, page: int | None = None
) -> DecodedImage:
    """Return the decoded picture at a path; ``-`` reads the bytes of standard input.

    ``page`` is that of ``decode_image``.

    Raises:
        ImageError: as ``decode_image``, and for a missing, unreadable or foreign file and for a directory.
    """
    return decode_image(read_encoded(path), name=_name_of(path), max_pixels=max_pixels, page=page)


def _name_of(path: str | os.PathLike[str]) -> str:
    name = os.fspath(path)
    return "standard input" if name == "-" else name


def read_shown(
    path: str | os.PathLike[str], *, max_pixels: int = DEFAULT_MAX_PIXELS, page: int | None = None
) -> DecodedImage:
    """Return the picture at a path as what only looks at it takes it: of several the first, which a note says.

    Raises:
        ImageError: as ``read_image``, but for several pages or frames of which none is chosen.
    """
    data, name = read_encoded(path), _name_of(path)
    try:
        return decode_image(data, name=name, max_pixels=max_pixels, page=page)
    except SeveralError as several:
        image = decode_image(data, name=name, max_pixels=max_pixels, page=1)
        note = f"this is the first of {several.words}; --page takes another"
        return replace(image, notes=(*image.notes, note))


PictureSource: TypeAlias = "str | os.PathLike[str] | bytes | PillowImage.Image | NDArray[Any] | DecodedImage"
"""What the Python interface takes as a picture; see ``as_decoded``."""


def as_decoded(
    source: PictureSource,
    *,
    channels: str = "rgb",
    max_pixels: int = DEFAULT_MAX_PIXELS,
    page: int | None = None,
) -> DecodedImage:
    """Return a DecodedImage of anything that the Python interface takes as a picture.

    Args:
        source: a path; the bytes of a picture file; a Pillow picture, whose EXIF orientation is applied; an (H, W),
            (H, W, 3) or (H, W, 4) uint8 or uint16 array, which is not copied where that can be helped; or a
            DecodedImage, returned as it is.
        channels: order of the colours of an array, ``rgb`` or ``bgr`` (with alpha last either way).
        max_pixels: limit for paths and bytes.
        page: of paths and bytes, as for ``decode_image``.

    Raises:
        ImageError: not a picture, or an array of another shape or type.
        ConfigError: unknown order of channels.
    """
    if channels not in ("rgb", "bgr"):
        raise ConfigError(f"unknown channel order '{channels}'; choose 'rgb' or 'bgr'")
    if isinstance(source, DecodedImage):
        return source
    if isinstance(source, str | os.PathLike):
        return read_image(source, max_pixels=max_pixels, page=page)
    if isinstance(source, bytes | bytearray | memoryview):
        return decode_image(bytes(source), max_pixels=max_pixels, page=page)
    if isinstance(source, np.ndarray):
        return _from_array(source, channels)
    from PIL import Image as PillowImage

    if isinstance(source, PillowImage.Image):
        return _from_pillow(source)
    raise ImageError(
        f"a {type(source).__name__} is no picture; give a path, bytes, a Pillow image or a uint8 or uint16 array"
    )


_DECODERS: Mapping[str, Callable[[Source], DecodedImage]] = MappingProxyType(
    {
        "JPEG": _jpeg.decode,
        "PNG": _png.decode,
        "WEBP": _webp.decode,
        "TIFF": _tiff.decode,
        "BMP": _bmp.decode,
        "GIF": _gif.decode,
        "AVIF": _avif.decode,
        "HEIF": _heif.decode,
        RAW: _raw.decode,
    }
)


def _from_pillow(picture: PillowImage.Image) -> DecodedImage:
    """Return a DecodedImage of a Pillow picture with the metadata it carries."""
    with readable("the Pillow image"):
        # TIFF turns itself upright while it loads, and only then is its orientation tag gone.
        picture.load()
        decoded = _pillow.channels(picture, "Pillow image")._replace(stored_as=_pillow.storage_words(picture))
        exif = picture.info.get("exif") or _pillow_exif(picture)
    info = picture.info
    metadata = Metadata(exif=exif, xmp=info.get("xmp"), icc=info.get("icc_profile"), dpi=info.get("dpi"))
    kind = "JPEG" if picture.format == "MPO" else picture.format
    return finish(decoded, metadata, kind, converted=picture.mode in ("CMYK", "LAB"))


def _pillow_exif(picture: PillowImage.Image) -> bytes | None:
    """Return the EXIF of a picture that holds it as tags (TIFF, or set by hand), without the tags of its pixels."""
    from PIL import Image as PillowImage

    found = picture.getexif()
    kept = PillowImage.Exif()
    for tag in {*_exif.DESCRIPTIVE_TAGS, _exif.ORIENTATION} & set(found):
        kept[tag] = found[tag]
    for pointer in _exif.PARTS:
        if part := found.get_ifd(pointer):
            kept.get_ifd(pointer).update(part)
    return kept.tobytes() if len(kept) else None


def _from_array(array: NDArray[np.generic], channels: str) -> DecodedImage:
    """Return a DecodedImage that shares the memory of an RGB array."""
    shaped = array[..., 0] if array.ndim == 3 and array.shape[2] == 1 else array
    if shaped.dtype not in (np.uint8, np.uint16):
        raise ImageError(
            f"an array of {array.dtype} is no picture; scale it to 0..255 and convert it to uint8"
        )
    if 0 in shaped.shape or not (shaped.ndim == 2 or (shaped.ndim == 3 and shaped.shape[2] in (3, 4))):
        raise ImageError(
            f"an array of shape {array.shape} is no picture; give (H, W), (H, W, 3) or (H, W, 4)"
        )
    typed: Samples = shaped.astype(shaped.dtype.newbyteorder("="), copy=False)
    if typed.ndim == 2:
        return DecodedImage(tripled(np.ascontiguousarray(typed)), grey=True)
    colour = typed[..., 2::-1] if channels == "bgr" else typed[..., :3]
    alpha = np.ascontiguousarray(typed[..., 3]) if typed.shape[2] == 4 else None
    return DecodedImage(np.ascontiguousarray(colour), alpha)
