"""Exported networks as restorers: what every other backend promises, without a torch module."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Self

import numpy as np
from numpy.typing import NDArray

from facerestore.backends.base import ACCELERATOR_BATCH_PIXELS, CPU_BATCH_PIXELS
from facerestore.backends.restorer import Descriptor, Restorer
from facerestore.errors import BackendError, ConfigError, FaceRestoreError, count
from facerestore.types import AlignedFace, FaceImage, ParsingMap

if TYPE_CHECKING:
    from facerestore.backends.exported.engines import Engine
    from facerestore.backends.exported.record import NetworkRecord


class ExportedRestorer(Restorer):
    """Restores faces with an exported network. Threads may share it, as far as its engine lets them.

    Its name is that of runtime and file, as ``--backend`` takes them, without the folder.

    Attributes:
        record: what the file says of itself.
        place: where it runs and what runs it, for people.
    """

    def __init__(self, path: Path, runtime: str, record: NetworkRecord, engine: Engine) -> None:
        self.descriptor = Descriptor(
            name=f"{runtime}:{path.name}",
            paper=record.paper,
            tasks=(record.purpose,),
            face_size=record.face_size,
            input_size=record.input_size,
            network_range=record.value_range,
            needs_parsing=record.needs_parsing,
            precision=record.precision,
            max_batch=_max_batch(record, engine),
        )
        self.record = record
        self.place = engine.place
        self.engine = engine
        self._exact_batch = engine.fixed_batch

    def restore(
        self, faces: Sequence[AlignedFace], parsing_maps: Sequence[ParsingMap] | None = None
    ) -> list[FaceImage]:
        """Return one (face_size, face_size, 3) float32 RGB [0, 1] image per face, in order.

        Raises:
            BackendError: an input is not a face image, or the network failed or gave a value that is not finite.
        """
        maps = self._checked_maps(faces, parsing_maps)
        crops, most = self.crops(faces), self.descriptor.max_batch
        restored: list[FaceImage] = []
        for start in range(0, len(crops), most):
            chunk = slice(start, start + most)
            restored += self._restore_batch(crops[chunk], None if maps is None else maps[chunk])
        return restored

    def with_fidelity(self, value: float) -> Self:
        """Refuse another weight between quality and fidelity: it is part of the exported graph.

        Raises:
            ConfigError: always.
        """
        own = self.record.fidelity
        if own is None:
            return super().with_fidelity(value)
        raise ConfigError(
            f"the fidelity of '{self.name}' was fixed at {own:g} when it was exported; leave it out, or export again"
            f" with --fidelity {value:g}"
        )

    def with_precision(self, precision: str) -> Self:
        """Return this restorer; its number format is that of its file.

        Raises:
            ConfigError: another format is asked for than float32, which stands for the file's own.
        """
        if precision != "float32":
            raise ConfigError(
                f"'{self.name}' computes in the number format of its file, {self.record.precision}; leave out the"
                f" precision '{precision}', or export with --half"
            )
        return self

    def for_task(self, purpose: str) -> Self:
        """Return this restorer, where its network was trained for the task.

        Raises:
            ConfigError: it was trained for another one.
        """
        if self.record.purpose != purpose:
            raise ConfigError(f"'{self.name}' is a network for '{self.record.purpose}', not for '{purpose}'")
        return self

    def _restore_batch(self, crops: Sequence[FaceImage], labels: NDArray[np.uint8] | None) -> list[FaceImage]:
        low, high = self.record.value_range
        x = np.stack(crops).transpose(0, 3, 1, 2) * np.float32(high - low) + np.float32(low)
        y = self.run(np.ascontiguousarray(x, np.float32), labels)
        scaled = np.clip((y - low) / (high - low), 0.0, 1.0)
        return [np.ascontiguousarray(face.transpose(1, 2, 0), np.float32) for face in scaled]

    def run(self, x: NDArray[np.float32], labels: NDArray[np.uint8] | None) -> NDArray[np.float32]:
        """Return what the network itself gives: B 3 S S in its own range, not clamped.

        Args:
            x: B 3 S S RGB in the network's range.
            labels: B S S class ids, for networks that take them.

        Raises:
            BackendError: it failed, or gave another shape or a value that is not finite.
        """
        faces, short = len(x), self._exact_batch - len(x)
        if short > 0:  # a graph for so many faces takes no fewer; what it makes of the copies is left out
            x = np.concatenate([x, np.repeat(x[-1:], short, axis=0)])
            labels = (
                None if labels is None else np.concatenate([labels, np.repeat(labels[-1:], short, axis=0)])
            )
        try:
            y = self.engine.run(x, labels)[:faces]
        except FaceRestoreError:
            raise
        except Exception as error:  # each runtime has classes of its own
            first = (str(error).strip().splitlines() or [type(error).__name__])[0]
            raise BackendError(
                f"backend '{self.name}' failed on {self.place} with {count(faces, 'face')}: {first}; export the"
                " network again, or choose another provider or device"
            ) from error
        expected = (faces, 3, self.face_size, self.face_size)
        if y.shape != expected:
            raise BackendError(
                f"backend '{self.name}' gave shape {y.shape}, expected {expected}; is its size wrong?"
            )
        if not np.isfinite(y).all():
            raise BackendError(
                f"backend '{self.name}' gave values that are not finite on {self.place}; export it again without"
                " --half, or choose another provider"
            )
        return y

    def _checked_maps(
        self, faces: Sequence[AlignedFace], parsing_maps: Sequence[ParsingMap] | None
    ) -> NDArray[np.uint8] | None:
        """Return the maps at the size of the network's input; None where it takes none or there are no faces."""
        if parsing_maps is not None and len(parsing_maps) != len(faces):
            raise BackendError(
                f"{count(len(parsing_maps), 'parsing map')} for {count(len(faces), 'face')}; give one map per face"
            )
        if not self.needs_parsing or not faces:
            return None
        if parsing_maps is None:
            raise BackendError(f"backend '{self.name}' needs a parsing map for each face; give parsing_maps")
        from facerestore.backends.psfr import fit_map

        return np.stack([fit_map(parsing_map, self.record.input_size) for parsing_map in parsing_maps])


def _max_batch(record: NetworkRecord, engine: Engine) -> int:
    """Return how many faces go into one call: as for other networks, within what the file allows."""
    if engine.fixed_batch:
        return engine.fixed_batch
    pixels = ACCELERATOR_BATCH_PIXELS if engine.accelerated else CPU_BATCH_PIXELS
    usual = max(1, pixels // record.face_size**2)
    return min(usual, record.max_batch) if record.max_batch else usual
