"""Camera raw, developed as the camera was set through rawpy (LibRaw), which the extra ``raw`` installs; read only.

Source: TIFF/EP (ISO 12234-2) and DNG 1.7 for how raw in TIFF is known.
"""

from __future__ import annotations

from dataclasses import replace
from io import BytesIO
from types import ModuleType

from facerestore.io import _exif, _tiff_metadata
from facerestore.io._formats import RAW, RAW_TIFFS, needed
from facerestore.io._settle import settled
from facerestore.io._source import Decoded, Samples, Source, finish
from facerestore.types import DecodedImage, Metadata

_PHOTOMETRIC, _SUB_DIRECTORIES = 262, 330
_SENSOR = (32803, 34892)  # a colour filter array, linear raw
_MOST_DIRECTORIES = 16
_SRGB_CURVE = (2.4, 12.92)
_CANON = b"CR"  # behind the header of a CR2
_NO_EXIF = "EXIF, which is not read of this kind of raw file"


def is_raw(source: Source) -> bool:
    """Say whether a TIFF holds what a sensor gave: its first directory, or one below it, says so, or it is a CR2."""
    data = source.data
    if data[8:10] == _CANON:
        return True
    try:
        layout, start = _exif.read_layout(data)
        first = _exif.read_directory(data, start, layout)
        below = first.integers(_SUB_DIRECTORIES, _MOST_DIRECTORIES)
        directories = [first, *(_exif.read_directory(data, place, layout) for place in below)]
    except ValueError:  # its decoder says what is wrong
        return False
    return any(one.integer(_PHOTOMETRIC, 0) in _SENSOR for one in directories)


def decode(source: Source) -> DecodedImage:
    """Return the developed photo: 16-bit sRGB, white balance of the camera, turned upright.

    Raises:
        ImageError: damaged, over the limit on pixels, of a camera that LibRaw does not know, or rawpy is not
            installed.
    """
    library = needed(RAW, name=source.name)
    source.choose(1, "picture")
    metadata, turn = _metadata(source)  # the library turns the photo by itself
    decoded = Decoded(_developed(library, source), stored_as="camera raw")
    kept = settled(metadata, turn, converted=True)[0]
    return finish(decoded, kept, RAW, orientation=1, converted=True)


def _developed(library: ModuleType, source: Source) -> Samples:
    """Return (H, W, 3) uint16 sRGB pixels of a raw file."""
    try:
        with library.imread(BytesIO(source.data)) as raw:
            source.check_size(raw.sizes.width, raw.sizes.height)
            pixels: Samples = raw.postprocess(
                use_camera_wb=True, output_bps=16, output_color=library.ColorSpace.sRGB, gamma=_SRGB_CURVE
            )
    except (library.LibRawFileUnsupportedError, library.LibRawNotImplementedError) as error:
        raise source.unhandled("raw of this camera", "DNG, TIFF or JPEG") from error
    except library.LibRawError as error:
        raise source.damaged(error) from error
    return pixels


def _metadata(source: Source) -> tuple[Metadata, int]:
    """Return what a raw file that is a TIFF carries beside its pixels, and its orientation."""
    data = source.data
    if data.startswith(RAW_TIFFS):
        data = (b"MM\x00*" if data.startswith(b"MM") else b"II*\x00") + data[4:]
    try:
        layout, start = _exif.read_layout(data)
        directory = _exif.read_directory(data, start, layout)
    except ValueError:
        return Metadata(dropped=(_NO_EXIF,)), 1
    found = _tiff_metadata.read(directory, has_copy=True)
    return replace(found, icc=None, parts=()), directory.orientation or 1
