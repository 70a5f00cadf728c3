"""A restorer on trial: the drawn faces, their maps, and what the restorer made of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from facerestore.testing.drawn_faces import trial_map

if TYPE_CHECKING:
    from facerestore.backends.restorer import Restorer
    from facerestore.types import AlignedFace, FaceImage, ParsingMap


@dataclass(frozen=True, slots=True, eq=False)
class Trial:
    """What the checks share.

    Attributes:
        restorer: the one on trial.
        faces: the drawn faces, at its face size.
        restored: what it made of them in one call.
        singles: what it made of each alone.
    """

    restorer: Restorer
    faces: Sequence[AlignedFace]
    restored: Sequence[FaceImage]
    singles: Sequence[FaceImage]

    def restore(self, faces: Sequence[AlignedFace]) -> list[FaceImage]:
        """Return what the restorer makes of faces, with their maps where it needs any."""
        return call(self.restorer, faces)


def call(restorer: Restorer, faces: Sequence[AlignedFace]) -> list[FaceImage]:
    """Return what a restorer makes of drawn faces, with their maps where it needs any."""
    return restorer.restore(faces, maps_of(faces) if restorer.needs_parsing else None)


def maps_of(faces: Sequence[AlignedFace]) -> list[ParsingMap]:
    """Return the parsing map of each drawn face, at the size of its crop."""
    return [trial_map(len(face.lq)) for face in faces]
