"""The contract of every backend, as a function that a test or a person can call on any restorer.

    from facerestore import Verdict, check_restorer

    assert not [f for f in check_restorer(MyRestorer()) if f.verdict is Verdict.FAILED]

Faces are drawn, so nothing else is needed. About twenty faces are restored.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import TYPE_CHECKING

from facerestore.testing.checks import (
    check_bad_inputs,
    check_batch,
    check_descriptor,
    check_empty,
    check_fidelity,
    check_form,
    check_inputs_kept,
    check_parsing,
    check_repeats,
    check_sizes,
    check_threads,
    check_values,
)
from facerestore.testing.drawn_faces import trial_faces
from facerestore.testing.likeness import WEIGHTS_REMEDY, check_colour, check_place, check_tone
from facerestore.testing.line import check_pipeline, check_strength_zero
from facerestore.testing.trial import Finding, Trial, Verdict, call

if TYPE_CHECKING:
    from facerestore.backends.restorer import Restorer

__all__ = ["Finding", "Verdict", "check_restorer", "iterate_findings"]

CHECKS: dict[str, Callable[[Trial], Finding]] = {
    "values": check_values,
    "tone": check_tone,
    "place": check_place,
    "colour": check_colour,
    "repeats": check_repeats,
    "batch": check_batch,
    "no faces": check_empty,
    "sizes": check_sizes,
    "bad inputs": check_bad_inputs,
    "parsing": check_parsing,
    "fidelity": check_fidelity,
    "threads": check_threads,
    "strength 0": check_strength_zero,
    "pipeline": check_pipeline,
    "inputs kept": check_inputs_kept,  # last, so that it sees what all others did
}
"""The clauses by name, in order, after ``descriptor``, ``restores`` and ``form``, without which none can be tried."""

LIKENESS = frozenset({"tone", "place", "colour"})
"""The clauses that judge the picture, which of random weights may be any."""


def check_restorer(restorer: Restorer, *, random_weights: bool = False) -> list[Finding]:
    """Return what was found of each clause of the contract.

    Args:
        restorer: derived from `facerestore.Restorer`.
        random_weights: its network is not trained, so that a picture unlike the crop is no fault of the adapter.
    """
    return list(iterate_findings(restorer, random_weights=random_weights))


def iterate_findings(restorer: Restorer, *, random_weights: bool = False) -> Iterator[Finding]:
    """Yield the findings as they come; nothing follows a clause without which the rest cannot be tried.

    Args:
        restorer: derived from `facerestore.Restorer`.
        random_weights: its network is not trained, so that a picture unlike the crop is no fault of the adapter.
    """
    declared = check_descriptor(restorer)
    yield declared
    if declared.verdict is Verdict.FAILED:
        return
    faces = trial_faces(restorer.face_size)
    try:
        restored = call(restorer, faces)
        form = check_form(restorer, restored, len(faces))
        singles = [face for alone in faces for face in call(restorer, [alone])]
    except Exception as error:  # what a restorer may raise is not known
        yield _raised("restores", error)
        return
    yield Finding("restores", Verdict.PASSED, f"{len(faces)} drawn faces of {restorer.face_size} px")
    yield form
    if form.verdict is Verdict.FAILED:
        return
    trial = Trial(restorer, faces, restored, singles)
    for name, check in CHECKS.items():
        found = _tried(name, check, trial)
        excused = random_weights and name in LIKENESS and found.verdict is Verdict.FAILED
        yield replace(found, verdict=Verdict.UNCLEAR, remedy=WEIGHTS_REMEDY) if excused else found


def _tried(name: str, check: Callable[[Trial], Finding], trial: Trial) -> Finding:
    try:
        return check(trial)
    except Exception as error:  # what a restorer may raise is not known
        return _raised(name, error)


def _raised(name: str, error: Exception) -> Finding:
    remedy = "see its traceback with FACERESTORE_DEBUG=1" if not str(error) else "mend what raises it"
    return Finding(name, Verdict.FAILED, f"raised {type(error).__name__}: {error}", remedy)
