"""Half precision: which faces fp16 cannot hold, and what a restorer says of having computed them again in float32."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, NamedTuple

from facerestore.types import FaceImage

if TYPE_CHECKING:
    import torch


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
    known = getattr(restored, "precisions", None)
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
