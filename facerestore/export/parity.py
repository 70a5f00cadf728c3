"""Does an exported file give what its network gives? And how long does either take, run by run in turn?"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from facerestore.backends.base import TensorRestorer, faces_to_tensor
from facerestore.imaging.blending import whole_crop
from facerestore.testing.drawn_faces import trial_faces, trial_map

if TYPE_CHECKING:
    from facerestore.backends.exported import ExportedRestorer
    from facerestore.types import AlignedFace, ParsingMap

TOLERANCES = {"float32": 1e-3, "float16": 2e-2}
"""Largest error that is accepted, over the standard deviation of the network's output. For float32 the measure that all
quick forms of a network are held to here. For float16 about one and a half of the 255 levels of a picture whose
values fill their range evenly; 0.0005 (bundled restorer) to 0.0054
(GPEN of 512 px, random weights) were measured on a CPU."""

NOISE_SEED = 0
BATCH = 2


@dataclass(frozen=True, slots=True)
class Parity:
    """How close an exported network is to the one that it came from.

    Attributes:
        error: largest absolute difference of any value, over the standard deviation of all values, before clamping.
        levels: largest difference of a restored face, in levels of 255.
        tolerance: largest ``error`` that is accepted.
        faces: how many fixed faces were compared.
        batch: most faces that were given in one call.
        seconds: for one face, of the network and of the exported one: medians of calls in turn.
        place: where the exported one ran and what ran it.
        threads: CPU threads of torch.
    """

    error: float
    levels: float
    tolerance: float
    faces: int
    batch: int
    seconds: tuple[float, float]
    place: str
    threads: int

    @property
    def passed(self) -> bool:
        """Whether the error is small enough; one that is no number is not."""
        return self.error <= self.tolerance

    @property
    def told(self) -> str:
        """The error in words."""
        verdict = "within" if self.passed else "ABOVE"
        return (
            f"largest error {self.error:.2g} of the output's standard deviation on {self.faces} fixed faces, alone and"
            f" in a batch of {self.batch}; {verdict} {self.tolerance:g} ({self.levels:.2g} of 255 levels)"
        )


def compare(reference: TensorRestorer, exported: ExportedRestorer) -> Parity:
    """Return how an exported network compares with the network itself.

    Three drawn faces are given to both networks, in turn and alone, then two of them at once; a fourth one, of noise,
    goes the whole way through both restorers first, which also warms them up.

    Raises:
        BackendError: the exported network failed, or gave values that are not finite.
    """
    import torch

    first = _restored_difference(reference, exported)
    size = exported.record.input_size
    faces, own_map = trial_faces(size), trial_map(size)
    maps = [own_map] if exported.needs_parsing else None
    wanted, found, seconds = [], [], []
    for face in faces:
        x = faces_to_tensor([face.lq], reference.network_range)
        labels = None if maps is None else np.stack(maps)
        start = time.perf_counter()
        with torch.inference_mode():
            wanted.append(reference.forward(x, maps).float().numpy())
        middle = time.perf_counter()
        found.append(exported.run(x.numpy(), labels))
        seconds.append((middle - start, time.perf_counter() - middle))
    batch = BATCH if exported.record.max_batch == 0 else 1
    together = _run_together(reference, exported, faces[:batch], None if maps is None else maps * batch)
    deviation = float(np.std(np.stack(wanted), dtype=np.float64))
    low, high = reference.network_range
    worst = max(
        _largest(wanted, found), _largest([np.concatenate(wanted[:batch])], [together]), first * (high - low)
    )
    return Parity(
        error=worst / deviation if deviation else float(np.inf if worst else 0.0),
        levels=255 * first,
        tolerance=TOLERANCES[exported.record.precision],
        faces=len(faces) + 1,
        batch=batch,
        seconds=(median(own for own, _ in seconds), median(other for _, other in seconds)),
        place=exported.place,
        threads=torch.get_num_threads(),
    )


def _restored_difference(reference: TensorRestorer, exported: ExportedRestorer) -> float:
    """Return the largest difference of one restored face of noise, of values in [0, 1]."""
    size = exported.record.input_size
    noise = np.random.default_rng(NOISE_SEED).uniform(0, 1, (size, size, 3))
    face = whole_crop(noise.astype(np.float32))
    maps: list[ParsingMap] | None = [trial_map(size)] if exported.needs_parsing else None
    return _largest(reference.restore([face], maps), exported.restore([face], maps))


def _run_together(
    reference: TensorRestorer,
    exported: ExportedRestorer,
    faces: Sequence[AlignedFace],
    maps: Sequence[ParsingMap] | None,
) -> NDArray[np.float32]:
    x = faces_to_tensor([face.lq for face in faces], reference.network_range).numpy()
    return exported.run(x, None if maps is None else np.stack(maps))


def _largest(ones: Sequence[NDArray[np.float32]], others: Sequence[NDArray[np.float32]]) -> float:
    return max(float(np.abs(a.astype(np.float64) - b).max()) for a, b in zip(ones, others, strict=True))
