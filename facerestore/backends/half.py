"""Faces on their way through a network: under way, and computed; which fp16 cannot hold, and how that is told."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

from facerestore.engines.device import Download
from facerestore.types import FaceImage, ParsingMap

if TYPE_CHECKING:
    import torch


Batch: TypeAlias = tuple[Sequence[FaceImage], Sequence[ParsingMap] | None]
"""Faces of one call of the network, at its size, and their maps."""


class Pending(NamedTuple):
    """Faces that a device computes.

    Attributes:
        x: what the network was given, B 3 S S.
        parsing_maps: and the maps with them.
        finite: waits for, and gives, which faces have finite values only: B booleans.
        faces: waits for, and gives, B S S 3 in [0, 1].
    """

    x: torch.Tensor
    parsing_maps: Sequence[ParsingMap] | None
    finite: Download
    faces: Download


class ComputedFace(NamedTuple):
    """A face as the network gave it.

    Attributes:
        image: (S, S, 3) float32 RGB in [0, 1].
        precision: number format that it was computed in.
    """

    image: FaceImage
    precision: str


class RestoredFaces(list[FaceImage]):
    """Restored faces, as ``Restorer.restore`` gives them, and the number format that each was computed in.

    A face whose fp16 result is not finite is computed again in float32, and ``precisions`` is how its caller knows.

    Attributes:
        precisions: one word for each face; None where they are not known.
    """

    def __init__(self, faces: Iterable[FaceImage] = (), *, precisions: Sequence[str] | None = None) -> None:
        super().__init__(faces)
        self.precisions = precisions

    @classmethod
    def of(cls, computed: Sequence[ComputedFace]) -> RestoredFaces:
        """Return computed faces as what a restorer gives."""
        return cls((face.image for face in computed), precisions=[face.precision for face in computed])


def precisions_of(restored: Sequence[FaceImage]) -> list[str | None]:
    """Return the number format that each face was computed in; None where the restorer does not tell."""
    known = restored.precisions if isinstance(restored, RestoredFaces) else None
    return [None] * len(restored) if known is None else list(known)


def not_finite(finite: torch.Tensor) -> list[int]:
    """Return the places of the faces with a value that is not finite.

    Args:
        finite: B booleans, on the CPU.
    """
    return [index for index, good in enumerate(finite.tolist()) if not good]


def all_finite(y: torch.Tensor) -> torch.Tensor:
    """Return, for B 3 S S, which faces have finite values only: B booleans, where ``y`` is."""
    import torch

    return torch.isfinite(y).flatten(1).all(dim=1)
