"""The soft mask that a face is pasted with: an oval through its landmarks, chosen classes, or the whole crop."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from facerestore.alignment import template, transform_points
from facerestore.errors import BackendError, ConfigError
from facerestore.face_parts import CLASS_NAMES, FACE_CLASSES
from facerestore.types import AlignedFace, Mask, ParsingMap

# The oval, in units of the face's own landmarks, read off the mean of 90 aligned portraits: cheeks 1.08 eye
# distances from the middle, hairline 1.15 and chin 0.76 eye-to-mouth heights beyond the eyes and the mouth.
CHEEK_REACH = 1.15
"""Beyond an eye, in distances from that eye to the nose tip: the far cheek of a turned head is near."""
TOP_REACH = 1.15
"""Above the eyes, in heights from eyes to mouth."""
CHIN_REACH = 0.8
"""Below the mouth corners, in heights from eyes to mouth."""
OVAL_MARGIN = 1.1
"""The mask ends at this many radii, so that it is half way down just inside the contour of the face."""
OVAL_FEATHER = 0.35
"""Radii over which the mask falls; narrower shows as a rim on smooth skin."""
NOSE_SHARE = (0.15, 0.85)
"""Where the nose tip may lie between the eyes; beyond, the head is in profile."""
WIDTH_OVER_HEIGHT = 0.6
"""Least eye distance over eye-to-mouth height, so that profiles keep a wide oval; frontal it is 0.96."""

BORDER_ZERO = 0.02
"""Share of the crop along its border where the mask is exactly 0; it also hides what was reflected there."""
BORDER_RAMP = 0.08
"""Share of the crop from its border at which the mask may reach 1."""
CLASS_FEATHER = 0.02
"""Sigma of the feather of a parsing map, of the crop's side: 10 px at 512."""
NEIGHBOUR_REACH = 1.5
"""A parsing map counts up to this many radii: ears are in, a neighbour's face is not."""
LEAST_PARSED_SHARE = 0.1
"""A parsing map with less face than this inside the oval has missed the face."""


class _Oval(NamedTuple):
    """An ellipse with a half-axis of its own on each side, aligned pixels; ``across`` is its unit x axis."""

    centre: NDArray[np.float64]
    across: NDArray[np.float64]
    left: float
    right: float
    height: float


def geometric_mask(face_size: int) -> Mask:
    """Return the (S, S) float32 soft mask in [0, 1] of the mean face of the FFHQ frame.

    Raises:
        ConfigError: ``face_size`` is not positive.
    """
    return _oval_mask(template(face_size), face_size)


def whole_mask(face_size: int) -> Mask:
    """Return the (S, S) float32 soft mask in [0, 1] of the whole crop: 1 but for a soft border, 0 along it.

    Raises:
        ConfigError: ``face_size`` is not positive.
    """
    if face_size < 1:
        raise ConfigError(f"face size is {face_size} px; give a positive number")
    return _border_ramp(face_size)


def face_mask(
    aligned: AlignedFace,
    parsing_map: ParsingMap | None = None,
    *,
    classes: frozenset[str] = FACE_CLASSES,
) -> Mask:
    """Return the (S, S) float32 soft mask in [0, 1] with which a face is pasted.

    Without a parsing map: an oval from above the brows to the chin, laid through the face's own landmarks, so
    that it turns and narrows with the head. With one: the chosen classes. Both are feathered in proportion to
    the face and exactly 0 along the border of the crop, so that no rectangle can show.

    Args:
        aligned: the face; its landmarks and its affine are used, never its pixels.
        parsing_map: (S, S) uint8 ids, S the size of ``aligned.lq``; None where there is no parser.
        classes: names out of ``CLASS_NAMES`` that are pasted.

    Raises:
        ConfigError: the map has another size or dtype, a class is unknown, or the landmarks are not finite.
        BackendError: the parsing map has next to no face where the face is.
    """
    face_size = aligned.lq.shape[0]
    points = transform_points(aligned.affine, aligned.detected.landmarks)
    if parsing_map is None:
        return _oval_mask(points, face_size)
    _check_map(parsing_map, face_size)
    return _class_mask(points, parsing_map, _class_ids(classes))


def _class_ids(classes: frozenset[str]) -> list[int]:
    unknown = sorted(classes - set(CLASS_NAMES))
    if unknown:
        raise ConfigError(f"unknown parsing classes {unknown}; choose from {', '.join(CLASS_NAMES)}")
    return [index for index, name in enumerate(CLASS_NAMES) if name in classes]


def _check_map(parsing_map: ParsingMap, face_size: int) -> None:
    if parsing_map.shape != (face_size, face_size) or parsing_map.dtype != np.uint8:
        raise ConfigError(
            f"the parsing map is {parsing_map.dtype} {parsing_map.shape}; "
            f"give uint8 ({face_size}, {face_size}), the size of the crop"
        )


def _class_mask(points: NDArray[np.float64], parsing_map: ParsingMap, ids: list[int]) -> Mask:
    """Return the feathered chosen classes within reach of the face."""
    import cv2

    face_size = parsing_map.shape[0]
    radius = _radius(_oval(points), face_size)
    chosen = np.isin(parsing_map, ids)
    share = float(chosen[radius < 1].mean()) if (radius < 1).any() else 0.0
    if share < LEAST_PARSED_SHARE:
        raise BackendError(
            f"the parser labelled {share:.0%} of the face as face, {LEAST_PARSED_SHARE:.0%} are needed; "
            "restore this face without a parser, or leave it out"
        )
    near = _smoothstep((NEIGHBOUR_REACH - radius) / OVAL_FEATHER)
    blurred = cv2.GaussianBlur(chosen.astype(np.float32), (0, 0), CLASS_FEATHER * face_size)
    mask: Mask = np.clip(blurred, 0, 1) * near * _border_ramp(face_size)
    return mask


def _oval_mask(points: NDArray[np.float64], face_size: int) -> Mask:
    """Return the soft oval through five aligned points, (S, S) float32."""
    radius = _radius(_oval(points), face_size)
    mask: Mask = _smoothstep((OVAL_MARGIN - radius) / OVAL_FEATHER) * _border_ramp(face_size)
    return mask


def _oval(points: NDArray[np.float64]) -> _Oval:
    """Return the face's outline from its five aligned points."""
    if not np.isfinite(points).all():
        raise ConfigError(f"the landmarks {points.tolist()} are not all finite; drop this face")
    across = (points[1] - points[0]) + (points[4] - points[3])
    across = across / max(math.hypot(*across), np.finfo(np.float64).tiny)
    down = np.array([-across[1], across[0]])
    eyes, mouth = points[:2].mean(axis=0), points[3:].mean(axis=0)
    height = abs(float((mouth - eyes) @ down))
    width = max(abs(float((points[1] - points[0]) @ across)), WIDTH_OVER_HEIGHT * height, 1.0)
    nose = float(np.clip((points[2] - eyes) @ across / width + 0.5, *NOSE_SHARE))
    middle = (eyes + mouth) / 2
    shift = (1 + CHIN_REACH - TOP_REACH) / 2 - 0.5  # of the oval's centre below the middle of eyes and mouth
    return _Oval(
        centre=middle + shift * height * down,
        across=across,
        left=width * (0.5 + CHEEK_REACH * nose),
        right=width * (0.5 + CHEEK_REACH * (1 - nose)),
        height=height * (1 + CHIN_REACH + TOP_REACH) / 2,
    )


def _radius(oval: _Oval, face_size: int) -> NDArray[np.float32]:
    """Return (S, S) float32: 0 at the centre of the oval, 1 on it, growing linearly outwards."""
    axis = np.arange(face_size, dtype=np.float32)
    x, y = axis[None, :] - np.float32(oval.centre[0]), axis[:, None] - np.float32(oval.centre[1])
    cosine, sine = np.float32(oval.across[0]), np.float32(oval.across[1])
    along, below = cosine * x + sine * y, cosine * y - sine * x
    half_width = np.where(along < 0, np.float32(max(oval.left, 1.0)), np.float32(max(oval.right, 1.0)))
    radius: NDArray[np.float32] = np.hypot(along / half_width, below / np.float32(max(oval.height, 1.0)))
    return radius


def _border_ramp(face_size: int) -> Mask:
    """Return (S, S) float32 that is 0 along the border of the crop and 1 away from it."""
    axis = np.arange(face_size, dtype=np.float32)
    share = (np.minimum(axis, axis[::-1]) + np.float32(0.5)) / np.float32(face_size)
    ramp = _smoothstep((share - BORDER_ZERO) / (BORDER_RAMP - BORDER_ZERO))
    outermost = (
        np.minimum(axis, axis[::-1]) >= 1
    )  # in tiny crops the share of the first pixel is above BORDER_ZERO
    ramp = ramp * outermost.astype(np.float32)
    product: Mask = ramp[:, None] * ramp[None, :]
    return product


def _smoothstep(values: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return 3t^2 - 2t^3 of ``values`` clipped to [0, 1]: a ramp without a crease at either end."""
    t = np.clip(values, np.float32(0), np.float32(1))
    step: NDArray[np.float32] = t * t * (np.float32(3) - np.float32(2) * t)
    return step
