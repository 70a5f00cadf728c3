"""The square frame in which the landmark network sees a face, for detection and training alike."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from facerestore.imaging.alignment import FFHQ_TEMPLATE, estimate_similarity, transform_points, warp_to_crop
from facerestore.imaging.pixels import LUMA
from facerestore.types import Affine, Image

CROP_SIZE = 64
CROP_CENTRE = (256.0, 285.0)  # px of the FFHQ frame at 512: between the eyes and the mouth
CROP_SIDE = 360.0  # px of the same frame: brow to chin with a margin of a tenth to each side
BOX_CENTRE = (255.0, 281.0)  # of YuNet's boxes in the FFHQ frame at 512 px: the median of 90 validation faces
BOX_SIZE = (269.0, 373.0)  # their width and height; 5% to 95% are 233 to 288 and 348 to 395
CROP_PER_FFHQ = CROP_SIZE / CROP_SIDE  # crop px per FFHQ px at 512


def crop_template() -> NDArray[np.float64]:
    """Return the (5, 2) FFHQ template in pixels of the crop."""
    return (FFHQ_TEMPLATE - CROP_CENTRE) * CROP_PER_FFHQ + (CROP_SIZE - 1) / 2


def affine_from_landmarks(landmarks: NDArray[np.floating]) -> Affine:
    """Return the affine from image px to the crop that takes (5, 2) landmarks to the template.

    Raises:
        ConfigError: the landmarks coincide or are not finite.
    """
    return estimate_similarity(landmarks, crop_template())


def box_of_face(frame: Affine) -> NDArray[np.float64]:
    """Return left, top, right and bottom of the upright box about the ellipse that fills a face's box in its own frame.

    Args:
        frame: from the FFHQ frame at 512 px to the picture.
    """
    centre = transform_points(frame, [BOX_CENTRE])[0]
    half = np.hypot(frame[:, 0] * BOX_SIZE[0], frame[:, 1] * BOX_SIZE[1]) / 2
    return np.concatenate([centre - half, centre + half])


def grey_crop(image: Image, affine: Affine) -> NDArray[np.float32]:
    """Return the (64, 64) float32 grey crop in [0, 1]."""
    return warp_to_crop(image, affine, CROP_SIZE) @ LUMA


def to_units(points: NDArray[np.floating]) -> NDArray[np.float32]:
    """Return crop px as the network's units: half the crop's side, from its centre."""
    return ((points - (CROP_SIZE - 1) / 2) / (CROP_SIZE / 2)).astype(np.float32)


def from_units(points: NDArray[np.floating]) -> NDArray[np.float64]:
    """Return the network's units as crop px."""
    return points.astype(np.float64) * (CROP_SIZE / 2) + (CROP_SIZE - 1) / 2
