"""Restorers whose network an engine runs (`facerestore.engines`): what every other backend promises, without torch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from facerestore.backends.half import RestoredFaces
from facerestore.backends.restorer import Descriptor, Restorer
from facerestore.backends.tensors import check_maps, fit_map
from facerestore.engines.room import in_halves
from facerestore.errors import BackendError, FaceRestoreError, count, first_line
from facerestore.types import AlignedFace, FaceImage, ParsingMap

if TYPE_CHECKING:
    from facerestore.engines import Engine

# Face pixels of one network call. GPEN takes about 1.2 GB of memory for each 512 px face; on a CPU four 256
# px faces in one call take as long as one after the other (measured), on an accelerator a batch is quicker.
CPU_BATCH_PIXELS = 512 * 512
ACCELERATOR_BATCH_PIXELS = 8 * 512 * 512

FACE_TYPES = ("float32", "float16")
"""Number formats in which faces are given to a network."""


class EngineRestorer(Restorer):
    """Restores faces with a network that an engine runs. Threads may share it, as far as its engine lets them.

    Args:
        descriptor: what it is; its ``network_range``, sizes and ``max_batch`` are those of the network.
        engine: the network, B 3 S S RGB to B 3 S S in that range; its second input, if any, is the parsing map.

    Attributes:
        place: where it runs and what runs it, for people.

    Raises:
        BackendError: the network takes something else than a face, and a map where the descriptor says so.
    """

    def __init__(self, descriptor: Descriptor, engine: Engine) -> None:
        wanted = 2 if descriptor.needs_parsing else 1
        if len(engine.inputs) != wanted:
            told = "a face and a parsing map" if descriptor.needs_parsing else "a face alone"
            raise BackendError(
                f"'{descriptor.name}' takes {len(engine.inputs)} inputs, but its record speaks of a network that takes"
                f" {told}; such a network cannot be used here"
            )
        if engine.inputs[0] not in FACE_TYPES:
            raise BackendError(
                f"'{descriptor.name}' takes faces as {engine.inputs[0]}; only {' and '.join(FACE_TYPES)} can be given"
            )
        self.descriptor = descriptor
        self.engine, self.place = engine, engine.place

    def restore(
        self, faces: Sequence[AlignedFace], parsing_maps: Sequence[ParsingMap] | None = None
    ) -> RestoredFaces:
        """Return one (face_size, face_size, 3) float32 RGB [0, 1] image per face, in order.

        Raises:
            BackendError: an input is not a face image, or the network failed, had no room for a single face, or gave a
                value that is not finite.
        """
        check_maps(self.name, faces, parsing_maps, needed=self.needs_parsing)
        crops, maps, most = self.crops(faces), self.fitted(parsing_maps), self.descriptor.max_batch
        restored: list[FaceImage] = []

        def restore_some(indices: Sequence[int]) -> list[FaceImage]:
            some = slice(indices[0], indices[-1] + 1)
            return self._restore_batch(crops[some], None if maps is None else maps[some])

        for start in range(0, len(crops), most):
            restored += in_halves(restore_some, range(start, min(start + most, len(crops))))
        precision = self.descriptor.precision
        return RestoredFaces(restored, precisions=None if precision is None else [precision] * len(restored))

    def run(self, x: NDArray[np.float32], labels: NDArray[np.uint8] | None) -> NDArray[np.float32]:
        """Return what the network itself gives: B 3 S S in its own range, not clamped.

        Args:
            x: B 3 S S RGB in the network's range.
            labels: B S S class ids, for networks that take them.

        Raises:
            BackendError: it failed, or gave another shape or a value that is not finite.
        """
        inputs: list[NDArray[Any]] = [x] if labels is None else [x, labels]
        faces, short = len(x), self.engine.fixed_batch - len(x)
        if short > 0:  # a graph for so many faces takes no fewer; what it makes of the copies is left out
            inputs = [np.concatenate([own, np.repeat(own[-1:], short, axis=0)]) for own in inputs]
        try:
            y: NDArray[np.float32] = np.asarray(self.engine.run(*inputs)[0])[:faces]
        except FaceRestoreError:
            raise
        except Exception as error:  # each engine has classes of its own
            raise BackendError(
                f"backend '{self.name}' failed on {self.place} with {count(faces, 'face')}: {first_line(error)}; export"
                " the network again, or choose another provider or device"
            ) from error
        expected = (faces, 3, self.face_size, self.face_size)
        if y.shape != expected:
            raise BackendError(
                f"backend '{self.name}' gave shape {y.shape}, expected {expected}; is its size wrong?"
            )
        if not np.isfinite(y).all():
            raise BackendError(
                f"backend '{self.name}' gave values that are not finite on {self.place}; verify the weights with"
                " 'facerestore weights verify', export without --half, or choose another provider"
            )
        return y

    def _restore_batch(self, crops: Sequence[FaceImage], labels: NDArray[np.uint8] | None) -> list[FaceImage]:
        low, high = self.network_range
        x = np.stack(crops).transpose(0, 3, 1, 2) * np.float32(high - low) + np.float32(low)
        y = self.run(np.ascontiguousarray(x, np.float32), labels)
        scaled = np.clip((y - low) / (high - low), 0.0, 1.0)
        return [np.ascontiguousarray(face.transpose(1, 2, 0), np.float32) for face in scaled]

    def fitted(self, parsing_maps: Sequence[ParsingMap] | None) -> NDArray[np.uint8] | None:
        """Return the maps at the size of the network's input; None where it takes none or there are no faces."""
        if not self.needs_parsing or not parsing_maps:
            return None
        return np.stack([fit_map(parsing_map, self.input_size) for parsing_map in parsing_maps])


def usual_batch(face_size: int, engine: Engine) -> int:
    """Return how many faces go into one call: as many as for other networks, within what the graph allows."""
    pixels = ACCELERATOR_BATCH_PIXELS if engine.accelerated else CPU_BATCH_PIXELS
    return engine.fixed_batch or max(1, pixels // face_size**2)
