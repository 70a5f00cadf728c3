"""A restorer on trial: the drawn faces, their maps, what the restorer made of them, and what a check of that found."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
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


class Verdict(StrEnum):
    """How a check ended; ``UNCLEAR`` is no fault, and no pass either."""

    PASSED = "passed"
    FAILED = "failed"
    UNCLEAR = "could not tell"


@dataclass(frozen=True, slots=True)
class Finding:
    """One clause of the contract.

    Attributes:
        name: the clause, such as ``colour``.
        verdict: whether it is kept.
        measured: what was found, with the numbers that decided.
        remedy: what to mend where it is not kept, or how to find out where the check could not tell; else empty.
    """

    name: str
    verdict: Verdict
    measured: str
    remedy: str = ""


def finding(name: str, kept: bool, measured: str, *, remedy: str) -> Finding:
    """Return the finding of a check that can tell; ``remedy`` is kept only where it is needed."""
    verdict = Verdict.PASSED if kept else Verdict.FAILED
    return Finding(name, verdict, measured, "" if kept else remedy)
