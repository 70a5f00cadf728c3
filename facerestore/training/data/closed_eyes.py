"""Samples of closed eyes: degraded faces, the eyes of a share of them shut, with whether they are closed."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from facerestore.degradation import apply
from facerestore.errors import ConfigError, ImageError
from facerestore.face_parts import CLASS_NAMES
from facerestore.training.data import streams
from facerestore.training.data.datasets import DataSettings, FaceFile, PairDataset, face_to_tensor
from facerestore.training.data.samples import Batch

EYES = tuple(CLASS_NAMES.index(name) for name in ("left_eye", "right_eye"))

CLOSED = 0.105
"""Openness below which eyes count as closed. Of 1,636 portraits the 72 with the lowest were looked at: closed ones have
0.048 to 0.104 but for three whose heads are turned, all others 0.112 and more but for one."""

LEAST_EYE_PX = 20
"""Smallest labelled eye that can be shut, pixels of the map."""

BESIDE, BELOW = 0.024, 0.016
"""How far around an eye the lids move, and below it, shares of the face."""


def openness(parsing_map: NDArray[np.uint8]) -> float | None:
    """Return the area of the eyes over the square of their width, the mean of both; None where none is labelled."""
    found = []
    for eye in EYES:
        columns = (parsing_map == eye).sum(axis=0)
        seen = np.flatnonzero(columns)
        if len(seen):
            found.append(float(columns.sum()) / float(seen[-1] - seen[0] + 1) ** 2)
    return float(np.mean(found)) if found else None


def shut(
    face: NDArray[np.uint8], parsing_map: NDArray[np.uint8], rng: np.random.Generator
) -> NDArray[np.uint8] | None:
    """Return a face with its eyes shut: the skin above each is drawn down over it, and lashes along its edge.

    Args:
        face: (S, S, 3) RGB.
        parsing_map: (S, S) ids, in which both eyes are labelled; else None is returned.
        rng: of the lids and lashes.
    """
    for eye in EYES:
        found = _lids(parsing_map == eye)
        if found is None:
            return None
        face = _shut_one(face, *found, rng)
    return face


def _lids(eye: NDArray[np.bool_]) -> tuple[NDArray[np.intp], NDArray[np.float64], NDArray[np.float64]] | None:
    """Return columns over an eye and a little beyond, and the edges of its upper and its lower lid there."""
    seen, margin = np.flatnonzero(eye.any(axis=0)), round(BESIDE * len(eye))
    if eye.sum() < LEAST_EYE_PX or seen[0] < margin + 1 or seen[-1] > len(eye) - margin - 2:
        return None
    tops, bottoms = eye.argmax(axis=0)[seen], len(eye) - 1 - eye[::-1].argmax(axis=0)[seen]
    columns = np.arange(seen[0] - margin, seen[-1] + margin + 1)
    corners = [(tops[end] + bottoms[end]) / 2 for end in (0, -1)]
    at = np.concatenate([columns[:1], seen, columns[-1:]])
    edges = [
        cv2.blur(np.interp(columns, at, [corners[0], *lid, corners[1]])[:, None], (1, 5)).ravel()
        for lid in (tops, bottoms)
    ]
    return columns, edges[0], edges[1]


def _shut_one(
    face: NDArray[np.uint8],
    columns: NDArray[np.intp],
    upper: NDArray[np.float64],
    lower: NDArray[np.float64],
    rng: np.random.Generator,
) -> NDArray[np.uint8]:
    size = len(face)
    edge = upper + (lower - upper) * rng.uniform(0.75, 1.05)
    unit, above = size / 256, rng.uniform(4, 8) * size / 256
    rows = np.arange(size, dtype=np.float64)[:, None]
    top, end, below = upper - above, np.maximum(edge + 0.5, upper - above + 1), lower + BELOW * size
    drawn_down = top + (rows - top) / (end - top) * np.maximum(above - 1.8 * unit, 0.5)
    drawn_up = lower + 1.8 * unit + (rows - end) * (BELOW * size - 1.8 * unit) / np.maximum(below - end, 1e-3)
    source = np.where((rows >= top) & (rows <= end), drawn_down, rows)
    source = np.where((rows > end) & (rows < below), drawn_up, source)
    map_x, map_y = np.meshgrid(np.arange(size, dtype=np.float32), np.arange(size, dtype=np.float32))
    map_y[:, columns] = source
    moved = cv2.remap(face, map_x, cv2.GaussianBlur(map_y, (5, 1), 0), cv2.INTER_LINEAR)
    zone, line = np.zeros((size, size), np.float32), np.zeros((size, size), np.float32)
    around = [*zip(columns, top - 1, strict=True), *zip(columns[::-1], below[::-1] + 1, strict=True)]
    cv2.fillPoly(zone, [np.array(around, dtype=np.int32)], 1.0)
    lashes = np.stack([columns, edge], axis=1)[len(columns) // 12 : -(len(columns) // 12) or None]
    thick = max(1, round(rng.uniform(0.8, 2.8) * unit))
    cv2.polylines(line, [np.rint(lashes * 16).astype(np.int32)], False, 1.0, thick, cv2.LINE_AA, 4)
    around_eye, dark = (cv2.GaussianBlur(mask, (0, 0), 1.2 * unit)[..., None] for mask in (zone, line))
    colour = np.median(moved[around_rows(upper, above), columns[0] : columns[-1]].reshape(-1, 3), axis=0)
    result = face + (moved.astype(np.float32) - face) * around_eye
    dark = np.clip(dark * rng.uniform(0.8, 1.5), 0, 0.95)
    result = result + (colour * rng.uniform(0.1, 0.35) - result) * dark
    return np.asarray(np.clip(np.rint(result), 0, 255), dtype=np.uint8)


def around_rows(upper: NDArray[np.float64], above: float) -> slice:
    """Return the rows of the skin above an eye."""
    return slice(int(upper.min() - above), int(upper.min()) + 1)


class EyesDataset(PairDataset):
    """Degraded faces with whether their eyes are closed, as their maps show it or since they were shut.

    Args:
        files: the faces.
        settings: how they are drawn and degraded; with maps, of which ``openness`` is taken.
        shut: share of the samples whose eyes are shut, where they are open and labelled.
        closed: share of the samples that are faces with closed eyes, where there are any.

    Raises:
        ConfigError: as :class:`PairDataset`; there are no maps, or faces are to be cut or degraded on the device.
    """

    def __init__(
        self, files: Sequence[FaceFile], settings: DataSettings, *, shut: float, closed: float
    ) -> None:
        if settings.crop_size or settings.max_reduction or settings.degrade_on == "device":
            raise ConfigError(
                "eyes are shut in whole faces by the CPU; set data.crop_size=0, data.max_reduction=0 and"
                " data.degrade_on=worker"
            )
        if not settings.parsing:
            raise ConfigError(
                "which eyes are closed is seen in parsing maps; give their folder with data.parsing"
            )
        super().__init__(files, settings)
        self._shut = shut
        self._closed_share = closed
        self._closed = [number for number in range(len(self)) if self._is_closed(number)] if closed else []

    def _is_closed(self, number: int) -> bool:
        try:
            found = openness(self.source.read_map(number))
        except ImageError:
            return False  # where the face is read, it is told
        return found is not None and found < CLOSED

    def _draw_face(self, rng: np.random.Generator) -> tuple[NDArray[np.uint8], NDArray[np.uint8] | None]:
        if self._closed and rng.random() < self._closed_share:
            found = self.source.read(int(rng.choice(self._closed)), rng)
            if found is not None:
                return found
        return super()._draw_face(rng)

    def __getitem__(self, position: int) -> Batch:
        """Return ``lq``, (3, S, S) float32 in [0, 1], and ``closed``, 1 or 0."""
        face, parsing_map = self.face(position)
        rng = np.random.default_rng([self._settings.seed, *divmod(position, len(self)), streams.EYES])
        return self._sample(face, parsing_map, position, rng)

    def _sample(
        self,
        face: NDArray[np.uint8],
        parsing_map: NDArray[np.uint8] | None,
        position: int,
        rng: np.random.Generator,
    ) -> Batch:
        assert parsing_map is not None, "there is a folder of them"
        seen = openness(parsing_map)
        closed = seen is not None and seen < CLOSED
        if not closed and rng.random() < self._shut and (lids := shut(face, parsing_map, rng)) is not None:
            face, closed = lids, True
        drawn, noise = self.degradation(position)
        lq = face if drawn is None else apply(face, drawn, noise)[0]
        return {"lq": face_to_tensor(lq), "closed": torch.tensor(float(closed))}

    def of_each(self) -> Batch:
        """Return a sample of each face as it is read, every other one shut, as one batch.

        Raises:
            ImageError: too many pictures cannot be used.
        """
        samples = []
        for number in range(len(self)):
            rng = np.random.default_rng([self._settings.seed, number, streams.EYES])
            found = self.source.read(number, rng)
            if found is not None:
                samples.append(self._sample(*found, number, rng))
        return {name: torch.stack([sample[name] for sample in samples]) for name in samples[0]}
