"""Training pairs: a sample is a pure function of the faces, the seed and its position, whoever asks for it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from facerestore.degradation import Degradation, degrade
from facerestore.errors import ConfigError
from facerestore.evaluation.faces import LabelledFace


@dataclass(frozen=True, slots=True, kw_only=True)
class Augmentation:
    """How a real face is varied before it is degraded; the target varies with it.

    Attributes:
        flip_probability: chance of a left-right flip.
        jitter_probability: chance of a small similarity, so that imprecise landmarks are met in training.
        max_scale: largest relative change of scale.
        max_shift: largest shift along each axis, as a share of the face size.
        max_turn_deg: largest rotation.
        gamma_probability: chance of a change of exposure.
        max_gamma: largest gamma; the smallest is its inverse.
    """

    flip_probability: float = 0.5
    jitter_probability: float = 0.5
    max_scale: float = 0.08
    max_shift: float = 0.04
    max_turn_deg: float = 5.0
    gamma_probability: float = 0.3
    max_gamma: float = 1.3


def augment(
    face: NDArray[np.uint8], augmentation: Augmentation, rng: np.random.Generator
) -> NDArray[np.uint8]:
    """Return a varied copy of an (S, S, 3) uint8 face."""
    size = face.shape[0]
    flip, jitter, expose = rng.random(3)
    if flip < augmentation.flip_probability:
        face = np.ascontiguousarray(face[:, ::-1])
    if jitter < augmentation.jitter_probability:
        turn, scale, dx, dy = rng.uniform(-1, 1, 4)
        centre = (size - 1) / 2
        matrix = cv2.getRotationMatrix2D(
            (centre, centre), augmentation.max_turn_deg * turn, 1 + augmentation.max_scale * scale
        )
        matrix[:, 2] += np.array([dx, dy]) * augmentation.max_shift * size
        face = np.asarray(
            cv2.warpAffine(
                face, matrix, (size, size), flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REFLECT_101
            ),
            dtype=np.uint8,
        )
    if expose < augmentation.gamma_probability:
        gamma = augmentation.max_gamma ** rng.uniform(-1, 1)
        table = np.rint(255 * (np.arange(256) / 255) ** gamma).astype(np.uint8)
        face = table[face]
    return face


class PairDataset:
    """Degraded and real faces, drawn in balance from several sets.

    ``sample(position)`` depends on the seed and the position alone, so workers, ranks, interruptions and batch sizes
    never change what the n-th sample of a run is.
    """

    def __init__(
        self,
        faces: Sequence[LabelledFace],
        *,
        set_weights: Mapping[str, float],
        mix: Sequence[tuple[float, Degradation | None]],
        augmentation: Augmentation | None = None,
        seed: int = 0,
    ) -> None:
        """Prepare the draw.

        Args:
            faces: aligned faces of one size.
            set_weights: share of each set; a set of ``faces`` that is not named here has none.
            mix: (share, degradation) pairs; None stands for no degradation.
            augmentation: how real faces are varied; None for the defaults.
            seed: seed of the whole data order.

        Raises:
            ConfigError: a weighted set has no face.
        """
        self._by_set = {name: [f for f in faces if f.set_name == name] for name in set_weights}
        for name, members in self._by_set.items():
            if not members:
                raise ConfigError(
                    f"set '{name}' has a weight but no faces; found {sorted({f.set_name for f in faces})}"
                )
        self._names = list(set_weights)
        self._shares = np.array([set_weights[name] for name in self._names]) / sum(set_weights.values())
        self._mix = list(mix)
        self._mix_shares = np.array([share for share, _ in mix]) / sum(share for share, _ in mix)
        self._augmentation = augmentation or Augmentation()
        self._seed = seed

    def sample(self, position: int) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
        """Return (lq, hq), each (S, S, 3) uint8, of the sample at ``position``, 0-based and without end."""
        rng = np.random.default_rng([self._seed, position])
        members = self._by_set[self._names[rng.choice(len(self._names), p=self._shares)]]
        face = augment(members[rng.integers(len(members))].pixels, self._augmentation, rng)
        degradation = self._mix[rng.choice(len(self._mix), p=self._mix_shares)][1]
        if degradation is None:
            return face, face
        lq, hq, _ = degrade(face, degradation, rng)
        return lq, hq

    def batch(self, step: int, batch_size: int) -> tuple[Tensor, Tensor]:
        """Return (lq, hq), each (B, 3, S, S) float32 in [0, 1], of a 0-based step."""
        pairs = [self.sample(step * batch_size + offset) for offset in range(batch_size)]
        lq, hq = (to_tensor(np.stack(side)) for side in zip(*pairs, strict=True))
        return lq, hq


def to_tensor(faces: NDArray[np.uint8]) -> Tensor:
    """(B, S, S, 3) uint8 -> (B, 3, S, S) float32 in [0, 1]."""
    return torch.from_numpy(faces).permute(0, 3, 1, 2).float().div_(255)
