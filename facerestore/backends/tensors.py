"""Between faces and tensors: (S, S, 3) RGB arrays in [0, 1], and (N, 3, S, S) tensors in a network's own range.

Beside these conversions, what adapters check of faces and maps, and random tensors that repeat.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

import numpy as np

from facerestore.errors import BackendError, count
from facerestore.face_parts import CLASS_NAMES
from facerestore.imaging.pixels import resize_map
from facerestore.types import AlignedFace, FaceImage, ParsingMap

if TYPE_CHECKING:
    import torch

# Crops may overshoot [0, 1] by a rounding error; anything beyond is an 8-bit image that was not scaled.
RANGE_TOLERANCE = 0.01


def faces_to_tensor(
    faces: Sequence[FaceImage],
    value_range: tuple[float, float],
    *,
    layout: torch.memory_format | None = None,
) -> torch.Tensor:
    """Return (S, S, 3) float32 RGB faces in [0, 1] as an (N, 3, S, S) CPU tensor in ``value_range``.

    Args:
        faces: of one size.
        value_range: lowest and highest value.
        layout: how the tensor lies in memory; None for torch's usual order.
    """
    import torch

    low, high = value_range
    order = torch.contiguous_format if layout is None else layout
    stacked = torch.from_numpy(np.stack(faces)).permute(0, 3, 1, 2).contiguous(memory_format=order)
    return stacked.mul_(high - low).add_(low)


def tensor_to_faces(x: torch.Tensor, value_range: tuple[float, float]) -> list[FaceImage]:
    """Return an (N, 3, S, S) tensor in ``value_range`` as (S, S, 3) float32 RGB faces, clamped to [0, 1]."""
    return split_faces(channels_behind(x, value_range).cpu())


def channels_behind(x: torch.Tensor, value_range: tuple[float, float]) -> torch.Tensor:
    """Return an (N, 3, S, S) tensor in ``value_range`` as (N, S, S, 3) in [0, 1], where it is."""
    low, high = value_range
    scaled = ((x.float() - low) / (high - low)).clamp(0.0, 1.0)
    return scaled.permute(0, 2, 3, 1).contiguous()


def split_faces(x: torch.Tensor) -> list[FaceImage]:
    """Return an (N, S, S, 3) CPU tensor as faces; each owns its memory, so that keeping one does not keep the batch."""
    pixels = x.numpy()
    return [pixels[0]] if len(pixels) == 1 and not x.is_pinned() else [face.copy() for face in pixels]


def checked_crop(face: AlignedFace, name: str) -> FaceImage:
    """Return ``face.lq`` clipped to [0, 1] after checking that it is a face image.

    Raises:
        BackendError: it is not a square float32 RGB array with values in [0, 1].
    """
    if not (isinstance(face, AlignedFace) and isinstance(face.lq, np.ndarray)):
        raise BackendError(
            f"backend '{name}' restores AlignedFace records, got {type(face).__name__}; align first"
        )
    lq = face.lq
    if lq.ndim != 3 or lq.shape[2] != 3 or lq.shape[0] != lq.shape[1] or lq.shape[0] < 1:
        raise BackendError(f"lq has shape {lq.shape}; backend '{name}' takes square (S, S, 3) RGB crops")
    if lq.dtype != np.float32:
        raise BackendError(
            f"lq has dtype {lq.dtype}; convert it to float32 RGB in [0, 1] (divide 8-bit by 255)"
        )
    low, high = float(lq.min()), float(lq.max())
    if not (low >= -RANGE_TOLERANCE and high <= 1.0 + RANGE_TOLERANCE):  # also true of NaN
        raise BackendError(f"lq has values from {low:g} to {high:g}; a face image is finite and in [0, 1]")
    return np.clip(lq, 0.0, 1.0)


def check_maps(
    name: str, faces: Sequence[AlignedFace], parsing_maps: Sequence[ParsingMap] | None, *, needed: bool
) -> None:
    """Make sure that there is a parsing map for each face, or none at all where the backend ``name`` needs none.

    Raises:
        BackendError: there is not.
    """
    if parsing_maps is None:
        if needed and faces:
            raise BackendError(f"backend '{name}' needs a parsing map for each face; give parsing_maps")
        return
    if len(parsing_maps) != len(faces):
        raise BackendError(
            f"{count(len(parsing_maps), 'parsing map')} for {count(len(faces), 'face')}; give one map per face"
        )


def fit_map(parsing_map: ParsingMap, size: int) -> ParsingMap:
    """Return a square map of class ids at ``size`` pixels a side, by nearest pixel centres: ids are never blended.

    Raises:
        BackendError: it is no square uint8 array of ids from 0 to 18.
    """
    labels = np.asarray(parsing_map)
    if (
        labels.ndim != 2
        or labels.shape[0] != labels.shape[1]
        or labels.shape[0] < 1
        or labels.dtype != np.uint8
    ):
        raise BackendError(
            f"a parsing map has shape {labels.shape} and dtype {labels.dtype}; it must be square uint8 class ids"
        )
    if labels.max() >= len(CLASS_NAMES):
        raise BackendError(
            f"a parsing map has the class id {labels.max()}; the ids are those of CelebAMask-HQ, 0 to"
            f" {len(CLASS_NAMES) - 1}"
        )
    return resize_map(labels, size)


@contextmanager
def fixed_randomness() -> Iterator[None]:
    """Draw the same random CPU tensors in the block at every call, and leave the program's own sequence alone."""
    import torch

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        yield
