"""Composites that the face detector learns from: portraits of any size, turn and light over backgrounds."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

import cv2
import numpy as np
from numpy.typing import NDArray

from facerestore.detection.landmark_frame import BOX_CENTRE, BOX_SIZE, box_of_face
from facerestore.imaging.alignment import (
    FFHQ_SIZE,
    FFHQ_TEMPLATE,
    compose_affine,
    estimate_similarity,
    transform_points,
)
from facerestore.training.recipes.finder.light import photographed
from facerestore.types import Affine

BOX_SIDE = float(np.sqrt(BOX_SIZE[0] * BOX_SIZE[1]))
FACES_MOST = 24  # in one picture
PYRAMID_LEVELS = 5  # halvings of the portraits, so that small faces are not aliased
USABLE_SHARE, GONE_SHARE = (
    0.6,
    0.15,
)  # of a face's box that must be seen to be learnt, and to be called a face at all
HEAD = (256, 262, 190, 250)  # ellipse about a head in the FFHQ frame at 512 px: centre x y, half axes
FEATHERS = (2.0, 12.0, 30.0)  # px at 512 px over which a mask fades

Photograph: TypeAlias = Callable[[NDArray[np.uint8], float, np.random.Generator], NDArray[np.uint8]]
"""As `photographed`."""


@dataclass(frozen=True, slots=True, eq=False)
class FinderData:
    """What composites are made from.

    Attributes:
        pyramid: for each halving, (N, s, s, 3) uint8 portraits.
        masks: for each halving, (M, s, s) uint8 shapes in which portraits are pasted; the first is the whole square.
        landmarks: (N, 5, 2) px of the largest portraits.
        frames: (N, 2, 3) affines from the FFHQ frame at 512 px to the largest portraits.
        bank: (B, 320, 320, 3) uint8 pictures without a face.
        hard: (H, 4) float64: which background, and centre x y and side of a false positive in it.
    """

    pyramid: tuple[NDArray[np.uint8], ...]
    masks: tuple[NDArray[np.uint8], ...]
    landmarks: NDArray[np.float64]
    frames: NDArray[np.float64]
    bank: NDArray[np.uint8]
    hard: NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class Composite:
    """One training picture.

    Attributes:
        picture: (S, S, 3) uint8 RGB.
        boxes: (F, 4) float32 left, top, right, bottom, px.
        points: (F, 5, 2) float32 px, image-left first.
        usable: (F,) whether the face is there to be learnt; the others are neither faces nor background.
    """

    picture: NDArray[np.uint8]
    boxes: NDArray[np.float32]
    points: NDArray[np.float32]
    usable: NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Placed:
    """A face to be pasted: which, where its box is, how it is turned, and in which shape it is cut out."""

    index: int
    centre: tuple[float, float]
    side: float
    degrees: float
    squeeze: float
    mirrored: bool
    mask: int


def finder_data(
    faces: NDArray[np.uint8],
    landmarks: NDArray[np.float64],
    bank: NDArray[np.uint8],
    *,
    hard: NDArray[np.float64] | None = None,
) -> FinderData:
    """Return portraits and backgrounds made ready for composites.

    Args:
        faces: (N, S, S, 3) FFHQ-aligned portraits.
        landmarks: (N, 5, 2) px.
        bank: (B, 320, 320, 3) pictures without a face.
        hard: see `FinderData`; none where nothing was mined yet.
    """
    pyramid, masks = [faces], [_portrait_masks(faces.shape[1])]
    for _ in range(PYRAMID_LEVELS - 1):
        side = pyramid[-1].shape[1] // 2
        pyramid.append(np.stack([_half_size(face, side) for face in pyramid[-1]]))
        masks.append(np.stack([_half_size(mask, side) for mask in masks[-1]]))
    frames = np.stack([estimate_similarity(FFHQ_TEMPLATE, points) for points in landmarks])
    known = np.empty((0, 4)) if hard is None else hard
    return FinderData(tuple(pyramid), tuple(masks), landmarks, frames, bank, known)


def _half_size(picture: NDArray[np.uint8], side: int) -> NDArray[np.uint8]:
    return np.asarray(cv2.resize(picture, (side, side), interpolation=cv2.INTER_AREA), dtype=np.uint8)


def _portrait_masks(side: int) -> NDArray[np.uint8]:
    """Return the square, the square with soft edges, and heads and busts with edges of several softness."""
    scale = side / FFHQ_SIZE
    square, soft = np.full((side, side), 255, np.uint8), np.zeros((side, side), np.uint8)
    margin = side // 12
    soft[margin:-margin, margin:-margin] = 255
    shapes = [square, np.asarray(cv2.blur(soft, (margin, margin)), np.uint8)]
    x, y, half_width, half_height = (round(value * scale) for value in HEAD)
    for feather in FEATHERS:
        head = cv2.ellipse(
            np.zeros((side, side), np.uint8), (x, y), (half_width, half_height), 0, 0, 360, 255, -1
        )
        bust = cv2.ellipse(head.copy(), (x, side), (side // 2, round(90 * scale)), 0, 0, 360, 255, -1)
        sigma = max(0.5, feather * scale / 2)
        shapes += [np.asarray(cv2.GaussianBlur(shape, (0, 0), sigma), np.uint8) for shape in (head, bust)]
    return np.stack(shapes).astype(np.uint8)


def make_composite(
    data: FinderData, side: int, key: tuple[int, int, int], *, photograph: Photograph = photographed
) -> Composite:
    """Return one (side, side) picture and its faces, a pure function of its arguments.

    Args:
        data: portraits and backgrounds.
        side: of the picture, px.
        key: seed, epoch and index; face ``index`` modulo their number is the first to be pasted.
        photograph: makes the picture of what was pasted and the side of its smallest face, px.
    """
    rng = np.random.default_rng(key)
    placed = _face_layout(len(data.landmarks), key[2], side, rng)
    canvas = _draw_background(data, side, rng)
    owner = np.full((side, side), -1, dtype=np.int16)
    affines = [_portrait_affine(data.frames[face.index], face) for face in placed]
    for number, (face, affine) in enumerate(zip(placed, affines, strict=True)):
        _paste_portrait(data, canvas, owner, (number, face, affine), rng)
    for face in placed:
        if rng.random() < 0.15:
            _occlude_face(data, canvas, owner, face, rng)
    frames = [data.frames[face.index] for face in placed]
    boxes = np.array([box_of_face(compose_affine(a, f)) for a, f in zip(affines, frames, strict=True)])
    points = np.array([_portrait_points(data, f, a) for f, a in zip(placed, affines, strict=True)])
    seen = np.array([_seen_share(owner, number, box) for number, box in enumerate(boxes)])
    smallest = min((face.side for face in placed), default=float(side))
    picture = photograph(canvas, smallest, rng)
    kept = seen >= GONE_SHARE
    return Composite(
        picture,
        boxes.reshape(-1, 4)[kept].astype(np.float32),
        points.reshape(-1, 5, 2)[kept].astype(np.float32),
        (seen >= USABLE_SHARE)[kept],
    )


def _face_layout(faces: int, first: int, side: int, rng: np.random.Generator) -> list[Placed]:
    """Return the faces of a picture: none, a portrait, a few, or a crowd."""
    kind = rng.random()
    if kind < 0.12:
        return []
    if kind < 0.42:
        large = float(side * np.exp(rng.uniform(np.log(0.28), np.log(1.1))))
        middle = side / 2 + rng.normal(0, 0.16, 2) * side
        return [_draw_placement(first % faces, middle, large, rng, masks=(0, 0, 1, 3, 5))]
    if kind < 0.76:
        count = int(rng.integers(1, 5))
        sides = np.exp(rng.uniform(np.log(16), np.log(0.45 * side), count))
    else:
        count = int(rng.integers(5, FACES_MOST + 1))
        sides = np.exp(rng.uniform(np.log(9), np.log(36))) * np.exp(rng.uniform(-0.25, 0.25, count))
    apart = 0.3 if rng.random() < 0.2 else 0.9
    centres = _scattered_centres(sides, side, apart, rng)
    masks = (0, 1, 2, 3, 4, 5, 6, 7) if rng.random() < 0.4 else (2, 3, 4, 5)
    chosen = [first % faces, *rng.integers(0, faces, count).tolist()]
    return [
        _draw_placement(chosen[n], centre, float(sides[n]), rng, masks=masks)
        for n, centre in enumerate(centres)
    ]


def _scattered_centres(
    sides: NDArray[np.float64], side: int, apart: float, rng: np.random.Generator
) -> list[NDArray[np.float64]]:
    """Return centres for some of the faces, each at least ``apart`` times the mean of both sides from the others."""
    centres: list[NDArray[np.float64]] = []
    for size in sides:
        for _ in range(6):
            centre = rng.uniform(0.0, side, 2)
            distances = [np.abs(centre - other).max() for other in centres]
            needed = [apart * (size + other) / 2 for other in sides[: len(centres)]]
            if all(d >= n for d, n in zip(distances, needed, strict=True)):
                centres.append(centre)
                break
        else:
            break
    return centres


def _draw_placement(
    index: int,
    centre: NDArray[np.float64],
    side: float,
    rng: np.random.Generator,
    *,
    masks: tuple[int, ...],
) -> Placed:
    kind = rng.random()
    degrees = float(np.clip(rng.normal(0, 11), -35, 35))
    if kind < 0.22:
        degrees = float(rng.uniform(-38, 38))
    elif kind < 0.27:
        degrees = float(rng.uniform(-75, 75))
    squeeze = rng.uniform(0.65, 0.9) if rng.random() < 0.15 else float(np.exp(rng.normal(0, 0.05)))
    place = (float(centre[0]), float(centre[1]))
    return Placed(
        index, place, side, degrees, float(squeeze), bool(rng.random() < 0.5), int(rng.choice(masks))
    )


def _portrait_affine(frame: Affine, face: Placed) -> Affine:
    """Return the affine from portrait px to picture px; ``frame`` goes from the FFHQ frame to the portrait."""
    scale = face.side / (BOX_SIDE * float(np.sqrt(abs(np.linalg.det(frame[:, :2])))))
    angle = np.deg2rad(face.degrees)
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    along = face.squeeze**0.5
    linear = scale * turn @ np.diag([along * (-1 if face.mirrored else 1), 1 / along])
    middle = transform_points(frame, [BOX_CENTRE])[0]
    return np.column_stack([linear, np.array(face.centre) - linear @ middle])


def _portrait_points(data: FinderData, face: Placed, affine: Affine) -> NDArray[np.float64]:
    points = transform_points(affine, data.landmarks[face.index])
    return points[[1, 0, 2, 4, 3]] if face.mirrored else points


def _draw_background(data: FinderData, side: int, rng: np.random.Generator) -> NDArray[np.uint8]:
    """Return a piece of a background, half of the time one with a known false positive."""
    if len(data.hard) and rng.random() < 0.5:
        number, x, y, size = data.hard[rng.integers(len(data.hard))]
        picture, shift = data.bank[int(number)], rng.uniform(0.2, 0.8, 2) * side
        scale = float(np.clip(np.exp(rng.uniform(np.log(10), np.log(0.8 * side))) / size, 0.5, 2.5))
        centre = np.array([x, y])
    else:
        picture, centre = data.bank[rng.integers(len(data.bank))], rng.uniform(0.3, 0.7, 2) * 320
        scale, shift = float(np.exp(rng.uniform(-0.2, 0.7))) * side / 320, np.full(2, side / 2)
    flip = rng.choice([-1.0, 1.0])
    linear = np.diag([scale * flip, scale])
    affine = np.column_stack([linear, shift - linear @ centre])
    warped = cv2.warpAffine(
        picture, affine, (side, side), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT
    )
    return np.ascontiguousarray(warped, dtype=np.uint8)


def _paste_portrait(
    data: FinderData,
    canvas: NDArray[np.uint8],
    owner: NDArray[np.int16],
    what: tuple[int, Placed, Affine],
    rng: np.random.Generator,
) -> None:
    """Blend a portrait into ``canvas`` and note in ``owner`` whose the pixels are."""
    number, face, affine = what
    scale = float(np.sqrt(abs(np.linalg.det(affine[:, :2]))))
    level = int(np.clip(np.floor(np.log2(1 / scale)), 0, PYRAMID_LEVELS - 1))
    size = data.pyramid[level].shape[1]
    grown = data.pyramid[0].shape[1] / size
    from_level = compose_affine(affine, np.array([[grown, 0, (grown - 1) / 2], [0, grown, (grown - 1) / 2]]))
    corners = transform_points(from_level, [(0, 0), (size, 0), (0, size), (size, size)])
    low = np.clip(np.floor(corners.min(axis=0)), 0, len(canvas)).astype(int)
    high = np.clip(np.ceil(corners.max(axis=0)), 0, len(canvas)).astype(int)
    if (high <= low).any():
        return
    from_level = from_level - np.column_stack([np.zeros((2, 2)), low])
    extent = (int(high[0] - low[0]), int(high[1] - low[1]))
    portrait = data.pyramid[level][face.index]
    if rng.random() < 0.5:
        lit = np.arange(256) * rng.uniform(0.6, 1.25) + rng.uniform(-20, 20)
        portrait = np.asarray(cv2.LUT(portrait, np.clip(lit, 0, 255).astype(np.uint8)), dtype=np.uint8)
    # A whole square's last pixels reach the picture's edge; a mask's fade before.
    colours = cv2.warpAffine(portrait, from_level, extent, borderMode=cv2.BORDER_REPLICATE)
    alpha = cv2.warpAffine(data.masks[level][face.mask], from_level, extent)
    room = (slice(low[1], high[1]), slice(low[0], high[0]))
    share = alpha.astype(np.float32)[..., None] / 255
    canvas[room] = (canvas[room] + share * (colours.astype(np.float32) - canvas[room]) + 0.5).astype(np.uint8)
    owner[room][alpha > 127] = number


def _occlude_face(
    data: FinderData,
    canvas: NDArray[np.uint8],
    owner: NDArray[np.int16],
    face: Placed,
    rng: np.random.Generator,
) -> None:
    """Lay a rectangle or an ellipse of background or colour over part of a face: a hand, a cup, another's shoulder."""
    wide, high = (int(value) for value in np.maximum(rng.uniform(0.15, 0.6, 2) * face.side, 2))
    angle = rng.uniform(-np.pi, np.pi)
    x = int(face.centre[0] + 0.45 * face.side * np.cos(angle))
    y = int(face.centre[1] + 0.55 * face.side * np.sin(angle))
    cover = np.zeros(canvas.shape[:2], np.uint8)
    if rng.random() < 0.5:
        cv2.ellipse(cover, (x, y), (wide // 2 + 1, high // 2 + 1), 0, 0, 360, 255, -1)
    else:
        cv2.rectangle(cover, (x - wide // 2, y - high // 2), (x + wide // 2, y + high // 2), 255, -1)
    piece = data.bank[rng.integers(len(data.bank))]
    top, left = (int(value) for value in rng.integers(0, len(piece) - len(canvas) + 1, 2))
    covered = cover > 0
    canvas[covered] = piece[top : top + len(canvas), left : left + len(canvas)][covered]
    owner[covered] = -2


def _seen_share(owner: NDArray[np.int16], number: int, box: NDArray[np.float64]) -> float:
    """Return the share of a face's box that shows the face."""
    left, top, right, bottom = (round(float(value)) for value in box)
    area = max(1, right - left) * max(1, bottom - top)
    inside = owner[max(0, top) : max(0, bottom), max(0, left) : max(0, right)]
    return float((inside == number).sum()) / area
