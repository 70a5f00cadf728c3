"""Inpainting: the network sees the photo with its damage painted over, and only the damage is taken from it.

GPEN sees it white, as it was trained. The bundled network sees it filled from its rims at the photo's own resolution,
and only the difference that it makes is laid over that: thin scratches in large faces stay as fine as their rims.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from facerestore.config import INPAINT
from facerestore.errors import ConfigError
from facerestore.imaging.alignment import (
    affine_scale,
    estimate_similarity,
    resize_affine,
    template,
    warp_to_crop,
)
from facerestore.imaging.blending import Paste, paste_faces
from facerestore.imaging.filling import fill, paint_white
from facerestore.imaging.pixels import match_colour
from facerestore.parsing import whole_mask
from facerestore.pipeline import stages
from facerestore.pipeline.parts import Damage, Parts, Passage
from facerestore.pipeline.restore import Procedure
from facerestore.pipeline.tasks.damage import DamageSource, FoundDamage, Holes
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

FEATHER = 0.006
"""Width of the fade around the damage, of the crop's side: 6 px at 1024, half the thinnest stroke of the training."""

MARGIN_PX = 1.5
"""By how many crop pixels damage is widened, so that after two resamplings all of it is still covered in full: a pixel
of the photo lies within the square root of 2 of each of the four crop pixels that it is interpolated from."""


def inpainting(source: DamageSource) -> Procedure:
    """Return the procedure that fills what is damaged in the faces of photos.

    The network gets the photo with its damage painted over, white or filled from its rims, as it was trained. Pixels
    of the result that are further from the damage than a narrow feather are those of the photo, bit for bit; the damage
    itself comes from the network, its low-frequency colours matched to the sound surroundings unless ``colour_match``
    is off. Faces are looked for in the photo as it is, before any stroke is drawn. Damage outside every face stays, and
    is reported. ``before`` of the result is the photo with its damage painted white, None where there is no damage or
    where it was found in the photo itself.

    Args:
        source: says what is damaged.
    """
    stage = _Inpainting(source)
    return Procedure(
        task=INPAINT,
        detect=stage.detect,
        judge=_judge,
        restore=_restore,
        blend=_blend,
        measure=stages.unmeasured,
        pasted=lambda parts, face: {"mask": None if face.restored is None else "damage", "regions": {}},
        tell=_tell,
    )


@dataclass(frozen=True, slots=True)
class _Inpainting:
    """Finds the faces, and what is damaged."""

    source: DamageSource

    def detect(self, parts: Parts, photo: Passage) -> Passage:
        """Return the photo with its faces and its damage.

        Raises:
            ConfigError: nothing says what is damaged, or the photo is to be enlarged, or only parts to be filled.
            ImageError: there is no mask for this photo, or it has another size.
        """
        _check_options(parts)
        return with_damage(parts, stages.detect(parts, photo), self.source)


def with_damage(parts: Parts, photo: Passage, source: DamageSource) -> Passage:
    """Return a photo whose faces were found, with its damage.

    Raises:
        BackendError: the network that finds damage failed.
        ImageError: there is no mask for this photo, or it has another size.
    """
    source = source if photo.source is None else source.for_photo(photo.source)
    affines = [_affine(parts, face, photo.pixels.shape) for face in stages.to_look_at(parts, photo)]
    holes = source.holes(photo.pixels, affines, parts.restorer.face_size)
    photo = replace(photo, damage=Damage(holes, source.description))
    if not holes.any():
        return photo
    white = replace(photo.image, pixels=paint_white(photo.pixels, holes))
    return replace(photo, before=None if isinstance(source, FoundDamage) else white)


def _check_options(parts: Parts) -> None:
    config = parts.config
    if config.upscale != 1:
        raise ConfigError(
            f"upscale is {config.upscale:g}, but inpainting keeps the size of the photo; leave it out, and"
            " enhance the result"
        )
    if config.region or config.mask not in ("face", "whole"):
        raise ConfigError(
            f"mask is '{config.mask}' and region is '{config.region}', but inpainting fills the damage"
            " whatever it lies on; leave both out"
        )


def _affine(parts: Parts, face: DetectedFace, shape: tuple[int, ...]) -> Affine:
    """Return the affine with which a face will be cut out."""
    size = parts.restorer.face_size
    return (
        resize_affine(size / shape[0])
        if parts.config.aligned
        else estimate_similarity(face.landmarks, template(size))
    )


def _judge(parts: Parts, photo: Passage) -> Passage:
    """Return the photo with the decisions on its faces, the crops as the network is to see them."""
    photo = stages.judge_size(parts, photo, reason="damaged")
    painted = _painted(parts, photo)
    faces = [
        face if face.aligned is None else _seen(parts, photo, painted, face, face.aligned)
        for face in photo.faces
    ]
    return replace(photo, faces=faces)


def _painted(parts: Parts, photo: Passage) -> Image:
    """Return the pixels of a photo with its damage painted over as the network wants it."""
    holes = _holes(photo)
    if not holes.any():
        return photo.pixels
    paint = fill if parts.restorer.descriptor.sees_filled else paint_white
    return paint(photo.pixels, holes)


def _seen(
    parts: Parts, photo: Passage, painted: Image, face: RestoredFace, aligned: AlignedFace
) -> RestoredFace:
    """Return a face with its crop painted over where it is damaged; kept where it is sound."""
    share = damaged_share(parts, photo, aligned)
    if share == 0:
        return replace(face, decision=Decision(Outcome.KEPT, "undamaged", "nothing in this face is damaged"))
    decision = face.decision
    if decision.outcome is Outcome.RESTORED:
        decision = replace(decision, reason=f"{decision.reason}: {share:.1%} of its crop")
    lq = warp_to_crop(painted, aligned.affine, aligned.lq.shape[0])
    return replace(face, decision=decision, aligned=replace(aligned, lq=lq))


def _restore(parts: Parts, photo: Passage) -> Passage:
    """Return the photo, its faces with the network's output in the colours of what is sound around the damage."""
    photo = stages.restore(parts, photo)
    if not parts.config.colour_match:
        return photo
    faces = [
        face
        if face.aligned is None or face.restored is None
        else replace(face, restored=_matched(parts, photo, face.aligned, face.restored))
        for face in photo.faces
    ]
    return replace(photo, faces=faces)


def _matched(parts: Parts, photo: Passage, aligned: AlignedFace, restored: FaceImage) -> FaceImage:
    sound = (_damage_mask(parts, photo, aligned) == 0).astype(np.float32) * whole_mask(restored.shape[0])
    return match_colour(restored, aligned.lq, sound)


def _holes(photo: Passage) -> Holes:
    """Return what is damaged; without damage nothing."""
    return np.zeros(photo.pixels.shape[:2], dtype=bool) if photo.damage is None else photo.damage.holes


def damaged_share(parts: Parts, photo: Passage, aligned: AlignedFace) -> float:
    """Return how much of a crop is damaged, 0 to 1, feather included."""
    return float(np.mean(_damage_mask(parts, photo, aligned) > 0))


def _damage_mask(parts: Parts, photo: Passage, aligned: AlignedFace) -> Mask:
    """Return the damage within one crop: 1 on it, falling to 0 around it; nothing along the border of the crop."""
    size = aligned.lq.shape[0]
    mask = soft_damage(_holes(photo), aligned.affine, size)
    return mask if parts.config.aligned else mask * whole_mask(size)


def _blend(parts: Parts, photo: Passage) -> DecodedImage:
    """Return the photo with its damage filled; the very same where there was none."""
    pastes = stages.pastes_of(photo, lambda face: parts, lambda aligned: _damage_mask(parts, photo, aligned))
    if not pastes:
        return photo.image
    if parts.restorer.descriptor.sees_filled:
        return replace(photo.image, pixels=_over_filled(parts, photo, pastes))
    return replace(photo.image, pixels=paste_faces(photo.pixels, pastes, colour_match=False))


def _over_filled(parts: Parts, photo: Passage, pastes: list[Paste]) -> Image:
    """Return the pixels of a photo, its damage filled from its rims, and changed there as a network changes it."""
    reached = _holes(photo) & ~_left(parts, photo)
    base, share = fill(photo.pixels, reached), np.float32(parts.config.strength)
    if share < 1:
        damaged = photo.pixels[reached].astype(np.float32)
        base[reached] = np.rint(damaged + share * (base[reached] - damaged)).astype(base.dtype)
    with_faces = paste_faces(base, pastes, colour_match=False)
    without = paste_faces(base, [replace(paste, restored=paste.lq) for paste in pastes], colour_match=False)
    changed = (with_faces != without).any(axis=2)
    mixed = base[changed].astype(np.int32) + with_faces[changed] - without[changed]
    base[changed] = np.clip(mixed, 0, np.iinfo(base.dtype).max).astype(base.dtype)
    return base


def _tell(parts: Parts, photo: Passage, report: dict[str, Any]) -> dict[str, Any]:
    """Return the report with the facts of the damage."""
    left = _share_left(parts, photo)
    filled = {
        "source": "" if photo.damage is None else photo.damage.source,
        "share": round(float(_holes(photo).mean()), 6),
        "share_left": round(left, 4),
    }
    stays = f"{_percent(left)} of the damage lies outside the restored faces, and stays"
    return report | {"filled": filled, "notes": [*report["notes"], *([stays] if left > 0 else [])]}


def _share_left(parts: Parts, photo: Passage) -> float:
    """Return which share of the damage was not filled; 0 where nothing is damaged."""
    count = int(_holes(photo).sum())
    return int(_left(parts, photo).sum()) / count if count else 0.0


def _left(parts: Parts, photo: Passage) -> Holes:
    """Return the damage that no face reaches which was filled."""
    import cv2

    left = _holes(photo).astype(np.uint8)
    size = (left.shape[1], left.shape[0])
    for face in photo.faces:
        if face.aligned is not None and face.restored is not None:
            reached = (_damage_mask(parts, photo, face.aligned) >= 0.5).astype(np.uint8)
            flags = cv2.INTER_NEAREST | cv2.WARP_INVERSE_MAP
            left[cv2.warpAffine(reached, face.aligned.affine, size, flags=flags) > 0] = 0
    return left > 0


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
