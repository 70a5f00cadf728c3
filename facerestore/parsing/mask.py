"""The soft mask that a face is pasted with: an oval through its landmarks, chosen classes, or the whole crop."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from facerestore.errors import BackendError, ConfigError
from facerestore.face_parts import FACE_CLASSES
from facerestore.imaging.alignment import template, transform_points
from facerestore.parsing.classes import check_map, labelled
from facerestore.parsing.oval import Oval, distance_from, face_oval, inside_of, radius_from, smoothstep
from facerestore.types import AlignedFace, Mask, ParsingMap

OVAL_MARGIN = 1.1
"""The mask ends at this many radii, so that it is half way down just inside the contour of the face."""
OVAL_FEATHER = 0.35
"""Radii over which the mask falls; narrower shows as a rim on smooth skin."""

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
    check_map(parsing_map, face_size)
    return _class_mask(points, parsing_map, classes)


def face_is_parsed(aligned: AlignedFace, parsing_map: ParsingMap) -> bool:
    """Say whether a parsing map has a face where the landmarks say that one is."""
    size = aligned.lq.shape[0]
    check_map(parsing_map, size)
    points = transform_points(aligned.affine, aligned.detected.landmarks)
    return _face_share(parsing_map, face_oval(points)) >= LEAST_PARSED_SHARE


def _class_mask(points: NDArray[np.float64], parsing_map: ParsingMap, classes: frozenset[str]) -> Mask:
    """Return the feathered chosen classes; those of the face within its reach, so that no neighbour's is in it."""
    oval, size = face_oval(points), parsing_map.shape[0]
    share = _face_share(parsing_map, oval)
    if share < LEAST_PARSED_SHARE:
        raise BackendError(
            f"the parser labelled {share:.0%} of the face as face, {LEAST_PARSED_SHARE:.0%} are needed; "
            "restore this face without a parser, or leave it out"
        )
    near = smoothstep((NEIGHBOUR_REACH - radius_from(oval, size)) / OVAL_FEATHER)
    feathered = _softened if "skin" in classes else _softened_outwards
    mask: Mask = feathered(labelled(parsing_map, classes & FACE_CLASSES)) * near
    if others := classes - FACE_CLASSES:
        mask = mask + feathered(labelled(parsing_map, others))
    return np.clip(mask, 0, 1) * _border_ramp(size)


def _face_share(parsing_map: ParsingMap, oval: Oval) -> float:
    """Return the share of the oval that is labelled as some part of a face."""
    inside = inside_of(oval, parsing_map.shape[0])
    face = labelled(parsing_map, FACE_CLASSES)
    return int(np.count_nonzero(face & inside)) / max(int(np.count_nonzero(inside)), 1)


def _softened(chosen: NDArray[np.bool_]) -> Mask:
    """Return a region softened across its edge, (S, S) float32."""
    import cv2

    sigma = CLASS_FEATHER * chosen.shape[0]
    return np.asarray(cv2.GaussianBlur(chosen.astype(np.float32), (0, 0), sigma), dtype=np.float32)


def _softened_outwards(chosen: NDArray[np.bool_]) -> Mask:
    """Return a region that is whole inside and softened outside of its edge: eyes and lips are too thin to give way."""
    return smoothstep(1 - distance_from(chosen) / np.float32(2 * CLASS_FEATHER * chosen.shape[0]))


def _oval_mask(points: NDArray[np.float64], face_size: int) -> Mask:
    """Return the soft oval through five aligned points, (S, S) float32."""
    radius = radius_from(face_oval(points), face_size)
    mask: Mask = smoothstep((OVAL_MARGIN - radius) / OVAL_FEATHER) * _border_ramp(face_size)
    return mask


def _border_ramp(face_size: int) -> Mask:
    """Return (S, S) float32 that is 0 along the border of the crop and 1 away from it."""
    axis = np.arange(face_size, dtype=np.float32)
    share = (np.minimum(axis, axis[::-1]) + np.float32(0.5)) / np.float32(face_size)
    ramp = smoothstep((share - BORDER_ZERO) / (BORDER_RAMP - BORDER_ZERO))
    outermost = (
        np.minimum(axis, axis[::-1]) >= 1
    )  # in tiny crops the share of the first pixel is above BORDER_ZERO
    ramp = ramp * outermost.astype(np.float32)
    product: Mask = ramp[:, None] * ramp[None, :]
    return product
