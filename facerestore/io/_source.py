"""What decoders and encoders share: the checked source, the upright picture, rows of samples, damaged zlib streams."""

from __future__ import annotations

import zlib
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from facerestore.errors import ImageError
from facerestore.imaging.pixels import check_size
from facerestore.io._settle import settled
from facerestore.types import DecodedImage, Image, Metadata

Samples: TypeAlias = NDArray[Any]
"""(H, W) or (H, W, C) uint8 or uint16, on the way to or from a DecodedImage."""

# The largest phone sensors give 200 megapixels (16320 x 12240); 2^28 also covers every WebP (16383 x 16383)
# and is 0.8 GB of 8-bit RGB.
DEFAULT_MAX_PIXELS = 2**28
_LEAST_SHARE = 16  # of the rows, one in so many has to be whole
_ROWS_PER_BAND = 64  # what is computed beside the result stays small
_STEP = (
    64  # bytes of a zlib stream that are given at a time; what the last of them gave is lost with an error
)


class SeveralError(ImageError):
    """A file holds several pages or frames, and none is chosen; ``words`` say how many."""

    def __init__(self, name: str, words: str, choice: str) -> None:
        super().__init__(f"{name}: holds {words}; choose one with --page {choice}")
        self.words = words


@dataclass(frozen=True, slots=True)
class Source:
    """The bytes of a picture file, with its name for errors.

    Attributes:
        data: the file.
        name: what to call the picture.
        max_pixels: its limit on pixels.
        page: which of its pages or frames is asked for, the first is 1; None for the only one.
    """

    data: bytes = field(repr=False)
    name: str
    max_pixels: int = DEFAULT_MAX_PIXELS
    page: int | None = None

    def check_size(self, width: int, height: int) -> None:
        """Raise ImageError unless a width and height are positive and within the limit; call before decoding."""
        check_size(width, height, name=self.name, max_pixels=self.max_pixels)

    def choose(self, count: int, unit: str) -> int:
        """Return the index of the page or frame that is asked for; raise ImageError where it is none of ``count``.

        Without being asked, the only one is taken: of several, all but one would be lost.
        """
        if self.page is None and count > 1:
            all_of_it = ", or restore them all with facerestore.restore_video" if "frame" in unit else ""
            raise SeveralError(self.name, f"{count} {unit}s", f"1 to {count} (page= in Python){all_of_it}")
        if self.page is not None and not 1 <= self.page <= count:
            held = f"{count} {unit}s, the first is 1" if count > 1 else f"one {unit}"
            raise ImageError(f"{self.name}: there is no {unit} {self.page}; it holds {held}")
        return (self.page or 1) - 1

    def check_rows(self, whole: int, height: int) -> None:
        """Raise ImageError where so few rows are whole that no photo is left of the file."""
        if whole * _LEAST_SHARE < height:
            raise self.damaged(f"of {height} rows {whole} are whole")

    def damaged(self, reason: object) -> ImageError:
        """Return the error for a file that cannot be decoded to its end."""
        return ImageError(f"{self.name}: damaged or truncated ({reason}); get a whole copy of the file")

    def excessive(self, what: str, limit: int) -> ImageError:
        """Return the error for a file that is made of more pieces than it would take a sane time to look at."""
        return ImageError(
            f"{self.name}: holds more than {limit} {what}, as no picture needs; save it anew with an image editor"
        )

    def unhandled(self, kind: str, remedy: str) -> ImageError:
        """Return the error for a whole file of a kind that is not read."""
        return ImageError(f"{self.name}: {kind} is not handled; save it as {remedy}")


class Decoded(NamedTuple):
    """The pixels of a file as stored: (H, W, 3) and alpha (H, W), uint8 or uint16; the rest as DecodedImage has it."""

    pixels: Samples
    alpha: Samples | None = None
    grey: bool = False
    stored_as: str | None = None
    damage: str | None = None
    notes: tuple[str, ...] = ()


def finish(
    decoded: Decoded,
    metadata: Metadata,
    format: str | None,
    *,
    orientation: int | None = None,
    converted: bool = False,
) -> DecodedImage:
    """Turn a decoded picture upright and put its parts together.

    Args:
        decoded: the pixels; they may be turned in place.
        metadata: as found in the file; the orientation is applied, and reset to 1 wherever it is stated.
        format: upper-case Pillow name, or None.
        orientation: 1 to 8 where the container states it outside of ``exif`` (TIFF); None to ask ``exif`` and ``xmp``.
        converted: the pixels were of another colour space and are sRGB now.
    """
    kept, turn = settled(metadata, orientation, converted=converted)
    alpha = None if decoded.alpha is None else turned(decoded.alpha, turn)
    pixels = turned(decoded.pixels, turn)
    return DecodedImage(
        pixels,
        alpha,
        grey=decoded.grey,
        metadata=replace(kept, size=(pixels.shape[1], pixels.shape[0])),
        format=format,
        stored_as=decoded.stored_as,
        damage=decoded.damage,
        notes=decoded.notes,
    )


def turned(array: Samples, orientation: int) -> Samples:
    """Return an (H, W) or (H, W, 3) array turned as EXIF orientation 1 to 8 says (EXIF 2.32, tag 274)."""
    if orientation == 1:
        return array
    import cv2

    if orientation in (2, 3, 4):
        cv2.flip(array, {2: 1, 3: -1, 4: 0}[orientation], dst=array)
        return array
    transposed: Samples = cv2.transpose(array)
    if orientation > 5:
        cv2.flip(transposed, {6: 1, 7: -1, 8: 0}[orientation], dst=transposed)
    return transposed


def tripled(grey: Samples) -> Image:
    """Return (H, W, 3) with three equal channels of an (H, W) array."""
    import cv2

    pixels: Samples = cv2.cvtColor(grey, cv2.COLOR_GRAY2RGB)
    return pixels


def divided_by_alpha(colour: Samples, alpha: Samples) -> Samples:
    """Return colours that were stored multiplied by alpha as they are without it; zero where alpha is zero."""
    top = np.iinfo(alpha.dtype).max
    divisor = np.maximum(alpha, 1).astype(np.float64)
    divisor = divisor if colour.ndim == 2 else divisor[..., None]
    return np.minimum(np.rint(colour * (top / divisor)), top).astype(colour.dtype)


class Rows:
    """The samples of a picture; any rows of them are an (N, W, C) array, made when it is asked for.

    Attributes:
        shape: (H, W, C); C is 1 grey, 2 grey and alpha, 3 RGB, 4 RGB and alpha.
        dtype: uint8 or uint16.
    """

    def __init__(self, image: DecodedImage) -> None:
        self._image = image
        channels = (1 if image.grey else 3) + (image.alpha is not None)
        self.shape = (image.pixels.shape[0], image.pixels.shape[1], channels)
        self.dtype: np.dtype[np.generic] = image.pixels.dtype

    def __getitem__(self, rows: slice) -> Samples:
        """Return the samples of these rows, without a copy where the picture's own will do."""
        pixels = self._image.pixels[rows]
        colour: Samples = _one_channel(pixels)[..., None] if self._image.grey else pixels
        alpha = self._image.alpha
        return colour if alpha is None else np.concatenate((colour, alpha[rows, :, None]), axis=2)


def _one_channel(pixels: Samples) -> Samples:
    """Return (H, W): the mean of three channels, rounded to nearest, which is exact where they are equal."""
    grey: Samples = np.empty(pixels.shape[:2], pixels.dtype)
    for top in range(0, len(pixels), _ROWS_PER_BAND):
        band = pixels[top : top + _ROWS_PER_BAND]
        red, green, blue = band[..., 0], band[..., 1], band[..., 2]
        if np.array_equal(red, green) and np.array_equal(red, blue):
            grey[top : top + _ROWS_PER_BAND] = red
        else:
            total = band.sum(axis=2, dtype=np.uint32)
            grey[top : top + _ROWS_PER_BAND] = (total + 1) // 3
    return grey


class Inflated(NamedTuple):
    """What a stream gives, and whether it ended as it should, with the right checksum."""

    data: bytes
    whole: bool


def inflated_as_far(pieces: Iterable[bytes | memoryview], most: int) -> Inflated:
    """Return what a zlib stream (RFC 1950) gives up to its end or first error, and no more than ``most`` bytes."""
    stream, given, total = zlib.decompressobj(), list[bytes](), 0
    for piece in pieces:
        for start in range(0, len(piece), _STEP):
            try:
                # One more than is wanted, so that a limit is not taken for an end.
                found = stream.decompress(piece[start : start + _STEP], most - total + 1)
            except zlib.error:
                return Inflated(b"".join(given)[:most], False)
            given.append(found)
            total += len(found)
            if stream.eof or total > most:
                return Inflated(b"".join(given)[:most], stream.eof)
    return Inflated(b"".join(given)[:most], False)
