"""What the official test pipelines share: 8 bits, no judgement, and truncation of what the network gives."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, ClassVar

import numpy as np
from numpy.typing import NDArray

from facerestore.config import RestoreConfig
from facerestore.errors import BackendError, ConfigError, ImageError
from facerestore.io import PictureSource, within_memory
from facerestore.pipeline.report import PipelineFacts
from facerestore.pipeline.restore import RestorePipeline
from facerestore.pipeline.selection import select_faces
from facerestore.quality.judge import FaceQuality
from facerestore.types import (
    AlignedFace,
    Decision,
    DecodedImage,
    DetectedFace,
    FaceImage,
    Image,
    Outcome,
    RestoredFace,
    RestoreResult,
)

if TYPE_CHECKING:
    from facerestore.backends.restorer import Restorer
    from facerestore.background import Upsampler
    from facerestore.types import FaceDetector, FaceParser

Pixels8 = NDArray[np.uint8]
"""(H, W, 3) RGB."""


class OfficialPipeline(RestorePipeline):
    """The line with the choices of an original test program, one subclass each.

    What all of them share, unlike the normal line: every face is restored, however small or sharp; crops are black
    beyond the photo; the network's output is truncated to 8 bits, which darkens it by half a level; colours are never
    matched to the photo; an aligned face comes back at the size of the network. As always, photos without a face to
    restore, and strength 0, give the input's very pixels, and files keep their format (the originals write JPEG).

    Args:
        detector: finds the faces; None for aligned input. The originals' own detectors are not part of this.
        restorer: the network of that program.
        config: ``official`` is set.
        parser: labels the parts of faces.
        facts: where the networks come from.
        background: enlarges what lies behind the faces, where the program can do that.

    Raises:
        ConfigError: the restorer is of another backend, or an option is set that the program does not know.
        BackendError: there is no parser.
    """

    official: ClassVar[bool] = True
    backend: ClassVar[str]
    """Name of the backend whose program this is."""
    parser_weights: ClassVar[str]
    """Catalog name of the parser network that the program uses."""

    def __init__(
        self,
        detector: FaceDetector | None,
        restorer: Restorer,
        *,
        config: RestoreConfig | None = None,
        parser: FaceParser | None = None,
        facts: PipelineFacts | None = None,
        background: Upsampler | None = None,
    ) -> None:
        config = config if config is not None else RestoreConfig(official=True)
        if restorer.name != self.backend:
            raise ConfigError(
                f"the official {self.backend} test pipeline does not run backend '{restorer.name}'"
            )
        self.check_options(config)
        if parser is None and self.needs_parser(config):
            raise BackendError(
                f"the official {self.backend} test pipeline needs a parser;"
                f" run 'facerestore weights download {self.parser_weights}', or give --parser"
            )
        super().__init__(detector, restorer, config=config, parser=parser, facts=facts, background=background)

    @classmethod
    def check_options(cls, config: RestoreConfig) -> None:
        """Check that the program knows what is asked for.

        Raises:
            ConfigError: it does not.
        """
        unknown = [
            (config.min_face is not None, "judges no face; leave out --min-face"),
            (config.mask != "face" or config.region != "", "has its own mask; leave out --mask and --region"),
            (
                config.aligned and config.upscale != 1,
                "returns an aligned face at the size of the network; leave out --upscale",
            ),
            (
                config.aligned and config.strength != 1,
                "returns an aligned face as the network gives it; leave out --strength",
            ),
            (
                config.aligned and config.background is not None,
                "returns an aligned face as the network gives it; leave out --background",
            ),
        ]
        for refused, reason in unknown:
            if refused:
                raise ConfigError(
                    f"the official {cls.backend} test pipeline {reason}, or leave out --official"
                )

    @classmethod
    def completed(cls, config: RestoreConfig) -> RestoreConfig:
        """Return ``config`` with the program's own parser in place of ``auto``, or none where it parses nothing.

        Raises:
            ConfigError: the program does not know what is asked for.
        """
        cls.check_options(config)
        if config.parser != "auto":
            return config
        return replace(config, parser=cls.parser_weights if cls.needs_parser(config) else "none")

    @classmethod
    def needs_parser(cls, config: RestoreConfig) -> bool:
        """Say whether a parser is needed for such input."""
        return True

    @property
    def description(self) -> str:
        """One line for people: whose pipeline, backend, weights, device, detector."""
        return f"official {self.backend} test pipeline: {super().description}"

    @within_memory()
    def run(self, image: PictureSource) -> RestoreResult:
        """Restore one photo as the original program does.

        Args:
            image: the photo, 8 bits a channel; not changed. A grey one in which faces are restored becomes colour.

        Raises:
            BackendError: a network failed; nothing is restored in part.
            ImageError: the photo has 16 bits a channel, the upscaled photo would be too large, or an aligned input is
                not square (the originals stretch it).
        """
        image = self._opened(image)
        if image.pixels.dtype != np.uint8:
            raise ImageError(
                f"the official {self.backend} test pipeline takes 8 bits a channel, this photo has 16;"
                " convert it to 8 bits, or leave out --official"
            )
        return super().run(image)

    def _judge(
        self, pixels: Image, found: Sequence[DetectedFace]
    ) -> tuple[list[RestoredFace], list[FaceQuality | None]]:
        """Return the faces, cut out where they are restored; nothing is measured on them."""
        chosen = select_faces(self.config.faces, found, pixels.shape)
        refused = {} if self.config.aligned else self._refused(found)
        source = self._enlarged(as_8_bit(pixels))
        faces: list[RestoredFace] = []
        for index, detected in enumerate(found):
            aside = self._set_aside(detected, index in chosen) or refused.get(index)
            if aside is not None:
                faces.append(RestoredFace(detected=detected, decision=aside))
                continue
            decision = Decision(
                Outcome.RESTORED, "restored", f"like every face in the official {self.backend} pipeline"
            )
            faces.append(RestoredFace(detected, decision, self._official_cut(source, detected, pixels.shape)))
        return faces, [None] * len(faces)

    @property
    def _min_eye_distance_px(self) -> float:
        return 0.0

    @abstractmethod
    def _refused(self, found: Sequence[DetectedFace]) -> dict[int, Decision]:
        """Return why the program leaves faces out, by their index."""

    @abstractmethod
    def _enlarged(self, pixels: Pixels8) -> Pixels8:
        """Return what faces are cut out of: the photo, or the photo enlarged."""

    @abstractmethod
    def _official_cut(
        self, source: Pixels8, detected: DetectedFace, photo_shape: tuple[int, ...]
    ) -> AlignedFace:
        """Return the face's crop out of ``source``, with the affine from pixels of the photo itself."""

    @abstractmethod
    def _compose(
        self, image: DecodedImage, faces: Sequence[RestoredFace], canvas: Pixels8 | None
    ) -> DecodedImage:
        """Return ``canvas``, or else the enlarged photo, with these faces pasted in their order; there may be none."""

    def _restore(self, faces: Sequence[RestoredFace]) -> list[RestoredFace]:
        """Return the faces with the restorer's output, truncated to 8 bits."""
        return [
            face if face.restored is None else replace(face, restored=truncated(face.restored))
            for face in super()._restore(faces)
        ]

    def _blend_onto(
        self, image: DecodedImage, faces: Sequence[RestoredFace], canvas: Image | None
    ) -> DecodedImage:
        """Return the canvas, or else the enlarged photo, with the restored faces in it."""
        restored = sorted(
            (face for face in faces if face.restored is not None), key=lambda face: -face.detected.score
        )
        if not restored and self.config.upscale == 1 and canvas is None:
            return image
        if self.config.aligned and restored and restored[0].restored is not None:
            return self._whole(image, restored[0].restored)
        result = self._compose(image, restored, None if canvas is None else as_8_bit(canvas))
        return in_colour(result) if restored else result

    def _whole(self, image: DecodedImage, restored: FaceImage) -> DecodedImage:
        """Return an aligned face at the size of the network."""
        import cv2

        size = (restored.shape[1], restored.shape[0])
        alpha = None if image.alpha is None else as_8_bit(cv2.resize(image.alpha, size))
        return in_colour(replace(image, pixels=levels(restored), alpha=alpha))

    def _canvas_size(self, shape: tuple[int, ...]) -> tuple[int, int]:
        """Return (W, H) of the result for a photo of ``shape``, in whole pixels."""
        return round(shape[1] * self.config.upscale), round(shape[0] * self.config.upscale)


def truncated(face: FaceImage) -> FaceImage:
    """Return a [0, 1] face on the 256 levels of 8 bits, each value taken to the level below it."""
    levels_below: FaceImage = np.floor(np.clip(face, 0, 1) * np.float32(255)) / np.float32(255)
    return levels_below


def levels(face: FaceImage) -> Pixels8:
    """Return the 8-bit levels of a [0, 1] face that lies on them."""
    return as_8_bit(np.rint(face * np.float32(255)))


def unit(pixels: NDArray[np.generic]) -> FaceImage:
    """Return levels from 0 to 255 as float32 in [0, 1]."""
    scaled: FaceImage = (pixels.astype(np.float64) / 255).astype(np.float32)
    return scaled


def as_8_bit(pixels: NDArray[np.generic]) -> Pixels8:
    """Return whole numbers from 0 to 255 as uint8."""
    return np.asarray(pixels, dtype=np.uint8)


def in_colour(image: DecodedImage) -> DecodedImage:
    """Return a picture that is written in colour, as the originals write grey ones."""
    return replace(image, grey=False) if image.grey else image
