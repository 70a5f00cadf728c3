"""Pictures in and out: bytes or files to DecodedImage, and back in kind, atomically, with all they carry."""

from __future__ import annotations

import os
from pathlib import Path

from facerestore.errors import ConfigError, ImageError
from facerestore.io._across import colours_of
from facerestore.io._boundary import readable, within_memory
from facerestore.io._credentials import Credentials
from facerestore.io._decode import (
    PictureSource,
    as_decoded,
    decode_image,
    page_count,
    picture_size,
    read_image,
    read_shown,
)
from facerestore.io._drawn import marked, png_mark, png_xmp
from facerestore.io._encode import (
    DEFAULT_QUALITY,
    encode_image,
    encode_page,
    encode_spent,
    encoded_parts,
    is_lossy,
    left_out,
    quality_written,
)
from facerestore.io._files import (
    Buffer,
    FolderContent,
    OnEncoded,
    check_free,
    exists,
    find_images,
    fitting,
    is_file,
    is_folder,
    is_there,
    read_encoded,
    search_folder,
    write_encoded,
    write_parts,
)
from facerestore.io._formats import (
    FORMATS,
    INSTALLS,
    OF_RAW,
    RAW,
    SUFFIXES,
    WRITTEN_SUFFIXES,
    FormatTraits,
    check_holds,
    fitted,
    lacking,
    resolve_format,
)
from facerestore.io._gif import GIF_XMP, xmp_of_gif
from facerestore.io._marks import Mark, kinds_made, read_mark, with_mark
from facerestore.io._remote import RemotePath, located
from facerestore.io._source import DEFAULT_MAX_PIXELS
from facerestore.io._tiff import joined
from facerestore.types import DecodedImage

__all__ = [
    "DEFAULT_MAX_PIXELS",
    "DEFAULT_QUALITY",
    "FORMATS",
    "GIF_XMP",
    "INSTALLS",
    "OF_RAW",
    "RAW",
    "SUFFIXES",
    "WRITTEN_SUFFIXES",
    "Buffer",
    "Credentials",
    "FolderContent",
    "FormatTraits",
    "Mark",
    "OnEncoded",
    "PictureSource",
    "RemotePath",
    "as_decoded",
    "check_free",
    "check_holds",
    "colours_of",
    "decode_image",
    "encode_image",
    "encode_page",
    "encode_spent",
    "exists",
    "find_images",
    "fitted",
    "fitting",
    "is_file",
    "is_folder",
    "is_lossy",
    "is_there",
    "joined",
    "kinds_made",
    "lacking",
    "left_out",
    "located",
    "marked",
    "page_count",
    "picture_size",
    "png_mark",
    "png_xmp",
    "quality_written",
    "read_encoded",
    "read_image",
    "read_mark",
    "read_shown",
    "readable",
    "resolve_format",
    "search_folder",
    "with_mark",
    "within_memory",
    "write_encoded",
    "write_image",
    "write_parts",
    "xmp_of_gif",
]


def write_image(
    path: str | os.PathLike[str],
    image: PictureSource,
    *,
    format: str | None = None,
    quality: int | None = None,
    overwrite: bool = False,
    spent: bool = False,
    on_encoded: OnEncoded | None = None,
) -> Path:
    """Write a picture whole or not at all, and return its path.

    Args:
        path: where to; missing parent folders are made. ``-`` writes the bytes to standard output, an address
            (``s3://bucket/a.jpg``) to its store.
        image: the picture; what restoring gives has it as ``result.image``.
        format: as for ``encode_image``; by default that of the path's suffix, and for ``-`` that of the source.
        quality: as for ``encode_image``.
        overwrite: replace an existing file; otherwise it is never touched, not even in a race.
        spent: the picture is not looked at again: its pixels may be changed on the way, which saves a copy of them.
        on_encoded: told the file's pieces before it is written.

    Raises:
        ImageError: the file exists or cannot be written, or the format cannot hold the picture.
        ConfigError: unknown format, or quality out of range; or path and picture stand the other way round.
    """
    if not isinstance(path, str | os.PathLike):
        raise ConfigError(
            f"write_image takes the path first and then the picture, not a {type(path).__name__} first; write"
            " write_image(path, image)"
        )
    if isinstance(getattr(image, "image", None), DecodedImage):
        raise ConfigError(
            f"a {type(image).__name__} is more than a picture; write write_image(path, result.image), or"
            " result.save(path)"
        )
    image = as_decoded(image)
    encode = encode_spent if spent else encoded_parts
    place = located(path)
    target = format or _format_for(place, image)
    if str(path) != "-":  # once before the work of encoding, and again, for certain, when the name is taken
        check_free(place, overwrite=overwrite)
    parts = encode(image, format=target, quality=quality)
    if on_encoded is not None:
        on_encoded(parts)
    return write_parts(place, parts, overwrite=overwrite)


def _format_for(path: Path, image: DecodedImage) -> str:
    """Return the format that a path's suffix names, or for standard output that of the source."""
    if str(path) == "-" and image.format is not None:
        return OF_RAW if image.format == RAW else image.format
    if path.suffix.lower() in WRITTEN_SUFFIXES:
        return WRITTEN_SUFFIXES[path.suffix.lower()]
    raise ImageError(
        f"{path}: the suffix '{path.suffix}' names no format that is written; use one of"
        f" {', '.join(WRITTEN_SUFFIXES)}, or give a format"
    )
