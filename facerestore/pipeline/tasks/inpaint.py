"""Inpainting: the network sees the photo with its damage painted white, and only the damage is taken from it."""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import NDArray

from facerestore.alignment import affine_scale, estimate_similarity, resize_affine, template, warp_to_crop
from facerestore.blending import paste_faces
from facerestore.config import INPAINT
from facerestore.errors import ConfigError
from facerestore.io import PictureSource
from facerestore.parsing import whole_mask
from facerestore.pipeline.restore import RestorePipeline
from facerestore.pipeline.selection import select_faces
from facerestore.pipeline.tasks.damage import DamageSource, Holes, Unsaid
from facerestore.pixels import match_colour
from facerestore.types import (
    Affine,
    AlignedFace,
    Decision,
    DecodedImage,
    DetectedFace,
    FaceImage,
    Image,
    Mask,
    Outcome,
    RestoredFace,
)

if TYPE_CHECKING:
    from facerestore.pipeline.report import StageClock
    from facerestore.quality.judge import FaceQuality
    from facerestore.types import RestoreResult


from facerestore.config import RestoreConfig
from facerestore.quality.judge import too_small

FEATHER = 0.006
"""Width of the fade around the damage, of the crop's side: 6 px at 1024, half the thinnest stroke of the training."""

MARGIN_PX = 1.5
"""By how many crop pixels damage is widened, so that after two resamplings all of it is still covered in full: a pixel
of the photo lies within the square root of 2 of each of the four crop pixels that it is interpolated from."""


class InpaintPipeline(RestorePipeline):
    """Fills what is damaged in the faces of photos.

    The network gets the photo with its damage painted white and nothing else, as it was trained. Pixels of the result
    that are further from the damage than a narrow feather are those of the photo, bit for bit; the damage itself comes
    from the network, its low-frequency colours matched to the sound surroundings unless ``colour_match`` is off. Faces
    are looked for in the photo as it is, before any stroke is drawn. Damage outside every face stays, and is reported.

    Attributes:
        damage: says what is damaged; see ``with_damage``.
    """

    task = INPAINT
    damage: DamageSource = Unsaid()
    _holes: Holes
    _painted: Image

    def with_damage(self, damage: DamageSource) -> Self:
        """Return this pipeline with a source of damage."""
        other = copy.copy(self)
        other.damage = damage
        return other

    def for_photo(self, source: Path) -> Self:
        """Return the pipeline with the mask, or the strokes, of one photo.

        Raises:
            ImageError: there is no mask for it.
        """
        return self.with_damage(self.damage.for_photo(source))

    def run(self, image: PictureSource) -> RestoreResult:
        """Fill the damage of one photo; where there is none in a face, the result is the very ``image``.

        The result's ``before`` is the photo with its damage painted white, None where there is no damage.

        Raises:
            ConfigError: nothing says what is damaged, or the photo is to be enlarged, or only parts to be filled.
            ImageError: there is no mask for this photo, or it has another size.
            BackendError: the network failed.
        """
        image = self._opened(image)
        if self.config.upscale != 1:
            raise ConfigError(
                f"upscale is {self.config.upscale:g}, but inpainting keeps the size of the photo; leave it out, and"
                " enhance the result"
            )
        if self.config.region or self.config.mask not in ("face", "whole"):
            raise ConfigError(
                f"mask is '{self.config.mask}' and region is '{self.config.region}', but inpainting fills the damage"
                " whatever it lies on; leave both out"
            )
        # What belongs to one photo is kept on a copy, so that threads may share the pipeline.
        once = copy.copy(self)
        result = super(InpaintPipeline, once).run(image)
        if not once._holes.any():
            return result
        return replace(result, before=replace(image, pixels=once._painted))

    def _detect(self, pixels: Image) -> list[DetectedFace]:
        """Return the faces, and find out what is damaged."""
        found = super()._detect(pixels)
        chosen = select_faces(self.config.faces, found, pixels.shape)
        wanted = [face for i, face in enumerate(found) if self._set_aside(face, i in chosen) is None]
        affines = [self._affine(face, pixels.shape) for face in wanted]
        self._holes = self.damage.holes(pixels.shape, affines, self.restorer.face_size)
        self._painted = paint_white(pixels, self._holes)
        return found

    def _affine(self, face: DetectedFace, shape: tuple[int, ...]) -> Affine:
        """Return the affine with which ``_cut`` will cut a face out."""
        size = self.restorer.face_size
        if self.config.aligned:
            return resize_affine(size / shape[0])
        return estimate_similarity(face.landmarks, template(size))

    def _judge(
        self, pixels: Image, found: Sequence[DetectedFace]
    ) -> tuple[list[RestoredFace], list[FaceQuality | None]]:
        """Return the faces with their decisions, the crops as the network is to see them."""
        faces, qualities = super()._judge(pixels, found)
        return [face if face.aligned is None else self._seen(face, face.aligned) for face in faces], qualities

    def _decide(self, detected: DetectedFace, quality: FaceQuality) -> Decision:
        """Return that a face is filled, unless it is too small."""
        return large_enough(self.config, detected, least_px=self._min_eye_distance_px, reason="damaged")

    def _seen(self, face: RestoredFace, aligned: AlignedFace) -> RestoredFace:
        """Return a face with its crop painted white where it is damaged; kept where it is sound."""
        share = float(np.mean(self._damage_mask(aligned) > 0))
        if share == 0:
            return replace(
                face, decision=Decision(Outcome.KEPT, "undamaged", "nothing in this face is damaged")
            )
        decision = face.decision
        if decision.outcome is Outcome.RESTORED:
            decision = replace(decision, reason=f"{decision.reason}: {share:.1%} of its crop")
        lq = warp_to_crop(self._painted, aligned.affine, aligned.lq.shape[0])
        return replace(face, decision=decision, aligned=replace(aligned, lq=lq))

    def _restore(self, faces: Sequence[RestoredFace]) -> list[RestoredFace]:
        """Return the faces with the network's output, its colours matched to what is sound around the damage."""
        restored = super()._restore(faces)
        return [
            replace(face, restored=self._matched(face.aligned, face.restored))
            if self.config.colour_match and face.aligned is not None and face.restored is not None
            else face
            for face in restored
        ]

    def _matched(self, aligned: AlignedFace, restored: FaceImage) -> FaceImage:
        sound = (self._damage_mask(aligned) == 0).astype(np.float32) * whole_mask(restored.shape[0])
        return match_colour(restored, aligned.lq, sound)

    def _mask(self, face: RestoredFace, aligned: AlignedFace) -> Mask:
        """Return the damage as a soft mask, (S, S) float32."""
        return self._damage_mask(aligned)

    def _damage_mask(self, aligned: AlignedFace) -> Mask:
        """Return the damage within one crop: 1 on it, falling to 0 around it; nothing along the border of the crop."""
        size = aligned.lq.shape[0]
        mask = soft_damage(self._holes, aligned.affine, size)
        return mask if self.config.aligned else mask * whole_mask(size)

    def _blend(self, image: DecodedImage, faces: Sequence[RestoredFace]) -> DecodedImage:
        """Return the photo with its damage filled; the very same where there was none."""
        pastes = [paste for face in faces if (paste := self._paste(face, grey=image.grey)) is not None]
        if not pastes:
            return image
        return replace(image, pixels=paste_faces(image.pixels, pastes, colour_match=False))

    def _pasted_facts(self, face: RestoredFace) -> dict[str, Any]:
        """Return that the damage was pasted, for a face's entry in the report."""
        return {"mask": None if face.restored is None else "damage", "regions": {}}

    def _report(
        self,
        before: DecodedImage,
        after: DecodedImage,
        faces: Sequence[RestoredFace],
        qualities: Sequence[FaceQuality | None],
        clock: StageClock,
    ) -> dict[str, Any]:
        """Return the facts of one photo with those of its damage."""
        report = super()._report(before, after, faces, qualities, clock)
        left = self._share_left(faces)
        report["damage"] = {
            "source": self.damage.description,
            "share": round(float(self._holes.mean()), 6),
            "share_left": round(left, 4),
        }
        if left > 0:
            report["notes"].append(
                f"{_percent(left)} of the damage lies outside the restored faces, and stays"
            )
        return report

    def _share_left(self, faces: Sequence[RestoredFace]) -> float:
        """Return which share of the damage was not filled; 0 where nothing is damaged."""
        import cv2

        count = int(self._holes.sum())
        left = self._holes.astype(np.uint8)
        size = (left.shape[1], left.shape[0])
        for face in faces:
            if face.aligned is not None and face.restored is not None:
                reached = (self._damage_mask(face.aligned) >= 0.5).astype(np.uint8)
                flags = cv2.INTER_NEAREST | cv2.WARP_INVERSE_MAP
                left[cv2.warpAffine(reached, face.aligned.affine, size, flags=flags) > 0] = 0
        return int(left.sum()) / count if count else 0.0


def paint_white(pixels: Image, holes: Holes) -> Image:
    """Return a copy of a photo with its damage painted white.

    Args:
        pixels: (H, W, 3) RGB, uint8 or uint16.
        holes: (H, W) True where it is damaged.
    """
    painted = pixels.copy()
    painted[holes] = np.iinfo(pixels.dtype).max
    return painted


def soft_damage(holes: Holes, affine: Affine, face_size: int) -> Mask:
    """Return the damage in a crop as a soft mask in [0, 1], (face_size, face_size) float32.

    It is 1 wherever a damaged pixel of the photo lies, also after it was warped back, and falls linearly to 0 over
    ``FEATHER`` around.

    Args:
        holes: (H, W) True where the photo is damaged.
        affine: (2, 3) photo to crop pixels.
        face_size: side of the crop, pixels.
    """
    import cv2

    margin = math.ceil(MARGIN_PX / affine_scale(affine))
    wide = cv2.dilate(holes.astype(np.uint8), np.ones((2 * margin + 1,) * 2, np.uint8))
    # Replicated beyond the border: pixels on it are interpolated from crop pixels beyond it.
    core: NDArray[Any] = cv2.warpAffine(
        wide, affine, (face_size, face_size), flags=cv2.INTER_NEAREST, borderMode=cv2.BORDER_REPLICATE
    )
    if not core.any():
        return np.zeros((face_size, face_size), dtype=np.float32)
    distance = cv2.distanceTransform(1 - core, cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    mask: Mask = np.clip(1 - distance / np.float32(FEATHER * face_size + 1), 0, 1).astype(np.float32)
    return mask


def _percent(share: float) -> str:
    """Return a share for people, never 0% or 100% of what is neither."""
    if 0 < share < 0.005:
        return "under 1%"
    return "over 99%" if 0.995 <= share < 1 else f"{share:.0%}"


def large_enough(config: RestoreConfig, detected: DetectedFace, *, least_px: float, reason: str) -> Decision:
    """Return that a face is worked on for ``reason``; kept where it is too small, unless that is forced.

    Args:
        config: may force small faces.
        detected: the face as found.
        least_px: least distance between the eyes, image pixels.
        reason: why it is worked on, for people.
    """
    small = too_small(detected, min_eye_distance_px=least_px)
    if small is None:
        return Decision(Outcome.RESTORED, "restored", reason)
    return Decision(Outcome.RESTORED, "restored", f"forced, though {small.reason}") if config.force else small
