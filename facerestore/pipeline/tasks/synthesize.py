"""Synthesis: a parsing map becomes the picture of a face that never was."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from facerestore.alignment import resize_affine
from facerestore.config import SYNTHESIZE
from facerestore.face_parts import CLASS_NAMES
from facerestore.io import DEFAULT_MAX_PIXELS, PictureSource
from facerestore.parsing import PALETTE
from facerestore.pipeline.restore import RestorePipeline
from facerestore.pipeline.tasks.parsing_pictures import decode_map, is_coloured, read_ids
from facerestore.pixels import resize_map, to_8_bit
from facerestore.types import AlignedFace, Decision, DecodedImage, DetectedFace, Image, Outcome, RestoredFace

if TYPE_CHECKING:
    from facerestore.quality.judge import FaceQuality
    from facerestore.types import RestoreResult


class SynthesizePipeline(RestorePipeline):
    """Draws a face for each parsing map, at the size of the network.

    The map is brought to the network's size by nearest neighbour, so that no label is mixed with another, and is shown
    to the network in the colours of CelebAMask-HQ, as RGB in [0, 1]. Nothing is detected, judged or blended.
    """

    task = SYNTHESIZE

    @property
    def description(self) -> str:
        """One line for people: weights, size and device."""
        weights = self.facts.weights or self.restorer.name
        return f"{weights}, {self.restorer.face_size} px faces, {self.facts.where}; from parsing maps"

    def decode(self, data: bytes, *, name: str, page: int | None = None) -> DecodedImage:
        """Return the picture of a parsing map, which is the only one; see ``parsing_pictures`` for what is read.

        Raises:
            ImageError: it cannot be read.
        """
        return decode_map(data, name=name, max_pixels=self.config.max_pixels or DEFAULT_MAX_PIXELS)

    def run(self, image: PictureSource) -> RestoreResult:
        """Return the face of a parsing map, 8-bit RGB; ``before`` is the map in colours, where its picture is of ids.

        Raises:
            ImageError: the map is not square, or has a colour or an id that no class has.
            BackendError: the network failed.
        """
        image = self._opened(image)
        result = super().run(image)
        if is_coloured(image.pixels):
            return result
        return replace(result, before=DecodedImage(PALETTE[read_ids(image.pixels)]))

    def _judge(
        self, pixels: Image, found: Sequence[DetectedFace]
    ) -> tuple[list[RestoredFace], list[FaceQuality | None]]:
        """Return the map as a face whose crop is the map in colours."""
        size = self.restorer.input_size
        ids = resize_map(read_ids(pixels), size)
        lq = PALETTE[ids].astype(np.float32) / np.float32(255)
        names = [CLASS_NAMES[index] for index in np.unique(ids) if index]
        decision = Decision(Outcome.RESTORED, "restored", f"synthesized from {', '.join(names)}")
        aligned = AlignedFace(found[0], resize_affine(size / pixels.shape[0]), lq)
        return [RestoredFace(found[0], decision, aligned, parsing_map=ids)], [None]

    def _blend(self, image: DecodedImage, faces: Sequence[RestoredFace]) -> DecodedImage:
        """Return the network's picture alone."""
        (restored,) = [face.restored for face in faces if face.restored is not None]
        return DecodedImage(to_8_bit(restored), format=image.format)

    def _notes(self, faces: Sequence[RestoredFace]) -> list[str]:
        """Return nothing: there is no photo to paste into."""
        return []

    def _pasted_facts(self, face: RestoredFace) -> dict[str, Any]:
        """Return nothing: nothing was pasted."""
        return {}
