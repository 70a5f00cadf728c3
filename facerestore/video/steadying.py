"""What restoring adds to a face, averaged along its motion, so that it does not flicker."""

from __future__ import annotations

import math
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from facerestore.types import FaceImage

MEMORY_S = 0.5
"""Time constant of the average; half as long leaves 6% more flicker (``benchmarks/flicker.py``)."""

BASE_SIGMA = 0.04
"""Low-pass of the input under what is added, of the crop's side: coarser than noise and blocks, finer than light."""

LOOK_SIGMA = 0.012
"""Low-pass of the inputs that are compared: coarser than noise, finer than a lid."""

TRUST_LEVELS = 7.0
"""Difference of two inputs so compared along the motion, levels of 255, at which the past counts 1/e as much."""


class _Past(NamedTuple):
    """What is kept of the frame before.

    Attributes:
        added: the averaged residual.
        weight: how many frames it stands for, pixel by pixel.
        look: the input as it is compared.
        guide: brightness, by which motion is sought.
    """

    added: NDArray[Any]
    weight: NDArray[Any]
    look: NDArray[Any]
    guide: NDArray[np.uint8]


class Steadying(Protocol):
    """Steadies one face from frame to frame."""

    def __call__(self, restored: FaceImage, lq: FaceImage, lapse_s: float, /) -> FaceImage:
        """Return the face to paste, given those before."""
        ...

    def forget(self) -> None:
        """Begin anew: the next face does not come right after the last."""
        ...


class Steadier:
    """Averages the residual of one face from frame to frame."""

    def __init__(self) -> None:
        self._past: _Past | None = None

    def forget(self) -> None:
        """Begin anew."""
        self._past = None

    def __call__(self, restored: FaceImage, lq: FaceImage, lapse_s: float) -> FaceImage:
        """Return a restored face with its residual averaged with those before, along the motion.

        The residual is what the network has added to the low-passed input. So a change of the light is followed at
        once, and the noise of the input, which the network has removed, does not come back with the past. The past
        counts where the inputs agree along the motion, and not where something has come between or an eye has closed.

        Args:
            restored: (S, S, 3) float32 RGB in [0, 1].
            lq: (S, S, 3) float32 RGB in [0, 1], the input.
            lapse_s: time since the frame before.
        """
        import cv2

        base, look = (cv2.GaussianBlur(lq, (0, 0), sigma * lq.shape[0]) for sigma in (BASE_SIGMA, LOOK_SIGMA))
        guide = _guide(restored)
        added = restored - base
        weight, before = np.ones(lq.shape[:2], np.float32), self._past
        if before is not None and before.added.shape == added.shape and lapse_s > 0:
            grid = _motion(guide, before.guide)
            past = cv2.remap(before.added, *grid, cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)
            was, held = (
                cv2.remap(each, *grid, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
                for each in (before.look, before.weight)
            )
            apart = 255 * np.abs(look - was).mean(axis=2) / TRUST_LEVELS
            trusted = cv2.GaussianBlur(np.exp(-np.square(apart)), (0, 0), 2.0) * held
            share = np.minimum(trusted, 1 / math.expm1(lapse_s / MEMORY_S))
            weight = 1 + share
            added = added + (share / weight)[..., None] * (past - added)
        self._past = _Past(added, weight, look, guide)
        return np.clip(base + added, 0, 1).astype(np.float32)


def _guide(face: FaceImage) -> NDArray[np.uint8]:
    """Return the (S, S) brightness by which motion is sought: of the restored face, which has no noise."""
    import cv2

    grey: NDArray[np.uint8] = np.round(255 * cv2.cvtColor(face, cv2.COLOR_RGB2GRAY)).astype(np.uint8)
    return grey


def _motion(now: NDArray[np.uint8], before: NDArray[np.uint8]) -> tuple[NDArray[Any], NDArray[Any]]:
    """Return for each pixel of a face where it was in the frame before, x and y (Kroeger and others' DIS flow)."""
    import cv2

    flow: NDArray[Any] = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM).calc(
        now, before, np.zeros((*now.shape, 2), np.float32)
    )
    height, width = now.shape
    x, y = np.meshgrid(np.arange(width, dtype=np.float32), np.arange(height, dtype=np.float32))
    return x + flow[..., 0], y + flow[..., 1]
