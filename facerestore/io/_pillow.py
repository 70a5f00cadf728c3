"""From a Pillow picture to arrays: every mode, with its transparency, and CMYK through its profile."""

from __future__ import annotations

from io import BytesIO
from typing import TYPE_CHECKING, cast

import numpy as np

from facerestore.errors import ImageError
from facerestore.io._source import Decoded, Samples, tripled

if TYPE_CHECKING:
    from PIL import Image as PillowImage

_ROWS_PER_STRIP = 256
# What each mode is converted to: itself where it is plain; premultiplied modes are divided out by Pillow.
_PLAIN_MODES = {mode: mode for mode in ("L", "LA", "RGB", "RGBA", "CMYK")} | {
    "1": "L", "La": "LA", "PA": "RGBA", "RGBX": "RGB", "RGBa": "RGBA", "YCbCr": "RGB", "HSV": "RGB",
    **dict.fromkeys(("I;16", "I;16L", "I;16B", "I;16N"), "I;16"),
}  # fmt: skip


def channels(picture: PillowImage.Image, name: str) -> Decoded:
    """Return pixels and alpha of a Pillow picture, and whether it is grey.

    Args:
        picture: of any mode but 32-bit integer and float; CMYK is converted to sRGB through the profile in its
            ``info``, with relative colorimetric intent and black point compensation, as photo editors do.
        name: what to call the picture in errors.

    Raises:
        ImageError: a mode that is not handled, or an unusable CMYK profile.
        OSError: from Pillow, for a damaged or truncated file.
    """
    plain = _to_plain_mode(picture, name)
    if plain.mode == "CMYK":
        plain = _cmyk_to_srgb(plain, name)
    rows = to_array(plain)
    if plain.mode == "RGB":
        return Decoded(rows)
    if plain.mode == "RGBA":
        return Decoded(np.ascontiguousarray(rows[..., :3]), np.ascontiguousarray(rows[..., 3]))
    if plain.mode == "LA":
        grey, alpha = (np.ascontiguousarray(rows[..., channel]) for channel in (0, 1))
        return Decoded(tripled(grey), alpha, grey=True)
    return Decoded(tripled(rows), grey=True)


def grey_words(bits: int) -> str:
    """Return what grey of a few bits is called."""
    return "1-bit black and white" if bits == 1 else f"{bits}-bit grey"


def storage_words(picture: PillowImage.Image) -> str | None:
    """Return what a Pillow picture holds, where `channels` makes something else of it; None where it does not."""
    if picture.mode == "P" or picture.mode == "PA":
        palette = picture.getpalette() or []
        return f"a palette of {len(palette) // 3} colours"
    return {"1": grey_words(1), "CMYK": "CMYK", "LAB": "8-bit CIELAB"}.get(picture.mode)


def _to_plain_mode(picture: PillowImage.Image, name: str) -> PillowImage.Image:
    """Return a picture as L, LA, RGB, RGBA, CMYK or I;16, with palette and colour-key transparency made alpha."""
    keyed = "transparency" in picture.info
    if picture.mode == "LAB":
        return _through_profiles(picture, None, name)
    if picture.mode == "P":
        return picture.convert("RGBA" if keyed else "RGB")
    if picture.mode not in _PLAIN_MODES:
        raise ImageError(
            f"{name}: pixels of kind '{picture.mode}' are not handled (32-bit and float are not); "
            "convert the picture to 8-bit or 16-bit RGB or grey"
        )
    target = _PLAIN_MODES[picture.mode]
    if keyed and target in ("L", "RGB"):
        # Pillow makes a key transparent on the way to alpha only from the very mode that the key is stated in.
        source = picture.convert("L") if picture.mode == "1" else picture
        return source.convert({"L": "LA", "RGB": "RGBA"}[target])
    return picture if picture.mode == target or target == "I;16" else picture.convert(target)


def _cmyk_to_srgb(picture: PillowImage.Image, name: str) -> PillowImage.Image:
    """Return a CMYK picture as sRGB: through its profile, or by Pillow's plain complement where it has none."""
    profile = picture.info.get("icc_profile")
    if not profile:
        return picture.convert("RGB")
    return _through_profiles(picture, BytesIO(profile), name)


def _through_profiles(picture: PillowImage.Image, profile: BytesIO | None, name: str) -> PillowImage.Image:
    """Return a picture as sRGB, as its profile has it; without one it is CIELAB."""
    from PIL import ImageCms

    try:
        converted = ImageCms.profileToProfile(
            picture,
            profile or ImageCms.createProfile("LAB"),
            ImageCms.createProfile("sRGB"),
            renderingIntent=ImageCms.Intent.RELATIVE_COLORIMETRIC,
            outputMode="RGB",
            flags=ImageCms.Flags.BLACKPOINTCOMPENSATION,
        )
    except (ImageCms.PyCMSError, OSError) as error:
        raise ImageError(
            f"{name}: the {picture.mode} profile cannot be used ({error}); convert the picture to RGB"
        ) from error
    return cast("PillowImage.Image", converted)


def to_array(picture: PillowImage.Image) -> Samples:
    """Return the pixels of an L, LA, RGB, RGBA or I;16 picture as (H, W) or (H, W, C), uint8 or uint16.

    Copied strip by strip: ``numpy.asarray`` would hold two more copies of the whole picture for a moment.
    """
    picture.load()
    width, height = picture.size
    count = len(picture.getbands())
    dtype = np.uint16 if picture.mode.startswith("I;16") else np.uint8
    rows = np.empty((height, width) if count == 1 else (height, width, count), dtype)
    for top in range(0, height, _ROWS_PER_STRIP):
        bottom = min(top + _ROWS_PER_STRIP, height)
        rows[top:bottom] = np.asarray(picture.crop((0, top, width, bottom)))
    return rows
