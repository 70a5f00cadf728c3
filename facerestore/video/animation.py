"""Animated GIF, WebP and PNG: their frames in and out by Pillow, with delays, loops, transparency and profiles."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from facerestore.errors import ConfigError, ImageError, refusing
from facerestore.io import DEFAULT_QUALITY, Mark, is_lossy, png_xmp, read_image, xmp_of_gif
from facerestore.types import DecodedImage
from facerestore.video.marking import add_xmp, with_marks
from facerestore.video.reading import Frame

if TYPE_CHECKING:
    from PIL.Image import Image as Picture

FORMATS = {".gif": "GIF", ".webp": "WEBP", ".png": "PNG", ".apng": "PNG"}
"""Pillow's names by suffix."""

USUAL_DELAY_MS = 100
"""How long a frame is shown whose file says 0 or nothing, as browsers do."""


class Animation:
    """An open animation.

    Args:
        path: of the file.

    Attributes:
        size: (width, height) of a frame, px.

    Raises:
        ImageError: it cannot be read.
    """

    def __init__(self, path: Path) -> None:
        from PIL import Image

        self.path = path
        with refusing(
            lambda why: ImageError(f"{path}: cannot be read as an animation ({why}); check the file")
        ):
            self._picture = Image.open(path)
            self.frame_count = int(getattr(self._picture, "n_frames", 1))
        self.size = self._picture.size
        self._facts = {
            name: self._picture.info[name]
            for name in ("loop", "icc_profile", "exif", "background")
            if self._picture.info.get(name) is not None
        }
        self._lossless = self._picture.format == "WEBP" and not is_lossy(read_image(path, page=1))
        self._xmp: bytes | None = self._picture.info.get("xmp")
        if self._picture.format == "GIF":
            self._xmp = xmp_of_gif(path.read_bytes())
        self.hidden_first = bool(getattr(self._picture, "default_image", False))

    def frames(self) -> Iterator[Frame]:
        """Yield the frames as they are shown; raises ImageError where one cannot be read."""
        time_s = 0.0
        for index in range(self.frame_count):
            with refusing(
                lambda why: ImageError(f"{self.path}: a frame cannot be read ({why}); mend the file")
            ):
                self._picture.seek(index)
                shown = self._picture.convert("RGBA")
                lasts_s = (self._picture.info.get("duration") or USUAL_DELAY_MS) / 1000
            pixels = np.asarray(shown)
            alpha = None if (pixels[..., 3] == 255).all() else np.ascontiguousarray(pixels[..., 3])
            image = DecodedImage(np.ascontiguousarray(pixels[..., :3]), alpha=alpha)
            yield Frame(index, image, time_s, lasts_s=lasts_s)
            time_s += lasts_s

    def write(
        self,
        path: Path,
        frames: Sequence[tuple[DecodedImage, float]],
        *,
        first: int,
        quality: int | None,
        mark: Mark | None,
    ) -> list[str]:
        """Write frames as an animation like this one.

        Args:
            path: whose suffix says the format.
            frames: each with how long it is shown, seconds.
            first: number of the first of them in this animation; a PNG's own may be one that is not shown.
            quality: of WebP, 1 to 100; None for the usual one.
            mark: how it was made; None for no word of it.

        Returns:
            What could not be kept, a line each.

        Raises:
            ConfigError: the suffix is that of no animation.
            ImageError: it cannot be written.
        """
        if path.suffix.lower() not in FORMATS:
            raise ConfigError(
                f"'{path.suffix}' is for no animation; give -o a name ending in {', '.join(FORMATS)}"
            )
        begin, *others = (_picture_of(image) for image, _ in frames)
        options: dict[str, Any] = self._facts | {"duration": [round(1000 * lasts) for _, lasts in frames]}
        name = FORMATS[path.suffix.lower()]
        if name != self._picture.format:
            options.pop("background", None)  # of GIF a place in its palette, of WebP a colour
        xmp, left = with_marks(self._xmp, mark)
        if xmp is not None:
            options |= {"xmp": xmp, "pnginfo": png_xmp(xmp)}  # WebP takes one, PNG the other, GIF none
        if name == "WEBP":
            options |= {"quality": quality or DEFAULT_QUALITY, "method": 4}
            if self._lossless and quality is None:
                options |= {"lossless": True, "quality": 0, "exact": True}
            if any(image.alpha is not None for image, _ in frames):
                # Else frames are cropped to what is opaque, and called opaque.
                options |= {"kmin": 1, "kmax": 1}
        if name == "PNG" and self.hidden_first and first == 0:
            options |= {"default_image": True, "duration": options["duration"][1:]}
        with refusing(
            lambda why: ImageError(f"{path.name}: cannot be written ({why}); choose another format")
        ):
            begin.save(path, format=name, save_all=True, append_images=others, **options)
            if xmp is not None and name == "GIF":
                add_xmp(path, xmp)
        return [f"not carried over: {what}" for what in left]

    def close(self) -> None:
        """Close the file."""
        self._picture.close()


def _picture_of(image: DecodedImage) -> Picture:
    from PIL import Image

    if image.alpha is None:
        return Image.fromarray(image.pixels)
    return Image.fromarray(np.dstack([image.pixels, image.alpha]))
