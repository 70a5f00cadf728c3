"""Faces drawn by a few lines of code: for whole runs without a single photograph, and for tests."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from facerestore.errors import ConfigError
from facerestore.face_parts import CLASS_NAMES
from facerestore.files import write_text_whole, written_whole
from facerestore.imaging.alignment import template
from facerestore.imaging.pixels import whole_levels

SKIN_TONES = ((255, 224, 196), (234, 192, 160), (198, 134, 96), (141, 85, 54), (92, 58, 40))
"""RGB of light to dark skin."""

MOUTH_HALF_WIDTH = 46.0
"""How far the corners of a drawn mouth are from its middle, px at 512: just inside the lips' ends."""


def drawn_face(face_size: int, rng: np.random.Generator) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Return a cartoon of a face, (S, S, 3) uint8 RGB in the FFHQ frame, and its (S, S) uint8 parsing map."""
    ids = {name: index for index, name in enumerate(CLASS_NAMES)}
    scale = face_size / 512
    eyes, nose, mouth = _drawn_places(rng)
    centre = (eyes.mean(axis=0) + mouth) / 2
    skin = np.array(SKIN_TONES[rng.integers(len(SKIN_TONES))]) * rng.uniform(0.85, 1.05)
    hair = rng.uniform(10, 140) * np.array([1.0, 0.8, 0.6])
    iris = rng.uniform(20, 120, 3)
    shapes: list[tuple[str, NDArray[np.float64], tuple[float, float], object]] = [
        ("cloth", _point_below(centre, 330), (260.0, 120.0), rng.uniform(0, 255, 3)),
        ("neck", _point_below(centre, 200), (75.0, 130.0), skin * 0.85),
        ("hair", _point_below(centre, -40), (165.0, 205.0), hair),
        ("skin", _point_below(centre, 10), (128.0, 170.0), skin),
        ("nose", nose, (22.0, 30.0), skin * 0.9),
        ("upper_lip", _point_below(mouth, -6), (48.0, 12.0), skin * (0.85, 0.6, 0.6)),
        ("lower_lip", _point_below(mouth, 7), (42.0, 13.0), skin * (0.9, 0.62, 0.62)),
    ]
    for side, eye in zip(("left", "right"), eyes, strict=True):
        shapes.append((f"{side}_brow", _point_below(eye, -34), (36.0, 8.0), hair * 0.8))
        shapes.append((f"{side}_eye", eye, (28.0, 14.0), np.full(3, 240.0)))
        shapes.append((f"{side}_eye", eye, (11.0, 12.0), iris))
    backdrop = np.linspace(rng.uniform(60, 200), rng.uniform(60, 200), face_size)[:, None, None]
    face = np.broadcast_to(backdrop, (face_size, face_size, 3)).astype(np.float32).copy()
    labels = np.zeros((face_size, face_size), np.uint8)
    for name, middle, axes, colour in shapes:
        box = (tuple((middle * scale).tolist()), (2 * axes[0] * scale, 2 * axes[1] * scale), 0.0)
        cv2.ellipse(face, box, np.asarray(colour, float).tolist(), -1, cv2.LINE_AA)
        cv2.ellipse(labels, box, ids[name], -1)
    light = 1 + 0.15 * np.linspace(-1, 1, face_size)[None, :, None] * rng.choice([-1, 1])
    grain = rng.normal(0, 2.5, face.shape)
    return whole_levels(face * light + grain), labels


def drawn_landmarks(face_size: int, rng: np.random.Generator) -> NDArray[np.float64]:
    """Return the (5, 2) landmarks, px, of the face that :func:`drawn_face` draws from an equal generator."""
    eyes, nose, mouth = _drawn_places(rng)
    corners = mouth + np.array([[-MOUTH_HALF_WIDTH, 0.0], [MOUTH_HALF_WIDTH, 0.0]])
    points: NDArray[np.float64] = np.stack([*eyes, nose, *corners]) * (face_size / 512)
    return points


def _drawn_places(
    rng: np.random.Generator,
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Return the eyes, the nose and the middle of the mouth, px at 512."""
    points = template(512) + rng.normal(0, 4, (5, 2))
    return points[:2], points[2], points[3:].mean(axis=0)


def _point_below(point: NDArray[np.float64], distance: float) -> NDArray[np.float64]:
    below: NDArray[np.float64] = point + np.array([0.0, distance])
    return below


def write_drawn_faces(folder: Path, *, count: int, face_size: int) -> tuple[Path, Path]:
    """Write ``faces/drawn/*.png``, ``parsing/drawn/*.png`` and ``landmarks.json`` below ``folder``.

    Several processes may write the same faces at the same time: each file is whole whenever it is there.

    Returns:
        The folders of faces and of parsing maps.

    Raises:
        ConfigError: a file or a folder cannot be written.
    """
    faces, maps = folder / "faces", folder / "parsing"
    try:
        _write_all(folder, faces, maps, count=count, face_size=face_size)
    except OSError as error:
        raise ConfigError(
            f"'{folder}' cannot be written ({error.strerror}); give a folder elsewhere, or free some space"
        ) from error
    return faces, maps


def _write_all(folder: Path, faces: Path, maps: Path, *, count: int, face_size: int) -> None:
    for place in (faces, maps):
        (place / "drawn").mkdir(parents=True, exist_ok=True)
    shares = {}
    for index in range(count):
        name, key = f"drawn/{index:04d}", [0, index]
        face, labels = drawn_face(face_size, np.random.default_rng(key))
        _write_picture(faces / f"{name}.png", face)
        _write_picture(maps / f"{name}.png", labels)
        points = drawn_landmarks(face_size, np.random.default_rng(key))
        shares[name] = ((points + 0.5) / face_size).round(5).tolist()
    write_text_whole(landmarks_file(folder), json.dumps(shares) + "\n")


def landmarks_file(folder: Path) -> Path:
    """Return where :func:`write_drawn_faces` puts the landmarks, for ``data.landmarks``."""
    return folder / "landmarks.json"


def _write_picture(path: Path, pixels: NDArray[np.uint8]) -> None:
    with written_whole(path) as stream:
        Image.fromarray(pixels).save(stream, format="PNG")
