"""The data of the landmark network: teacher landmarks, mined false candidates, and seeded samples."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import cv2
import numpy as np
from numpy.typing import NDArray

from facerestore.degradation import BlurReduceNoise, degrade, preset
from facerestore.detection.landmark_frame import (
    CROP_SIZE,
    affine_from_landmarks,
    to_units,
)
from facerestore.errors import ConfigError, parse_json_object, read_text, refusing
from facerestore.imaging.alignment import (
    FFHQ_SIZE,
    FFHQ_TEMPLATE,
    compose_affine,
    resize_affine,
    transform_points,
    warp_to_crop,
)
from facerestore.imaging.pixels import LUMA, to_8_bit
from facerestore.training.data.datasets import DataSettings, FaceSource
from facerestore.training.data.face_files import FaceFile

if TYPE_CHECKING:
    from facerestore.types import Affine, FaceDetector

FACE_SIDE = 256  # largest cached face, px: the crop shows 360/512 of it, so 180 px become 64
CANVAS_MARGIN = 0.25  # of the face's side, so that a detector sees the whole head
TEACHER_SIDES = (
    320,
    448,
)  # sides the teacher sees the face at: eyes about 80 and 110 px apart, where it is best
MOST_LABEL_BYTES = 1 << 25  # of a file of landmarks: 32 MB are those of 100,000 faces
POSITIVE_SHARE = 0.6
MINED_SHARE = 0.65
MINED_DEGRADED_SHARE = 0.6
MINED_PER_PICTURE = 4
DEGRADED_SHARE = 0.5
FIRST_LOOK_SHARE = 0.55
FIRST_LOOK = (
    0.055 * CROP_SIZE,
    0.13,
    14.0,
)  # sigma of shift px, log scale, degrees: wider than the boxes of Haar cascades, measured
SECOND_LOOK = (0.02 * CROP_SIZE, 0.05, 4.0)  # what is left after one look
NEGATIVE_SIDE = (
    96  # px of a mined negative, which holds the 64 px crop and half as much again for shift and scale
)

# GFP-GAN's ranges and somewhat worse ones, seen in a crop whose 64 px show 360/512 of a face: a sigma of 10 px at 512
# is 14 here, and a reduction of 8 is one of 1.4.
CROP_DEGRADATION = BlurReduceNoise(
    name="landmark-crop",
    kernel_size_px=81,
    blur_sigma_px=(0.1, 15.0),
    downsample=(0.6, 3.0),
    noise_sigma=(0.0, 16.0),
    jpeg_quality=(45, 100),
)


@dataclass(frozen=True, slots=True, eq=False)
class LandmarkData:
    """What samples are made from.

    Attributes:
        faces: (N, S, S, 3) uint8 RGB, FFHQ-aligned.
        landmarks: (N, 5, 2) the teacher's landmarks in face px.
        negatives: (M, 96, 96) uint8 grey false candidates.
    """

    faces: NDArray[np.uint8]
    landmarks: NDArray[np.float64]
    negatives: NDArray[np.uint8]


@dataclass(frozen=True, slots=True, eq=False)
class Sample:
    """One training crop.

    Attributes:
        crop: (64, 64) float32 grey in [0, 1].
        points: (5, 2) float32 in the network's units; zeros where there is no face.
        is_face: whether the score should say face.
    """

    crop: NDArray[np.float32]
    points: NDArray[np.float32]
    is_face: bool


LandmarkSource: TypeAlias = Callable[[FaceFile, NDArray[np.uint8]], "NDArray[np.float64] | None"]
"""A file and its face, (S, S, 3) uint8 RGB, to the (5, 2) landmarks in px of that face, or None."""

Proposer: TypeAlias = Callable[[NDArray[np.uint8]], NDArray[np.float64]]
"""A picture, (H, W, 3) uint8 RGB, to the (N, 5, 2) landmarks in px of whatever might be a face in it."""


def prepare(
    files: Sequence[FaceFile], settings: DataSettings, find: LandmarkSource, *, propose: Proposer
) -> LandmarkData:
    """Return faces with their landmarks, at most 256 px large, and negatives mined from them.

    Faces without landmarks are left out.

    Args:
        files: the faces.
        settings: how they are read.
        find: gives their landmarks.
        propose: proposes faces, of which the false ones become negatives.

    Raises:
        ConfigError: none has any.
        ImageError: so many pictures cannot be used that the folder must be the wrong one.
    """
    faces, landmarks = labelled_faces(files, settings, find, side=min(settings.face_size, FACE_SIDE))
    return LandmarkData(faces, landmarks, mine_negatives(faces, np.random.default_rng(0), propose))


def labelled_faces(
    files: Sequence[FaceFile], settings: DataSettings, find: LandmarkSource, *, side: int
) -> tuple[NDArray[np.uint8], NDArray[np.float64]]:
    """Return the (N, side, side, 3) faces that have landmarks, and their (N, 5, 2) landmarks in px; see `prepare`."""
    if settings.max_reduction:
        raise ConfigError("landmarks are learnt from aligned faces; set data.max_reduction=0")
    source = FaceSource(files, settings)
    faces, landmarks = [], []
    for number, file in enumerate(files):
        read = source.read(number, np.random.default_rng(number))
        points = None if read is None else find(file, read[0])
        if read is not None and points is not None:
            face = read[0]
            if side != settings.face_size:
                face = np.asarray(
                    cv2.resize(face, (side, side), interpolation=cv2.INTER_AREA), dtype=np.uint8
                )
            faces.append(face)
            landmarks.append(transform_points(resize_affine(side / settings.face_size), points))
    if not faces:
        raise ConfigError(
            f"no landmarks for any of {len(files)} faces, such as '{files[0].place}'; give aligned portraits"
        )
    return np.stack(faces), np.stack(landmarks)


def by_teacher(teacher: FaceDetector) -> LandmarkSource:
    """Return the source that asks a detector."""
    return lambda _, face: teacher_landmarks(face, teacher)


def by_labels(path: Path) -> LandmarkSource:
    """Return the source that looks landmarks up in a JSON file, ``{"set/name": [[x, y], ...]}``.

    The five points, image-left first, are shares of the picture's side: its left and upper edges are 0, its right and
    lower edges 1.

    Raises:
        ConfigError: the file cannot be read, or holds anything else.
    """
    with refusing(
        lambda why: ConfigError(
            f"landmarks '{path}' cannot be read ({why}); give JSON such as"
            ' {"set/name": [[0.3, 0.4], ...]} with five points each'
        )
    ):
        labels = parse_json_object(read_text(path, most_bytes=MOST_LABEL_BYTES))
        points = {name: _five_points(found) for name, found in labels.items()}

    def find(file: FaceFile, face: NDArray[np.uint8]) -> NDArray[np.float64] | None:
        shares = points.get(f"{file.set_name}/{file.name}")
        return None if shares is None else shares * face.shape[0] - 0.5

    return find


def _five_points(found: Any) -> NDArray[np.float64]:
    points = np.asarray(found, dtype=np.float64)
    if points.shape != (5, 2) or not np.isfinite(points).all():
        raise ValueError(f"an entry has shape {points.shape}, not five points (x, y)")
    return points


def teacher_landmarks(face: NDArray[np.uint8], teacher: FaceDetector) -> NDArray[np.float64] | None:
    """Return the teacher's (5, 2) landmarks in px of a square ``face``, averaged over scales and mirror images."""
    found = []
    for side in TEACHER_SIDES:
        scaled = np.asarray(cv2.resize(face, (side, side), interpolation=cv2.INTER_AREA), dtype=np.uint8)
        for mirrored in (False, True):
            margin = round(side * CANVAS_MARGIN)
            seen = scaled[:, ::-1] if mirrored else scaled
            detected = teacher.detect(pad(seen, margin))
            if not detected:
                return None
            points = max(detected, key=lambda one: one.eye_distance_px).landmarks.astype(np.float64) - margin
            points = mirror_points(points, side) if mirrored else points
            found.append((points + 0.5) * (face.shape[0] / side) - 0.5)
    mean: NDArray[np.float64] = np.mean(found, axis=0)
    return mean


def pad(face: NDArray[np.uint8], margin: int) -> NDArray[np.uint8]:
    """Return ``face`` in a mid-grey canvas."""
    return np.pad(face, ((margin, margin), (margin, margin), (0, 0)), constant_values=128)


def mirror_points(points: NDArray[np.float64], width: int) -> NDArray[np.float64]:
    """Return (5, 2) points of the mirrored picture, image-left first again."""
    mirrored = points[[1, 0, 2, 4, 3]]
    return np.column_stack([width - 1 - mirrored[:, 0], mirrored[:, 1]])


def mine_negatives(
    faces: NDArray[np.uint8], rng: np.random.Generator, propose: Proposer
) -> NDArray[np.uint8]:
    """Return (M, 96, 96) grey crops of false positives.

    Mined from pictures where no upright face can be: the faces upside down, on their side, negated, with shuffled
    tiles, and fractal noise; and from the upright faces themselves, away from the face. Most are degraded first,
    since noise and compression are what faces are looked for in.
    """
    crops: list[NDArray[np.uint8]] = []
    for face in faces:
        grey = np.asarray(cv2.cvtColor(face, cv2.COLOR_RGB2GRAY), dtype=np.uint8)
        for number, clean in enumerate([grey, *_without_face(grey, rng)]):
            seen = np.repeat(clean[..., None], 3, axis=2)
            if rng.random() < MINED_DEGRADED_SHARE:
                seen = np.repeat(degrade(seen, preset("gfpgan"), rng)[0][..., :1], 3, axis=2)
            # Eyes nearer than a pixel do not say where a crop is.
            found = [points for points in propose(seen) if np.linalg.norm(points[1] - points[0]) >= 1]
            false = found if number else [points for points in found if _is_off_face(points, len(face))]
            chosen = rng.permutation(len(false))[:MINED_PER_PICTURE]
            crops += [_surroundings_of(seen, false[each]) for each in chosen]
    return np.stack(crops) if crops else np.empty((0, NEGATIVE_SIDE, NEGATIVE_SIDE), dtype=np.uint8)


def _without_face(grey: NDArray[np.uint8], rng: np.random.Generator) -> list[NDArray[np.uint8]]:
    """Return two pictures made from an upright face that show none."""
    size = grey.shape[0]
    tiles = grey.reshape(4, size // 4, 4, size // 4).swapaxes(1, 2).reshape(16, size // 4, size // 4)
    shuffled = (
        tiles[rng.permutation(16)].reshape(4, 4, size // 4, size // 4).swapaxes(1, 2).reshape(size, size)
    )
    made = [grey[::-1], np.rot90(grey, rng.choice([1, 3])), 255 - grey, shuffled, fractal_noise(size, rng)]
    return [np.ascontiguousarray(made[i]) for i in rng.permutation(len(made))[:2]]


def fractal_noise(size: int, rng: np.random.Generator) -> NDArray[np.uint8]:
    """Return a (size, size) grey texture of power-law spectrum, exponent 0.8 to 2, as natural textures have."""
    frequency = np.hypot(np.fft.fftfreq(size)[:, None], np.fft.rfftfreq(size)[None])
    frequency[0, 0] = 1.0
    spectrum = np.fft.rfft2(rng.standard_normal((size, size))) / frequency ** rng.uniform(0.8, 2.0)
    field = np.fft.irfft2(spectrum, s=(size, size))
    low, high = np.percentile(field, [1, 99])
    texture: NDArray[np.uint8] = np.clip((field - low) / (high - low) * 255, 0, 255).astype(np.uint8)
    return texture


def _is_off_face(points: NDArray[np.float64], face_size: int) -> bool:
    """Return whether (5, 2) points in an aligned face are not of the face: an eye distance away, or under half."""
    goal = FFHQ_TEMPLATE * (face_size / FFHQ_SIZE)
    eyes, seen = (float(np.linalg.norm(each[1] - each[0])) for each in (goal, points))
    shift = np.abs(points.mean(axis=0) - goal.mean(axis=0)).max()
    return bool(shift > eyes or seen < 0.5 * eyes)


def _surroundings_of(picture: NDArray[np.uint8], points: NDArray[np.float64]) -> NDArray[np.uint8]:
    """Return the (96, 96) surroundings of (5, 2) points in a picture, (H, W, 3), the network's crop in its middle."""
    margin = (NEGATIVE_SIDE - CROP_SIZE) / 2
    to_middle = np.array([[1.0, 0.0, margin], [0.0, 1.0, margin]])
    shifted = compose_affine(to_middle, affine_from_landmarks(points))
    return to_8_bit(warp_to_crop(picture, shifted, NEGATIVE_SIDE)[..., 0])


def make_sample(data: LandmarkData, seed: int, epoch: int, index: int) -> Sample:
    """Return one sample, a pure function of its arguments.

    Six in ten show face ``index`` modulo their number, perturbed as a first or as a second look would see it; the
    others show none: a mined false candidate, or a face too far off its place, size or turn to be called one.
    """
    rng = np.random.default_rng([seed, epoch, index])
    if rng.random() < POSITIVE_SHARE:
        return _face_sample(data, index % len(data.faces), rng)
    if len(data.negatives) and rng.random() < MINED_SHARE:
        crop = _mined_crop(data.negatives[rng.integers(len(data.negatives))], rng)
    else:
        other = int(rng.integers(len(data.faces)))
        affine = compose_affine(_misplacement(rng), affine_from_landmarks(data.landmarks[other]))
        crop = warp_to_crop(data.faces[other], affine, CROP_SIZE)
    return Sample(_photograph(crop, rng), np.zeros((5, 2), dtype=np.float32), is_face=False)


def _face_sample(data: LandmarkData, index: int, rng: np.random.Generator) -> Sample:
    landmarks = data.landmarks[index]
    affine = compose_affine(_placement(rng), affine_from_landmarks(landmarks))
    crop, points = warp_to_crop(data.faces[index], affine, CROP_SIZE), transform_points(affine, landmarks)
    if rng.random() < 0.5:
        crop, points = crop[:, ::-1], mirror_points(points, CROP_SIZE)
    return Sample(_photograph(crop, rng), to_units(points), is_face=True)


def _placement(rng: np.random.Generator) -> Affine:
    """Return how far a crop is off: widely, as a first guess is, or little, as after one look."""
    shift, log_scale, degrees = FIRST_LOOK if rng.random() < FIRST_LOOK_SHARE else SECOND_LOOK
    draws = np.clip(rng.standard_normal(4), -3, 3)
    return _about_centre(np.exp(draws[0] * log_scale), draws[1] * degrees, draws[2:] * shift)


def _misplacement(rng: np.random.Generator) -> Affine:
    """Return a placement no longer a face: shifted by 0.35 crops or more, half or twice the size, or turned by 75."""
    scale, degrees, shift = np.exp(rng.normal(0, 0.15)), rng.normal(0, 15), rng.normal(0, 0.06, 2)
    kind = rng.integers(4)
    if kind == 0:
        angle = rng.uniform(-np.pi, np.pi)
        shift = rng.uniform(0.4, 0.9) * np.array([np.cos(angle), np.sin(angle)])
    elif kind == 1:
        scale = rng.uniform(0.3, 0.5)
    elif kind == 2:
        scale, shift = rng.uniform(2.0, 4.0), rng.uniform(-0.8, 0.8, 2)
    else:
        degrees = rng.uniform(75, 285)
    return _about_centre(scale, degrees, shift * CROP_SIZE)


def _about_centre(scale: float, degrees: float, shift: NDArray[np.float64]) -> Affine:
    """Return a scaling and a turn about the crop's centre, then a shift in px."""
    angle, middle = np.deg2rad(degrees), (CROP_SIZE - 1) / 2
    linear = scale * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    return np.column_stack([linear, middle + shift - linear @ (middle, middle)])


def _mined_crop(negative: NDArray[np.uint8], rng: np.random.Generator) -> NDArray[np.float32]:
    margin = (NEGATIVE_SIDE - CROP_SIZE) / 2
    to_crop = np.array([[1.0, 0.0, -margin], [0.0, 1.0, -margin]])
    picture = np.repeat(negative[..., None], 3, axis=2)
    if rng.random() < 0.5:
        picture = np.ascontiguousarray(picture[:, ::-1])
    return warp_to_crop(picture, compose_affine(_placement(rng), to_crop), CROP_SIZE)


def _photograph(crop: NDArray[np.float32], rng: np.random.Generator) -> NDArray[np.float32]:
    """Return the grey crop as a worse camera, light or hand might have left it."""
    seen = to_8_bit(crop)
    if rng.random() < DEGRADED_SHARE:
        seen, _, _ = degrade(np.ascontiguousarray(seen), CROP_DEGRADATION, rng)
    grey = (seen.astype(np.float32) / 255) @ LUMA
    grey = np.clip(grey, 0, 1) ** np.float32(np.exp(rng.normal(0, 0.3)))
    if rng.random() < 0.3:  # light from one side
        x, y = np.meshgrid(*[np.linspace(-1, 1, CROP_SIZE, dtype=np.float32)] * 2)
        grey = grey * (1 + rng.uniform(-0.4, 0.4) * x + rng.uniform(-0.4, 0.4) * y)
    if rng.random() < 0.2:  # a hand, a hat, a microphone
        left, top = rng.integers(0, CROP_SIZE, 2)
        width, height = rng.integers(6, CROP_SIZE // 2, 2)
        grey[top : top + height, left : left + width] = rng.random()
    return np.clip(grey, 0, 1).astype(np.float32)
