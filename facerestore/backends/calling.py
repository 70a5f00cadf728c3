"""Calls into backends, which may be another package's: whatever they raise or give becomes a face or a BackendError."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING

import numpy as np

from facerestore.backends.half import RestoredFaces
from facerestore.backends.restorer import Restorer
from facerestore.engines.device import automatic_precision
from facerestore.errors import BackendError, count
from facerestore.extensions import foreign_errors

if TYPE_CHECKING:
    import torch

    from facerestore.engines.device import Device
    from facerestore.types import AlignedFace, FaceImage, ParsingMap


def adapter_errors(doing: str) -> AbstractContextManager[None]:
    """Turn what an adapter raises into a BackendError; ``doing`` says what it could not do."""
    return foreign_errors(doing, author="the backend's author", error=BackendError)


def restore_faces(
    restorer: Restorer, faces: Sequence[AlignedFace], parsing_maps: Sequence[ParsingMap] | None
) -> RestoredFaces:
    """Return what a restorer makes of faces, one image each, with the precisions that it tells.

    Args:
        restorer: of facerestore or of another package.
        faces: the faces, cut out.
        parsing_maps: one per face, or None.

    Raises:
        BackendError: it failed, whatever it raised, or gave something else than one face image per face.
    """
    with adapter_errors(f"backend '{restorer.name}' failed with {count(len(faces), 'face')}"):
        given = restorer.restore(faces, parsing_maps)
        outputs = list(given)
    check_count(restorer.name, len(outputs), len(faces))
    precisions = given.precisions if isinstance(given, RestoredFaces) else None
    return RestoredFaces((_checked(output, restorer) for output in outputs), precisions=precisions)


def check_count(name: str, given: int, wanted: int) -> None:
    """Make sure that what is called ``name`` gave one result for each face.

    Raises:
        BackendError: it did not.
    """
    if given != wanted:
        raise BackendError(
            f"'{name}' gave {count(given, 'result')} for {count(wanted, 'face')}; report this to its author"
        )


def with_fidelity(restorer: Restorer, value: float) -> Restorer:
    """Return a restorer with another weight between quality (0) and fidelity to the input (1).

    Raises:
        ConfigError: its backend has no such weight.
        BackendError: it raised something else, or gave no restorer.
    """
    with adapter_errors(f"backend '{restorer.name}' cannot take the fidelity {value:g}"):
        return _still_restorer(restorer.with_fidelity(value), "with_fidelity")


def with_precision(restorer: Restorer, precision: str, device: torch.device | Device) -> Restorer:
    """Return a restorer that computes in another number format.

    Args:
        restorer: of facerestore or of another package.
        precision: ``float32``, ``bf16``, ``fp16``, or ``auto``, which leaves a restorer alone unless it says by
            ``takes_half`` that fp16 is known to suit it (see ``device.automatic_precision``).
        device: where it runs.

    Raises:
        ConfigError: its backend knows float32 only, or the device has no arithmetic for the format.
        BackendError: it raised something else, or gave no restorer.
    """
    if precision == "auto":
        precision = automatic_precision(device) if restorer.descriptor.takes_half else "float32"
        if precision == "float32":
            return restorer
    with adapter_errors(f"backend '{restorer.name}' cannot take the precision {precision}"):
        return _still_restorer(restorer.with_precision(precision), "with_precision")


def _still_restorer(changed: object, method: str) -> Restorer:
    """Return what a restorer made of itself; raises TypeError where that is none."""
    if not isinstance(changed, Restorer):
        raise TypeError(f"its {method} gave {type(changed).__name__}, no restorer")
    return changed


def _checked(output: FaceImage, restorer: Restorer) -> FaceImage:
    """Return a restorer's output.

    Raises:
        BackendError: it is no float array, has another size, or a value that is not finite.
    """
    expected = (restorer.face_size, restorer.face_size, 3)
    # The type is a promise of the protocol, which only the packages that are type-checked keep.
    if not (isinstance(output, np.ndarray) and np.issubdtype(output.dtype, np.floating)):
        given = output.dtype if isinstance(output, np.ndarray) else type(output).__name__
        raise BackendError(
            f"backend '{restorer.name}' gave a face as {given}, expected a float32 array in [0, 1];"
            f" see 'facerestore backends check {restorer.name}'"
        )
    if output.shape != expected or not np.isfinite(output).all():
        raise BackendError(
            f"backend '{restorer.name}' gave a face of shape {output.shape} that is no image of {expected};"
            " verify its weights with 'facerestore weights verify'"
        )
    return output
