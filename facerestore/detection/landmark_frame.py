"""The square frame in which the landmark network sees a face, for detection and training alike."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from facerestore.alignment import FFHQ_TEMPLATE, estimate_similarity, warp_to_crop
from facerestore.colour import LUMA
from facerestore.types import Affine, Box, Image

CROP_SIZE = 64
CROP_CENTRE = (256.0, 285.0)  # px of the FFHQ frame at 512: between the eyes and the mouth
CROP_SIDE = 360.0  # px of the same frame: brow to chin with a margin of a tenth to each side
BOX_CENTRE = (
    256.5,
    274.5,
)  # where the median box of haarcascade_frontalface_alt2 lies in the FFHQ frame at 512 px
BOX_SIDE = 330.0  # and its side; 5% to 95% are 299 to 366 (measured on 57 training faces)
CROP_PER_FFHQ = CROP_SIZE / CROP_SIDE  # crop px per FFHQ px at 512


def crop_template() -> NDArray[np.float64]:
    """Return the (5, 2) FFHQ template in pixels of the crop."""
    return (FFHQ_TEMPLATE - CROP_CENTRE) * CROP_PER_FFHQ + (CROP_SIZE - 1) / 2


def affine_from_box(box: Box) -> Affine:
    """Return the affine from image px to the crop for an upright face in a Haar box."""
    left, top, right, bottom = box
    centre = np.array([left + right, top + bottom]) / 2
    scale = BOX_SIDE / (right - left) * CROP_PER_FFHQ
    return np.column_stack([np.eye(2) * scale, box_centre() - scale * centre])


def box_centre() -> NDArray[np.float64]:
    """Return where the centre of a Haar box lies in the crop, px."""
    return (np.array(BOX_CENTRE) - CROP_CENTRE) * CROP_PER_FFHQ + (CROP_SIZE - 1) / 2


def affine_from_landmarks(landmarks: NDArray[np.floating]) -> Affine:
    """Return the affine from image px to the crop that takes (5, 2) landmarks to the template.

    Raises:
        ConfigError: the landmarks coincide or are not finite.
    """
    return estimate_similarity(landmarks, crop_template())


def grey_crop(image: Image, affine: Affine) -> NDArray[np.float32]:
    """Return the (64, 64) float32 grey crop in [0, 1]."""
    return warp_to_crop(image, affine, CROP_SIZE) @ LUMA


def to_units(points: NDArray[np.floating]) -> NDArray[np.float32]:
    """Return crop px as the network's units: half the crop's side, from its centre."""
    return ((points - (CROP_SIZE - 1) / 2) / (CROP_SIZE / 2)).astype(np.float32)


def from_units(points: NDArray[np.floating]) -> NDArray[np.float64]:
    """Return the network's units as crop px."""
    return points.astype(np.float64) * (CROP_SIZE / 2) + (CROP_SIZE - 1) / 2
