"""What the official test programs share: 8 bits, no judgement, and truncation of what the network gives."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from facerestore.config import RestoreConfig
from facerestore.errors import BackendError, ConfigError, ImageError
from facerestore.pipeline import stages
from facerestore.pipeline.parts import Parts, Passage
from facerestore.pipeline.report import notes_with, precision_notes
from facerestore.pipeline.restore import Procedure, description
from facerestore.pipeline.selection import select_faces
from facerestore.pipeline.stages import Judged, LineStage
from facerestore.types import (
    AlignedFace,
    Decision,
    DecodedImage,
    DetectedFace,
    FaceImage,
    Outcome,
    RestoredFace,
)

Pixels8: TypeAlias = NDArray[np.uint8]
"""(H, W, 3) RGB."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Program:
    """What an original test program does its own way.

    What all of them share, unlike the normal line: every face is restored, however small or sharp; crops are black
    beyond the photo; the network's output is truncated to 8 bits, which darkens it by half a level; colours are never
    matched to the photo; an aligned face comes back at the size of the network. As always, photos without a face to
    restore, and strength 0, give the input's very pixels, and files keep their format (the originals write JPEG).
    The originals' own detectors are not part of this.

    Attributes:
        backend: whose program this is.
        parser_weights: catalog name of the parser network that it uses.
        refused: returns why it leaves faces out, by their index.
        cut: returns a face's crop out of what ``enlarged`` gives for a photo of that shape, with the affine from
            pixels of the photo itself.
        compose: returns the canvas, or else the enlarged photo, with the faces of the photo pasted in their order;
            there may be none.
        enlarged: returns what faces are cut out of: the photo, or the photo enlarged.
        unknown: returns the options that it does not know, beside those that none knows: whether given, and what is
            said of that.
        needs_parser: says whether a parser is needed for such input.
        detect: finds the faces.
        parse: labels their parts, before they are restored.
        parse_restored: labels them after.
    """

    backend: str
    parser_weights: str
    refused: Callable[[Sequence[DetectedFace]], dict[int, Decision]]
    cut: Callable[[Parts, Pixels8, DetectedFace, tuple[int, ...]], AlignedFace]
    compose: Callable[[Parts, Passage], DecodedImage]
    enlarged: Callable[[RestoreConfig, Pixels8], Pixels8] = lambda config, pixels: pixels
    unknown: Callable[[RestoreConfig], list[tuple[bool, str]]] = lambda config: []
    needs_parser: Callable[[RestoreConfig], bool] = lambda config: True
    detect: LineStage = stages.detect
    parse: LineStage = stages.parse
    parse_restored: LineStage = lambda parts, photo: photo

    @property
    def procedure(self) -> Procedure:
        """What a pipeline does that repeats the program."""
        return Procedure(
            official=True,
            parser_weights=self.parser_weights,
            needs_parser=self.needs_parser,
            check=self.check,
            describe=lambda parts: f"official {self.backend} test pipeline: {description(parts)}",
            detect=self._detect,
            judge=self._judge,
            parse=self.parse,
            restore=self._restore,
            blend=partial(_blend, self.compose),
            notes=lambda parts, photo: notes_with(parts, photo, partial(precision_notes, parts)),
            pasted=lambda parts, face: {},
        )

    def check(self, parts: Parts) -> None:
        """Make sure that parts are those of the program.

        Raises:
            ConfigError: the restorer is of another backend, or an option is set that the program does not know.
            BackendError: there is no parser.
        """
        if parts.restorer.name != self.backend:
            raise ConfigError(
                f"the official {self.backend} test pipeline does not run backend '{parts.restorer.name}'"
            )
        self.check_options(parts.config)
        if parts.parser is None and self.needs_parser(parts.config):
            raise BackendError(
                f"the official {self.backend} test pipeline needs a parser;"
                f" run 'facerestore weights download {self.parser_weights}', or give --parser"
            )

    def check_options(self, config: RestoreConfig) -> None:
        """Make sure that the program knows what is asked for.

        Raises:
            ConfigError: it does not.
        """
        aligned = config.aligned
        unknown = [
            (config.min_face is not None, "judges no face; leave out --min-face"),
            (config.mask != "face" or config.region != "", "has its own mask; leave out --mask and --region"),
            (
                aligned and config.upscale != 1,
                "returns an aligned face at the size of the network; leave out --upscale",
            ),
            (
                aligned and config.strength != 1,
                "returns an aligned face as the network gives it; leave out --strength",
            ),
            (
                aligned and config.background is not None,
                "returns an aligned face as the network gives it; leave out --background",
            ),
        ]
        for refused, reason in [*unknown, *self.unknown(config)]:
            if refused:
                raise ConfigError(
                    f"the official {self.backend} test pipeline {reason}, or leave out --official"
                )

    def completed(self, config: RestoreConfig) -> RestoreConfig:
        """Return ``config`` with the program's own parser in place of ``auto``, or none where it parses nothing.

        Raises:
            ConfigError: the program does not know what is asked for.
        """
        self.check_options(config)
        if config.parser != "auto":
            return config
        return replace(config, parser=self.parser_weights if self.needs_parser(config) else "none")

    def _detect(self, parts: Parts, photo: Passage) -> Passage:
        """Return the photo with its faces; raises ImageError where it has 16 bits a channel."""
        if photo.pixels.dtype != np.uint8:
            raise ImageError(
                f"the official {self.backend} test pipeline takes 8 bits a channel, this photo has 16;"
                " convert it to 8 bits, or leave out --official"
            )
        return self.detect(parts, photo)

    def _judge(self, parts: Parts, photo: Passage) -> Passage:
        """Return the photo with its faces cut out where they are restored; nothing is measured on them."""
        config, shape = parts.config, photo.pixels.shape
        chosen = select_faces(config.faces, photo.found, shape)
        refused = {} if config.aligned else self.refused(photo.found)
        source = self.enlarged(config, as_8_bit(photo.pixels))
        reason = f"like every face in the official {self.backend} pipeline"
        judged: list[Judged] = []
        for index, face in enumerate(photo.found):
            kept = stages.unwanted(parts, index in chosen) or refused.get(index)
            crop = None if kept else self.cut(parts, source, face, shape)
            decision = kept or Decision(Outcome.RESTORED, "restored", reason)
            judged.append((RestoredFace(face, decision, crop), None))
        return stages.with_judged(photo, judged)

    def _restore(self, parts: Parts, photo: Passage) -> Passage:
        """Return the photo, its faces with the restorer's output, truncated to 8 bits."""
        restored = stages.restore(parts, photo).faces
        faces = [
            face if face.restored is None else replace(face, restored=truncated(face.restored))
            for face in restored
        ]
        return self.parse_restored(parts, replace(photo, faces=faces))


def _blend(compose: Callable[[Parts, Passage], DecodedImage], parts: Parts, photo: Passage) -> DecodedImage:
    """Return the canvas, or else the enlarged photo, with the restored faces in it, the surest first."""
    restored = [face for face in photo.faces if face.restored is not None]
    if not restored and parts.config.upscale == 1 and photo.canvas is None:
        return photo.image
    if parts.config.aligned and restored and restored[0].restored is not None:
        return _whole(photo.image, restored[0].restored)
    surest_first = sorted(restored, key=lambda face: -face.detected.score)
    result = compose(parts, replace(photo, faces=surest_first))
    return in_colour(result) if restored else result


def _whole(image: DecodedImage, restored: FaceImage) -> DecodedImage:
    """Return an aligned face at the size of the network."""
    import cv2

    size = (restored.shape[1], restored.shape[0])
    alpha = None if image.alpha is None else as_8_bit(cv2.resize(image.alpha, size))
    return in_colour(replace(image, pixels=levels(restored), alpha=alpha))


def canvas_size(config: RestoreConfig, shape: tuple[int, ...]) -> tuple[int, int]:
    """Return (W, H) of the result for a photo of ``shape``, in whole pixels."""
    return round(shape[1] * config.upscale), round(shape[0] * config.upscale)


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
