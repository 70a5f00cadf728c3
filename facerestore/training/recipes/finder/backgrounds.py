"""Pictures without a face, for composites: off the face of portraits, textures, shapes, text, and pictures given."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from facerestore.errors import ConfigError
from facerestore.imaging.pixels import in_8_bits
from facerestore.io import find_images, read_image
from facerestore.training.recipes.landmarks.data import fractal_noise

Picture = NDArray[np.uint8]
"""(H, W, 3) RGB."""

BANK_SIDE_PX = 320  # of a background in the bank; crops of half to all of it fill a training picture
LARGEST_SIDE_PX = (
    640  # pictures that were given are reduced to this, so that their things are as large as in a photo
)
BANK_SIZE = 900  # about 280 MB
GIVEN_SHARE = 0.3
MADE_SHARE = 0.3  # the rest shows what is beside the faces
CELL_RANGE = (48, 160)  # px of the pieces that a mosaic is made of
WORDS = "the quick brown fox OPEN 1927 Hotel Street no. 42 & co. news facts 0:8 :-) (o_o) lorem ipsum dolor"


def read_backgrounds(folder: Path) -> list[Picture]:
    """Return the pictures of a folder, which show no face, at most 640 px large.

    Raises:
        ConfigError: it holds no picture.
        ImageError: it is not there, or a picture cannot be read.
    """
    pictures = [read_image(path).pixels for path in find_images(folder, recursive=True)]
    if not pictures:
        raise ConfigError(f"no picture in '{folder}'; give a folder of pictures without a face")
    return [_in_bank_size(pixels) for pixels in pictures]


def _in_bank_size(pixels: NDArray[np.uint8] | NDArray[np.uint16]) -> Picture:
    plain = in_8_bits(pixels)
    factor = max(min(1.0, LARGEST_SIDE_PX / max(plain.shape[:2])), BANK_SIDE_PX / min(plain.shape[:2]))
    size = (
        max(BANK_SIDE_PX, round(plain.shape[1] * factor)),
        max(BANK_SIDE_PX, round(plain.shape[0] * factor)),
    )
    return np.asarray(cv2.resize(plain, size, interpolation=cv2.INTER_AREA), dtype=np.uint8)


def make_bank(
    faces: NDArray[np.uint8], given: Sequence[Picture], rng: np.random.Generator, *, size: int = BANK_SIZE
) -> NDArray[np.uint8]:
    """Return (size, 320, 320, 3) pictures without a face.

    Args:
        faces: (N, S, S, 3) FFHQ-aligned portraits.
        given: pictures without a face.
        rng: source of every choice.
        size: how many.
    """
    makers: list[Callable[[np.random.Generator], Picture]] = [
        _draw_texture,
        _draw_shapes,
        _draw_text,
        _draw_stripes,
    ]
    bank = np.empty((size, BANK_SIDE_PX, BANK_SIDE_PX, 3), dtype=np.uint8)
    for number in range(size):
        kind = rng.random()
        if given and kind < GIVEN_SHARE:
            bank[number] = _random_square(given[int(rng.integers(len(given)))], rng)
        elif kind < GIVEN_SHARE + MADE_SHARE:
            bank[number] = makers[int(rng.integers(len(makers)))](rng)
        else:
            bank[number] = _of_portraits(faces, rng)
    return bank


def _random_square(picture: Picture, rng: np.random.Generator) -> Picture:
    """Return a random square of a picture, turned and mirrored at random."""
    side = int(rng.integers(BANK_SIDE_PX // 3, min(picture.shape[:2]) + 1))
    top, left = (int(rng.integers(0, length - side + 1)) for length in picture.shape[:2])
    square = np.rot90(picture[top : top + side, left : left + side], int(rng.integers(4)))
    return _to_bank_size(square[:, :: rng.choice([1, -1])])


def _to_bank_size(picture: NDArray[np.uint8]) -> Picture:
    interpolation = cv2.INTER_AREA if len(picture) > BANK_SIDE_PX else cv2.INTER_LINEAR
    resized = cv2.resize(
        np.ascontiguousarray(picture), (BANK_SIDE_PX, BANK_SIDE_PX), interpolation=interpolation
    )
    return np.asarray(resized, dtype=np.uint8)


def _of_portraits(faces: NDArray[np.uint8], rng: np.random.Generator) -> Picture:
    """Return a mosaic of what lies beside faces, one such piece, or a face in shuffled tiles."""
    kind, face = rng.random(), faces[rng.integers(len(faces))]
    if kind < 0.25:
        return _to_bank_size(_shuffled_tiles(face, rng))
    if kind < 0.6:
        return _to_bank_size(beside_face(face, rng))
    cell = int(rng.integers(*CELL_RANGE))
    bank = np.empty((BANK_SIDE_PX, BANK_SIDE_PX, 3), dtype=np.uint8)
    for top in range(0, BANK_SIDE_PX, cell):
        for left in range(0, BANK_SIDE_PX, cell):
            piece = beside_face(faces[rng.integers(len(faces))], rng)
            room = bank[top : top + cell, left : left + cell]
            room[:] = cv2.resize(piece, (cell, cell), interpolation=cv2.INTER_AREA)[
                : room.shape[0], : room.shape[1]
            ]
    return bank


def beside_face(face: NDArray[np.uint8], rng: np.random.Generator) -> Picture:
    """Return a square from the left, the right or the lower edge of an FFHQ-aligned portrait.

    The face takes the middle 65% of the width, and ends at 87% of the height (box of the detector's frame).
    """
    size = len(face)
    side = int(size * rng.uniform(0.1, 0.17))
    top = int(rng.uniform(0, size - side))
    place = rng.integers(3)
    if place == 2:
        top, left = size - side, int(rng.uniform(0, size - side))
    else:
        left = 0 if place == 0 else size - side
    piece = np.rot90(face[top : top + side, left : left + side], int(rng.integers(4)))
    return np.ascontiguousarray(piece)


def _shuffled_tiles(face: NDArray[np.uint8], rng: np.random.Generator) -> Picture:
    """Return a face cut into 5 x 5 tiles that lie where they do not belong, each turned."""
    side = len(face) // 5
    tiles = [face[y * side : (y + 1) * side, x * side : (x + 1) * side] for y in range(5) for x in range(5)]
    order = rng.permutation(25)
    rows = [
        np.concatenate([np.rot90(tiles[order[5 * y + x]], int(rng.integers(1, 4))) for x in range(5)], axis=1)
        for y in range(5)
    ]
    return np.concatenate(rows)


def _draw_colour(rng: np.random.Generator) -> tuple[int, int, int]:
    """Return any colour, or that of some skin."""
    if rng.random() < 0.4:
        light = rng.uniform(0.25, 1.0)
        red, green, blue = (
            255 * light,
            200 * light * rng.uniform(0.8, 1.05),
            170 * light * rng.uniform(0.7, 1.1),
        )
        return int(red), int(green), int(blue)
    red, green, blue = (int(value) for value in rng.integers(0, 256, 3))
    return red, green, blue


def _draw_gradient(rng: np.random.Generator) -> Picture:
    """Return a gradient between two colours."""
    along = np.linspace(0, 1, BANK_SIDE_PX)[:, None, None]
    gradient = np.array(_draw_colour(rng)) * along + np.array(_draw_colour(rng)) * (1 - along)
    square = np.broadcast_to(gradient, (BANK_SIDE_PX, BANK_SIDE_PX, 3))
    return np.ascontiguousarray(np.rot90(square, int(rng.integers(4)))).astype(np.uint8)


def _draw_texture(rng: np.random.Generator) -> Picture:
    """Return fractal noise between two colours."""
    share = fractal_noise(BANK_SIDE_PX, rng)[..., None] / 255
    return (np.array(_draw_colour(rng)) * share + np.array(_draw_colour(rng)) * (1 - share)).astype(np.uint8)


def _draw_shapes(rng: np.random.Generator) -> Picture:
    """Return ellipses, rectangles and lines, soft or sharp: balls, hands, wheels, windows."""
    picture = _draw_gradient(rng) if rng.random() < 0.6 else _draw_texture(rng)
    for _ in range(rng.integers(4, 40)):
        x, y = (int(value) for value in rng.integers(0, BANK_SIDE_PX, 2))
        wide, high = (int(value) for value in np.exp(rng.uniform(1.0, 4.6, 2)))
        thickness, kind = (-1 if rng.random() < 0.6 else int(rng.integers(1, 6))), rng.random()
        if kind < 0.5:
            turn = float(rng.uniform(0, 180))
            cv2.ellipse(
                picture, (x, y), (wide, high), turn, 0, 360, _draw_colour(rng), thickness, cv2.LINE_AA
            )
        elif kind < 0.75:
            cv2.rectangle(picture, (x, y), (x + wide, y + high), _draw_colour(rng), thickness)
        else:
            end = tuple(int(value) for value in rng.integers(0, BANK_SIDE_PX, 2))
            cv2.line(picture, (x, y), end, _draw_colour(rng), int(rng.integers(1, 8)), cv2.LINE_AA)
    soft = float(rng.choice([0.0, 1.0, 3.0]))
    return picture if soft == 0 else np.asarray(cv2.GaussianBlur(picture, (0, 0), soft), dtype=np.uint8)


def _draw_text(rng: np.random.Generator) -> Picture:
    """Return lines of words in one of OpenCV's fonts, upright or turned by a right angle."""
    picture, words = _draw_gradient(rng), WORDS.split()
    scale, colour = float(np.exp(rng.uniform(-1.2, 1.0))), _draw_colour(rng)
    font, step = int(rng.integers(0, 8)), max(8, int(34 * scale))
    for y in range(step, BANK_SIDE_PX + step, step):
        line = " ".join(rng.permutation(words)[:12].tolist())
        cv2.putText(
            picture, line, (-int(rng.integers(0, 60)), y), font, scale, colour, int(rng.integers(1, 4))
        )
    return np.ascontiguousarray(np.rot90(picture, int(rng.integers(2))))


def _draw_stripes(rng: np.random.Generator) -> Picture:
    """Return a periodic pattern: bars, tiles or dots."""
    y, x = np.mgrid[:BANK_SIDE_PX, :BANK_SIDE_PX].astype(np.float32)
    turn, period = rng.uniform(0, np.pi), np.exp(rng.uniform(1.2, 4.0))
    across = np.sin((x * np.cos(turn) + y * np.sin(turn)) * 2 * np.pi / period)
    along = np.sin((y * np.cos(turn) - x * np.sin(turn)) * 2 * np.pi / (period * rng.uniform(0.5, 2)))
    wave = across if rng.random() < 0.4 else across * along
    share = (wave > rng.uniform(-0.5, 0.5)).astype(np.float32) if rng.random() < 0.5 else (wave + 1) / 2
    mixed = np.array(_draw_colour(rng)) * share[..., None] + np.array(_draw_colour(rng)) * (
        1 - share[..., None]
    )
    return np.asarray(mixed, dtype=np.uint8)
