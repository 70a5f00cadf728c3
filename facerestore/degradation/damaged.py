"""A degraded face with its damage apart: the same face without damage, and a mask for each kind."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass, replace

import cv2
import numpy as np
from numpy.typing import NDArray

from facerestore.degradation.drawing import DegradationDraw, apply
from facerestore.degradation.steps import DamageStep, Resize


@dataclass(frozen=True, slots=True, eq=False)
class DamagedFace:
    """A degraded face and its damage.

    Attributes:
        lq: (S, S, 3) uint8 RGB, what :func:`facerestore.degradation.apply` gives.
        undamaged: (S, S, 3) uint8 RGB, the same but for the damage, noise included.
        hq: (S, S, 3) uint8 RGB, the target.
        masks: by the word of each kind of damage, (S, S) float32 in [0, 1]: how far it covers the picture. Where all
            are 0 and nothing but damage follows damage, as in ``damage``, ``lq`` equals ``undamaged``; a reduction or
            a JPEG afterwards, as in ``old-photo``, lets damage bleed beyond its mask.
    """

    lq: NDArray[np.uint8]
    undamaged: NDArray[np.uint8]
    hq: NDArray[np.uint8]
    masks: Mapping[str, NDArray[np.float32]]

    @property
    def mask(self) -> NDArray[np.float32]:
        """Return all kinds together, (S, S) float32 in [0, 1]."""
        whole = np.zeros(self.lq.shape[:2], np.float32)
        for mask in self.masks.values():
            np.maximum(whole, mask, out=whole)
        return whole


def damaged(face: NDArray[np.uint8], drawn: DegradationDraw, rng: np.random.Generator) -> DamagedFace:
    """Return one real face for drawn parameters, with its damage apart.

    Args:
        face: (S, S, 3) uint8 RGB, S the face size of the parameters.
        drawn: the parameters, of any preset; of those with damage, ``damage`` has it last.
        rng: source of the fields of noise and grain; used as :func:`facerestore.degradation.apply` uses it.

    Raises:
        ConfigError: the face has another size.
    """
    whole = tuple(step for step in drawn.steps if not isinstance(step, DamageStep))
    # A damage step draws nothing from the generator, so that both have the same noise.
    undamaged, _ = apply(face, replace(drawn, steps=whole), copy.deepcopy(rng))
    lq, hq = apply(face, drawn, rng)
    return DamagedFace(lq, undamaged, hq, damage_masks(drawn))


def damage_masks(drawn: DegradationDraw) -> dict[str, NDArray[np.float32]]:
    """Return how far each kind of damage covers the face, by the kind's word, (S, S) float32 in [0, 1].

    It depends on the parameters alone; a preset without damage gives no masks.
    """
    side, size = drawn.face_size, (drawn.face_size, drawn.face_size)
    masks: dict[str, NDArray[np.float32]] = {}
    for step in drawn.steps:
        if isinstance(step, Resize):
            side = step.side_px
        if isinstance(step, DamageStep):
            mask = step.mask(side)
            if side != drawn.face_size:
                mask = np.asarray(cv2.resize(mask, size, interpolation=cv2.INTER_LINEAR), dtype=np.float32)
            masks[step.word] = np.maximum(masks[step.word], mask) if step.word in masks else mask
    return masks
