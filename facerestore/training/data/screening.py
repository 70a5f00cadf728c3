"""Screens faces for training: measures each aligned crop, and gives the reason where it is dropped."""

from __future__ import annotations

import io
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image as PillowImage
from PIL import ImageCms

from facerestore.errors import ConfigError
from facerestore.fields import option
from facerestore.imaging.alignment import (
    FFHQ_SIZE,
    FFHQ_TEMPLATE,
    affine_scale,
    align_face,
    estimate_similarity,
    invert_affine,
    transform_points,
)
from facerestore.imaging.pixels import to_8_bit
from facerestore.quality.judge import assess
from facerestore.types import AlignedFace, DecodedImage, DetectedFace

SIDES_PX = (2048, 1024, 768, 512, 384, 288, 256, 192, 128, 64)
"""Sides that crops have, so that a face is never enlarged and there are few sizes."""
SLACK = 1.005
"""Enlargement that counts as none: landmarks are not known better than that."""
HASH_SIDE = 16
GRID = 32
"""Points along each axis that are tested for lying in the photo."""
REASONS = ("small", "cut", "turned", "blurred", "noisy", "blocky", "duplicate")
"""Why a face may be dropped, in the order of the checks."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Screening:
    """What a face must be like to be kept.

    Of 180 aligned portraits that are good to learn from, a third of them synthetic and softer, the worst has edges of
    1.72 px, noise of 4.5 levels, blocks of 1.19 and a turn of 0.33; the defaults keep all of them.

    Attributes:
        largest_px: largest side of a crop.
        smallest_px: smallest side; a face that would have to be enlarged to it is dropped.
        max_outside: largest share of the crop that lies outside the photo, where the photo is mirrored.
        max_turn: largest distance of the nose from the middle of the eyes, along the line through them, over their
            distance: 0 is frontal.
        max_blur_px: widest edges, crop pixels.
        max_noise: strongest noise, levels of 255.
        max_blockiness: strongest JPEG blocks; 1 is none.
        duplicate_bits: two faces whose 256-bit hashes differ in so many bits or fewer are one picture. Of 1.2 million
            pairs of different faces none comes below 34; of pictures re-compressed, dimmed, shifted, turned and scaled
            a little, 96% stay within 30.
    """

    largest_px: int = option(512, least=64)
    smallest_px: int = option(256, least=64)
    max_outside: float = option(0.1, least=0, most=1)
    max_turn: float = option(0.4, least=0)
    max_blur_px: float = option(1.75, above=0)
    max_noise: float = option(5.0, least=0)
    max_blockiness: float = option(1.25, least=1)
    duplicate_bits: int = option(30, least=0, most=256)


@dataclass(frozen=True, slots=True)
class Measures:
    """What was measured on a face.

    Attributes:
        side_px: side of its crop; 0 where it is too small for any.
        resolved_px: side at which a crop is neither enlarged nor reduced: what the photo really shows.
        eye_distance_px: in the photo.
        turn: see :class:`Screening`.
        outside: share of the crop that lies outside the photo.
        blur_px: sigma of the edges, crop pixels.
        noise: standard deviation, levels of 255.
        blockiness: strength of JPEG blocks.
        fingerprint: 256-bit difference hash, hexadecimal.
    """

    side_px: int
    resolved_px: float
    eye_distance_px: float
    turn: float
    outside: float
    blur_px: float
    noise: float
    blockiness: float
    fingerprint: str


def sides_of(screening: Screening) -> tuple[int, ...]:
    """Return the sides that crops may have, largest first.

    Raises:
        ConfigError: there is none.
    """
    sides = {*SIDES_PX, screening.largest_px, screening.smallest_px}
    allowed = sorted((s for s in sides if screening.smallest_px <= s <= screening.largest_px), reverse=True)
    if not allowed:
        raise ConfigError(
            f"the smallest crop is to be {screening.smallest_px} px and the largest {screening.largest_px} px; turn"
            " them round"
        )
    return tuple(allowed)


def measure(
    image: DecodedImage, detected: DetectedFace, screening: Screening
) -> tuple[Measures, NDArray[np.uint8]]:
    """Return the measures of a face, and its crop, (S, S, 3) uint8 RGB in sRGB.

    The crop has the largest side at which nothing is enlarged; that of a face too small for any has the smallest.

    Raises:
        ConfigError: the landmarks are degenerate.
        ImageError: the face lies wholly outside the photo.
    """
    resolved_px = FFHQ_SIZE * affine_scale(
        invert_affine(estimate_similarity(detected.landmarks, FFHQ_TEMPLATE))
    )
    fitting = [side for side in sides_of(screening) if side <= resolved_px * SLACK]
    aligned = align_face(image.pixels, detected, fitting[0] if fitting else screening.smallest_px)
    quality = assess(aligned)
    crop = to_8_bit(aligned.lq)
    icc = None if image.grey else image.metadata.icc
    crop = crop if icc is None else _to_srgb(crop, icc)
    measures = Measures(
        side_px=fitting[0] if fitting else 0,
        resolved_px=round(resolved_px, 1),
        eye_distance_px=round(detected.eye_distance_px, 2),
        turn=round(turn(detected), 4),
        outside=round(_share_outside(aligned, image.pixels.shape), 4),
        blur_px=round(quality.blur_px, 3),
        noise=round(quality.noise_sigma, 3),
        blockiness=round(quality.blockiness, 3),
        fingerprint=fingerprint(crop),
    )
    return measures, crop


def turn(detected: DetectedFace) -> float:
    """Return how far a face is turned to the side: see :class:`Screening`."""
    left, right, nose = detected.landmarks[:3].astype(np.float64)
    across = right - left
    return float(abs((nose - (left + right) / 2) @ across) / (across @ across))


def _share_outside(aligned: AlignedFace, shape: tuple[int, ...]) -> float:
    """Return the share of a crop that lies outside a photo of that shape."""
    places = (np.arange(GRID) + 0.5) * aligned.lq.shape[0] / GRID - 0.5
    points = np.stack(np.meshgrid(places, places), axis=-1).reshape(-1, 2)
    x, y = transform_points(invert_affine(aligned.affine), points).T
    inside = (x > -0.5) & (x < shape[1] - 0.5) & (y > -0.5) & (y < shape[0] - 0.5)
    return 1 - float(inside.mean())


def _to_srgb(crop: NDArray[np.uint8], icc: bytes) -> NDArray[np.uint8]:
    """Return a crop in sRGB; as it is where its profile is none that fits RGB."""
    try:
        profile = ImageCms.ImageCmsProfile(io.BytesIO(icc))
        converted = ImageCms.profileToProfile(
            PillowImage.fromarray(crop), profile, ImageCms.createProfile("sRGB"), outputMode="RGB"
        )
    except (ImageCms.PyCMSError, OSError):
        return crop
    return crop if converted is None else np.array(converted, dtype=np.uint8)


def fingerprint(crop: NDArray[np.uint8]) -> str:
    """Return the 256-bit difference hash of a face: which of 16 x 17 cells is lighter than its left neighbour.

    The usual 64 bits are too few for aligned faces, which are all alike: different people come within 3 of them.
    """
    grey = cv2.cvtColor(crop, cv2.COLOR_RGB2GRAY)
    cells = np.asarray(
        cv2.resize(grey, (HASH_SIDE + 1, HASH_SIDE), interpolation=cv2.INTER_AREA), dtype=np.int16
    )
    return np.packbits(cells[:, 1:] > cells[:, :-1]).tobytes().hex()


class Seen:
    """The fingerprints of the faces that were kept.

    Args:
        bits: how many may differ between two fingerprints of one picture.
    """

    def __init__(self, bits: int) -> None:
        self._bits = bits
        self._names: list[str] = []
        self._prints = np.zeros((1024, HASH_SIDE**2 // 8), np.uint8)

    def same_as(self, own: str) -> str | None:
        """Return the name of the most similar face that is the same picture, or None."""
        if not self._names:
            return None
        differences = _BITS_SET[self._prints[: len(self._names)] ^ _to_bytes(own)].sum(axis=1)
        nearest = int(differences.argmin())
        return self._names[nearest] if differences[nearest] <= self._bits else None

    def add(self, name: str, own: str) -> None:
        """Remember a face."""
        if len(self._names) == len(self._prints):
            self._prints = np.concatenate([self._prints, np.zeros_like(self._prints)])
        self._prints[len(self._names)] = _to_bytes(own)
        self._names.append(name)


_BITS_SET = np.array([bin(value).count("1") for value in range(256)], dtype=np.uint16)


def _to_bytes(own: str) -> NDArray[np.uint8]:
    return np.frombuffer(bytes.fromhex(own), dtype=np.uint8)


def fault(measures: Measures, screening: Screening, seen: Seen) -> tuple[str, str]:
    """Return the first reason against a face, of ``REASONS``, and the numbers; empty texts for a good one."""
    if not measures.side_px:
        return "small", f"{measures.resolved_px:.1f} px of {screening.smallest_px}"
    limits = (
        ("cut", measures.outside, screening.max_outside, f"{measures.outside:.0%} outside the photo"),
        ("turned", measures.turn, screening.max_turn, f"turn {measures.turn:.2f}"),
        ("blurred", measures.blur_px, screening.max_blur_px, f"edges {measures.blur_px:.2f} px"),
        ("noisy", measures.noise, screening.max_noise, f"noise {measures.noise:.1f}"),
        ("blocky", measures.blockiness, screening.max_blockiness, f"blocks {measures.blockiness:.2f}"),
    )
    for reason, value, limit, text in limits:
        if value > limit:
            return reason, text
    twin = seen.same_as(measures.fingerprint)
    return ("duplicate", f"of {twin}") if twin is not None else ("", "")
