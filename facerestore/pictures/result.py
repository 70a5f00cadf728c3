"""What restoring a photo gives: the picture with all that was decided on it, ready to be saved and shown."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from facerestore.errors import count
from facerestore.imaging.pixels import in_8_bits
from facerestore.io import write_image
from facerestore.types import DecodedImage, Effect, RestoredFace

if TYPE_CHECKING:
    from PIL import Image as PillowImage


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class RestoreResult:
    """A restored photo.

    Attributes:
        image: the picture, in the depth, alpha and metadata of the input.
        faces: every face found, left to right, with its decision.
        report: plain JSON-able facts: backend, weights, seconds by stage, faces.
        before: the photo as the restorer saw it, where that is not the photo itself: with its damage painted white.
        holes: (H, W) True where the photo is damaged and was to be filled; None where nobody looked.
    """

    image: DecodedImage
    faces: tuple[RestoredFace, ...]
    report: dict[str, Any]
    before: DecodedImage | None = None
    holes: NDArray[np.bool_] | None = None

    def save(
        self,
        path: str | os.PathLike[str],
        *,
        format: str | None = None,
        quality: int | None = None,
        overwrite: bool = False,
    ) -> Path:
        """Write the picture with all that the photo carried, whole or not at all, and return its path.

        Args:
            path: where to; missing parent folders are made.
            format: ``JPEG``, ``PNG``, ``WEBP``, ``TIFF`` or ``BMP``; that of the path's suffix unless given.
            quality: 1 to 100, of JPEG and WebP; 95, or as fine as the photo was, unless given.
            overwrite: replace an existing file; otherwise it is never touched.

        Raises:
            ImageError: the file exists or cannot be written, or the format cannot hold the picture.
            ConfigError: unknown format, or quality out of range.
        """
        return write_image(path, self.image, format=format, quality=quality, overwrite=overwrite)

    def to_pil(self) -> PillowImage.Image:
        """Return the picture for Pillow: ``L``, ``LA``, ``RGB`` or ``RGBA``, with its colour profile and EXIF.

        Pillow has no colour pictures of 16 bits: those are rounded to 8. ``save`` keeps them.
        """
        from PIL import Image as PillowImage

        pixels, metadata = in_8_bits(self.image.pixels), self.image.metadata
        channels = [pixels[..., :1] if self.image.grey else pixels]
        if self.image.alpha is not None:
            channels.append(in_8_bits(self.image.alpha)[..., None])
        picture = PillowImage.fromarray(np.concatenate(channels, axis=2).squeeze())
        carried = {"icc_profile": metadata.icc, "exif": metadata.exif, "dpi": metadata.dpi}
        picture.info.update({name: value for name, value in carried.items() if value is not None})
        return picture

    def __repr__(self) -> str:
        """Return size, and what became of the faces: no pixels."""
        height, width = self.image.pixels.shape[:2]
        report = self.report
        kept = sum(report["kept"].values())
        faces = f"{count(len(self.faces), 'face')}: {done_words(report['restored'], report['effects'])}, {kept} kept"
        return f"<RestoreResult {width} x {height} px, {faces if self.faces else 'no face'}>"


def done_words(restored: int, effects: Mapping[str, int], done: str = "restored") -> str:
    """Return how many faces something was done with: ``2 restored, 1 barely changed``.

    Args:
        restored: all of them.
        effects: the same by how much they were changed; empty where that was not measured.
        done: the word for what was done, where it was not.
    """
    words = [f"{effects[effect]} {effect.words}" for effect in Effect if effects.get(effect)]
    return ", ".join(words) or f"{restored} {done}"
