"""What a TIFF carries beside its pixels. Source: TIFF 6.0, XMP part 3, ICC.1 B.4."""

from __future__ import annotations

from facerestore.errors import ImageError
from facerestore.io import _exif
from facerestore.io._exif import BYTE, UNDEFINED, Directory, Field, Layout
from facerestore.types import Metadata

XMP, _ICC = 700, 34675


def read(directory: Directory, layout: Layout) -> Metadata:
    """Return what a page carries beside its pixels; the descriptive tags become an EXIF block."""
    return Metadata(
        exif=_exif.pack(_exif.descriptive(directory), layout.order) or None,
        xmp=_raw(directory, XMP),
        icc=_raw(directory, _ICC),
        dpi=_exif.resolution(directory, layout),
    )


def _raw(directory: Directory, tag: int) -> bytes | None:
    """Return the bytes of a tag, None where it is absent."""
    entry = directory.fields.get(tag)
    return entry.value if entry else None


def described(metadata: Metadata) -> tuple[Directory, str]:
    """Return the entries and directories that metadata become, and the byte order, in which the whole file is written.

    Raises:
        ImageError: EXIF that cannot be read.
    """
    directory, order = _described(metadata)
    fields = dict(directory.fields)
    if metadata.dpi:
        fields |= _exif.resolution_fields(metadata.dpi, order)
    if metadata.xmp:
        fields[XMP] = Field(BYTE, len(metadata.xmp), metadata.xmp)
    if metadata.icc:
        fields[_ICC] = Field(UNDEFINED, len(metadata.icc), metadata.icc)
    return Directory(fields, directory.children), order


def _described(metadata: Metadata) -> tuple[Directory, str]:
    """Return the descriptive part of the EXIF, and its byte order, in which the whole file is then written."""
    if not metadata.exif:
        return Directory(), "<"
    try:
        directory, order = _exif.first_directory(metadata.exif)
    except ValueError as error:
        raise ImageError(
            f"the EXIF of this picture is damaged ({error}) and cannot go into TIFF; write PNG"
        ) from error
    return _exif.descriptive(directory), order
