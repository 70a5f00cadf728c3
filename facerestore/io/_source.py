"""What every decoder starts from and ends with: the checked source, and the upright picture."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any, TypeAlias

from numpy.typing import NDArray

from facerestore.errors import ImageError
from facerestore.io._settle import settled
from facerestore.types import DecodedImage, Image, Metadata

Samples: TypeAlias = NDArray[Any]
"""(H, W) or (H, W, C) uint8 or uint16, on the way to or from a DecodedImage."""

# The largest phone sensors give 200 megapixels (16320 x 12240); 2^28 also covers every WebP (16383 x 16383)
# and is 0.8 GB of 8-bit RGB.
DEFAULT_MAX_PIXELS = 2**28
_LEAST_SHARE = 16  # of the rows, one in so many has to be whole


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
        if width < 1 or height < 1:
            raise ImageError(
                f"{self.name}: damaged: the header states {width}x{height} pixels; get a whole copy"
            )
        if width * height > self.max_pixels:
            raise ImageError(
                f"{self.name}: {width}x{height} = {width * height} pixels, over the limit of {self.max_pixels}; "
                f"if the file can be trusted, raise the limit with --max-pixels {width * height}"
            )

    def choose(self, count: int, unit: str) -> int:
        """Return the index of the page or frame that is asked for; raise ImageError where it is none of ``count``.

        Without being asked, the only one is taken: of several, all but one would be lost.
        """
        if self.page is None and count > 1:
            moving = ", and moving pictures are not restored as such" if "frame" in unit else ""
            raise ImageError(
                f"{self.name}: holds {count} {unit}s{moving}; choose one with --page 1 to {count} (page= in Python)"
            )
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


def finish(
    pixels: Samples,
    alpha: Samples | None,
    *,
    grey: bool,
    metadata: Metadata,
    format: str | None,
    orientation: int | None = None,
    converted: bool = False,
    stored_as: str | None = None,
    damage: str | None = None,
    notes: tuple[str, ...] = (),
) -> DecodedImage:
    """Turn a decoded picture upright and put its parts together.

    Args:
        pixels: (H, W, 3) as stored, uint8 or uint16.
        alpha: (H, W) as stored, or None.
        grey: the file has one colour channel.
        metadata: as found in the file; the orientation is applied, and reset to 1 wherever it is stated.
        format: upper-case Pillow name, or None.
        orientation: 1 to 8 where the container states it outside of ``exif`` (TIFF); None to ask ``exif`` and ``xmp``.
        converted: the pixels were of another colour space and are sRGB now.
        stored_as: as DecodedImage has it, like ``damage`` and ``notes``.
        damage: see there.
        notes: see there.
    """
    kept, turn = settled(metadata, orientation, converted=converted)
    turned_alpha = None if alpha is None else turned(alpha, turn)
    upright = turned(pixels, turn)
    return DecodedImage(
        upright,
        turned_alpha,
        grey=grey,
        metadata=replace(kept, size=(upright.shape[1], upright.shape[0])),
        format=format,
        stored_as=stored_as,
        damage=damage,
        notes=notes,
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
