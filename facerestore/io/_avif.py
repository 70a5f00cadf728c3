"""AVIF: read through Pillow, and pixels of more than 8 bits through OpenCV, which writes all; both have libavif.

libheif, as pillow-heif brings it, has no AV1; Pillow has 8 bits only, and does not write them without loss.
"""

from __future__ import annotations

from io import BytesIO

import numpy as np

from facerestore.errors import ImageError
from facerestore.io import _boxes, _exif, _pillow
from facerestore.io._opencv import opencv_pixels, swap_red_and_blue, without_alpha
from facerestore.io._overheard import overheard
from facerestore.io._source import Decoded, Samples, Source, finish, tripled
from facerestore.types import DecodedImage, Metadata

_USUAL_BITS = 12  # of the most that AV1 has, what 16 become
_COLOURS = b"colr" + _boxes.NCLX


def decode(source: Source) -> DecodedImage:
    """Return the decoded AVIF; 10 and 12 bits become 16.

    Raises:
        ImageError: damaged, moving and no frame chosen, over the limit on pixels, or nothing here reads AVIF.
    """
    from PIL import AvifImagePlugin

    if not AvifImagePlugin.SUPPORTED:
        raise ImageError(f"{source.name}: this Pillow was built without AVIF; install it with pip")
    picture = AvifImagePlugin.AvifImageFile(BytesIO(source.data))
    frame = source.choose(picture.n_frames, "animation frame")
    source.check_size(*picture.size)
    stated, info = _boxes.read_boxes(source), picture.info
    icc = info.get("icc_profile")
    metadata = Metadata(
        exif=info.get("exif"),
        xmp=info.get("xmp"),
        icc=icc,
        parts=stated.parts(icc),
        dropped=tuple(stated.dropped),
    )
    picture.seek(frame)
    decoded = (
        overheard(lambda: _deep_pixels(source, stated.bits))[0] if stated.bits > 8 and not frame else None
    )
    if decoded is None:
        notes = (f"{stated.bits} bits of a sample were read as 8",) if stated.bits > 8 else ()
        decoded = _pillow.channels(picture, source.name)._replace(notes=notes)
    return finish(decoded, metadata, "AVIF")


def _deep_pixels(source: Source, bits: int) -> Decoded | None:
    """Return the pixels of a picture of more than 8 bits; None where OpenCV does not find it.

    It looks for one in the first 500 bytes, before which content credentials may stand.
    """
    import cv2

    _check_opencv(source.name)
    try:
        decoded = _boxes.widened(opencv_pixels(source, [source.data], cv2.IMREAD_UNCHANGED), bits)
    except ImageError:
        return None
    if decoded.ndim == 2:
        return Decoded(tripled(decoded), grey=True)
    return Decoded(*without_alpha(decoded)) if decoded.shape[2] == 4 else Decoded(swap_red_and_blue(decoded))


def _check_opencv(name: str) -> None:
    """Raise ImageError unless OpenCV has AVIF."""
    import cv2

    if not cv2.haveImageWriter(".avif") or not hasattr(cv2, "imencodeWithMetadata"):
        raise ImageError(
            f"{name}: OpenCV {cv2.__version__} has no AVIF; install opencv-python 4.12 or newer with pip"
        )


def encode(samples: Samples, metadata: Metadata, quality: int | None, *, default_quality: int) -> bytes:
    """Return an AVIF with colour at full resolution.

    Args:
        samples: (H, W, C) uint8 or uint16 of 1 to 4 channels; of 16 bits the first 12 are kept, or as many as the
            source had.
        metadata: as `_across` made them fit.
        quality: 1 to 100, where 100 is without loss; None for the default.
        default_quality: that one.

    Raises:
        ImageError: this OpenCV has no AVIF.
        ValueError: it cannot encode them.
    """
    import cv2

    _check_opencv("AVIF")
    bits = 8 if samples.dtype == np.uint8 else _boxes.depth_of(metadata, _USUAL_BITS)
    stored = _blue_first(samples if bits == 8 else _boxes.narrowed(samples, bits))
    exif = metadata.exif.removeprefix(_exif.PREFIX) if metadata.exif else None
    held = {
        cv2.IMAGE_METADATA_EXIF: exif,
        cv2.IMAGE_METADATA_XMP: metadata.xmp,
        cv2.IMAGE_METADATA_ICCP: metadata.icc,
    }
    given = {kind: np.frombuffer(body, np.uint8) for kind, body in held.items() if body}
    options = [cv2.IMWRITE_AVIF_QUALITY, quality or default_quality, cv2.IMWRITE_AVIF_DEPTH, bits]
    try:
        done, encoded = cv2.imencodeWithMetadata(".avif", stored, [*given], [*given.values()], options)
    except cv2.error as error:
        raise ValueError(str(error)) from error
    if not done:
        raise ValueError("OpenCV gives no reason")
    return _with_colours(np.asarray(encoded, np.uint8).tobytes(), metadata.body_of(_boxes.NCLX))


def _blue_first(samples: Samples) -> Samples:
    """Return (H, W, C) samples as OpenCV has them: grey, or blue, green and red, and alpha."""
    import cv2

    codes = {2: cv2.COLOR_GRAY2BGRA, 3: cv2.COLOR_RGB2BGR, 4: cv2.COLOR_RGBA2BGRA}
    count = samples.shape[2]
    if count == 1:
        return samples
    swapped: Samples = cv2.cvtColor(samples[..., 0] if count == 2 else samples, codes[count])
    if count == 2:
        swapped[..., 3] = samples[..., 1]
    return swapped


def _with_colours(data: bytes, stated: bytes | None) -> bytes:
    """Return an AVIF whose box of colours states these primaries and this transfer; as it is without any."""
    if stated is None or (place := data.find(_COLOURS)) < 0:
        return data
    place += len(_COLOURS)
    return data[:place] + stated + data[place + len(stated) :]
