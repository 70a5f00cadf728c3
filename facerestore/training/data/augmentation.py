"""Augmentation of real faces and their parsing maps, before degradation."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from facerestore.fields import option


@dataclass(frozen=True, slots=True, kw_only=True)
class Augmentation:
    """How a real face is varied before it is degraded; the target varies with it.

    Attributes:
        flip_probability: chance of a left-right flip.
        jitter_probability: chance of a small similarity, so that imprecise landmarks are met in training.
        max_scale: largest relative change of scale.
        max_shift: largest shift along each axis, as a share of the face size.
        max_turn_deg: largest rotation.
        gamma_probability: chance of a change of exposure.
        max_gamma: largest gamma; the smallest is its inverse.
    """

    flip_probability: float = option(0.5, least=0, most=1)
    jitter_probability: float = option(0.5, least=0, most=1)
    max_scale: float = option(0.08, least=0, below=1)
    max_shift: float = option(0.04, least=0, below=1)
    max_turn_deg: float = option(5.0, least=0, most=180)
    gamma_probability: float = option(0.3, least=0, most=1)
    max_gamma: float = option(1.3, least=1)


def augment(
    face: NDArray[np.uint8],
    parsing_map: NDArray[np.uint8] | None,
    augmentation: Augmentation,
    rng: np.random.Generator,
) -> tuple[NDArray[np.uint8], NDArray[np.uint8] | None]:
    """Return an (S, S, 3) face and its (S, S) map, if any, varied alike: labels are moved whole, and swap sides."""
    flip, matrix, gamma = _draw_variation(face.shape[0], augmentation, rng)
    if flip:
        face = np.ascontiguousarray(face[:, ::-1])
        parsing_map = None if parsing_map is None else mirrored(parsing_map)
    if matrix is not None:
        face = _warped_by(face, matrix, cv2.INTER_CUBIC)
        parsing_map = None if parsing_map is None else _warped_by(parsing_map, matrix, cv2.INTER_NEAREST)
    if gamma is not None:
        face = np.rint(255 * (np.arange(256) / 255) ** gamma).astype(np.uint8)[face]
    return face, parsing_map


def mirrored(parsing_map: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return a parsing map as a mirror shows it: left and right eye, brow and ear change names."""
    table = np.arange(256, dtype=np.uint8)
    for left, right in ((4, 5), (6, 7), (8, 9)):  # eyes, brows, ears in the order of CelebAMask-HQ
        table[[left, right]] = right, left
    return table[np.ascontiguousarray(parsing_map[:, ::-1])]


def _draw_variation(
    size: int, augmentation: Augmentation, rng: np.random.Generator
) -> tuple[bool, NDArray[np.float64] | None, float | None]:
    """Return whether to flip, the affine or None, and the gamma or None."""
    flip, jitter, expose = rng.random(3)
    matrix: NDArray[np.float64] | None = None
    if jitter < augmentation.jitter_probability:
        turn, scale, dx, dy = rng.uniform(-1, 1, 4)
        centre = (size - 1) / 2
        turned = cv2.getRotationMatrix2D(
            (centre, centre), augmentation.max_turn_deg * turn, 1 + augmentation.max_scale * scale
        )
        matrix = np.asarray(turned, dtype=np.float64)
        matrix[:, 2] += np.array([dx, dy]) * augmentation.max_shift * size
    gamma = augmentation.max_gamma ** rng.uniform(-1, 1) if expose < augmentation.gamma_probability else None
    return bool(flip < augmentation.flip_probability), matrix, gamma


def _warped_by(picture: NDArray[np.uint8], matrix: NDArray[np.float64], method: int) -> NDArray[np.uint8]:
    height, width = picture.shape[:2]
    warped = cv2.warpAffine(picture, matrix, (width, height), flags=method, borderMode=cv2.BORDER_REFLECT_101)
    return np.asarray(warped, dtype=np.uint8)
