"""How much of a face was changed by restoring it: in levels, and in a word for people."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from facerestore.engines.cores import side_by_side
from facerestore.imaging.alignment import upscale_affine, warp_to_crop
from facerestore.parsing.mask import face_mask
from facerestore.types import AlignedFace, Effect, Image, RestoredFace

BARELY_LEVELS = 1.5
"""Changes below this are hardly seen: saving a photo once more as JPEG of quality 95 changes its faces by 1.53 levels.
Median of the 49 faces that were restored in 16 photographs, modern and old, with 28 to 78 px between the eyes."""

RESTORED_LEVELS = 3.0
"""Changes from here on are plain to see: JPEG of quality 50 changes the same faces by 3.03 levels (median). Each of the
21 among them that are heavily degraded, as ``facerestore.pipeline.routing`` has it, was changed by 3.10 or more."""


def with_changes(
    faces: Sequence[RestoredFace],
    before: Sequence[AlignedFace | None],
    result: Image,
    *,
    size: tuple[int, int],
) -> list[RestoredFace]:
    """Return faces with how much each was changed; kept ones as they are.

    Args:
        faces: of a photo.
        before: each as the photo had it; None for those that were not cut out.
        result: (H', W', 3) RGB, what came of the photo, perhaps enlarged; uint8 or uint16.
        size: (W, H) of the photo, pixels.
    """
    ratio = (result.shape[1] / size[0], result.shape[0] / size[1])

    def measured(one: tuple[RestoredFace, AlignedFace | None]) -> RestoredFace:
        face, own = one
        return face if own is None or face.restored is None else _measured(face, own, result, ratio)

    return side_by_side(measured, list(zip(faces, before, strict=True)))


def _measured(
    face: RestoredFace, aligned: AlignedFace, result: Image, ratio: tuple[float, float]
) -> RestoredFace:
    levels = change_of(aligned, result, ratio)
    return replace(face, change=levels, effect=effect_of(levels))


def effect_of(levels: float) -> Effect:
    """Return the word for a change of so many levels of 255."""
    if levels < BARELY_LEVELS:
        return Effect.BARELY_CHANGED
    return Effect.CLEANED if levels < RESTORED_LEVELS else Effect.RESTORED


def change_of(aligned: AlignedFace, result: Image, ratio: tuple[float, float]) -> float:
    """Return the mean absolute difference between a face in its photo and in the result, levels of 255.

    It is taken over the three colours and the oval of the face, whatever part was pasted, at the size of the network:
    strength, masks and matched colours are all in it.

    Args:
        aligned: the crop as it was cut out of the photo.
        result: (H', W', 3) RGB, uint8 or uint16.
        ratio: size of the result over that of the photo, across and down.
    """
    size = aligned.lq.shape[0]
    after = warp_to_crop(result, upscale_affine(aligned.affine, ratio), size)
    mask = face_mask(aligned)
    change = np.einsum("ijk,ij->", np.abs(after - aligned.lq), mask, dtype=np.float64) / (3 * mask.sum())
    return 255 * float(change)
