"""The guard: a restored face that is no longer the one in the photo is used in part, or not at all.

It asks whether the face agrees with what the input resolves (``facerestore.quality.agreement``, no network), and where
an identity network is installed, whether it is as near to its input as an undamaged face is to its damaged picture.
Eyes that look closed in the input keep what it shows of them (``facerestore.pipeline.closed_eyes``).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from threading import Lock, Thread
from typing import TYPE_CHECKING

from facerestore.engines.cores import side_by_side
from facerestore.pipeline.closed_eyes import CLOSED, is_looked_at, with_soft_eyes
from facerestore.quality.agreement import Agreement, agreement
from facerestore.quality.judge import assess
from facerestore.types import AlignedFace, Decision, FaceImage, Guarded, Outcome, RestoredFace

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from facerestore.parsing.eyes import EyeReader
    from facerestore.quality.identity import IdentityNetwork
    from facerestore.quality.judge import FaceQuality

LEAST_SHARE = 0.25
"""Of a restored face: where less of it passes, the face is kept, for nobody would see what is left."""

STEPS = 5
"""Of the bisection: the share is found to a thirty-second."""


@dataclass(frozen=True, slots=True)
class Limits:
    """How far a restored face may be from an input that resolves so much; see `facerestore.types.Guarded`.

    Attributes:
        most_blur_px: sigma of the input's edges up to which this holds, pixels of a crop of `LIMITS_SIZE`.
        structure: most.
        colour: most.
        shift: most; infinite where the features are too blurred to be found.
        identity: least, by dlib's network.
    """

    most_blur_px: float
    structure: float
    colour: float
    shift: float
    identity: float


LIMITS_SIZE = 256

LIMITS = (
    Limits(2.0, 0.15, 8.0, 10.0, 0.42),
    Limits(3.0, 0.15, 8.0, 10.0, 0.33),
    Limits(5.0, 0.40, 12.0, math.inf, 0.27),
    Limits(8.0, 0.40, 15.0, math.inf, 0.22),
    Limits(math.inf, 0.40, 15.0, math.inf, 0.19),
)
"""By what the input resolves, fitted on 90 validation faces, each degraded by gfpgan and by severe (seed 7).

An identity is the likeness to the input that 95% of the undamaged originals have: what degradation alone does.
Structure, colour and shift: above those of `lite.detail-256` at its default on 179 of the 180 (largest 0.05, 1.8 and 0
up to 3 px, 0.50 and 9.3 beyond); of faces of other people in their place 99% have a structure of 0.56 and more up to
3 px, 0.28, 0.41 and 0.42 beyond.
"""

HOPELESS = 2.0
"""Times the limit of structure, from which on a face is kept at once: a share of it would be a ghost in the input."""


class Guard:
    """Judges restored faces by their inputs; any number of threads share it.

    Args:
        open_network: opens the identity network when the first face is judged; None where there is none.
        identities: what the likeness to the input must be, for each of `LIMITS`, where another network than dlib's says
            it; None takes theirs.
        least_identity: what it must be for all of them; None takes those.
        open_eyes: opens what tells closed eyes when the first face is judged that may need it; None where nothing does.
    """

    def __init__(
        self,
        open_network: Callable[[], IdentityNetwork] | None = None,
        *,
        identities: Sequence[float] | None = None,
        least_identity: float | None = None,
        open_eyes: Callable[[], EyeReader] | None = None,
    ) -> None:
        self._open, self._lock = open_network, Lock()
        self._open_eyes, self._eyes_lock = open_eyes, Lock()
        self._eyes: EyeReader | None = None
        self._identities, self._least = identities, least_identity
        self._network: IdentityNetwork | None = None

    def begin(self) -> None:
        """Begin to open the identity network where it is not open, while faces are restored; who needs it waits."""
        if self._open is not None and self._network is None:
            Thread(target=self._try).start()

    def _try(self) -> None:
        with suppress(Exception):  # the next call tries again
            self._opened()

    def judge(
        self, faces: Sequence[RestoredFace], qualities: Sequence[FaceQuality | None]
    ) -> list[RestoredFace]:
        """Return the faces, restored ones as far as they pass; those that do not are kept, with the reason.

        Args:
            faces: with their decisions.
            qualities: what was measured on each.

        Raises:
            FaceRestoreError: a network cannot be opened or run.
        """

        def judged(one: tuple[RestoredFace, FaceQuality | None]) -> RestoredFace:
            face, quality = one
            if face.aligned is None or face.restored is None:
                return face
            return self._judged(face, face.aligned, face.restored, quality or assess(face.aligned))

        return side_by_side(judged, list(zip(faces, qualities, strict=True)))

    def _judged(
        self, face: RestoredFace, aligned: AlignedFace, restored: FaceImage, quality: FaceQuality
    ) -> RestoredFace:
        passed = self._passed(face, aligned, restored, quality)
        eyes = self._eye_reader() if is_looked_at(quality, aligned.lq.shape[0]) else None
        if eyes is None or passed.restored is None or passed.guard is None:
            return passed
        (likelihood,) = eyes.closed([aligned.lq])
        closed = likelihood >= CLOSED
        soft = with_soft_eyes(passed.restored, blur_px=quality.blur_px) if closed else passed.restored
        guarded = replace(passed.guard, eyes_closed=likelihood, eyes_softened=closed)
        return replace(passed, restored=soft, guard=guarded)

    def _passed(
        self, face: RestoredFace, aligned: AlignedFace, restored: FaceImage, quality: FaceQuality
    ) -> RestoredFace:
        look = partial(self._look, aligned.lq, self._likeness_to(aligned.lq), quality)
        whole = look(restored)
        if whole.reason is None:
            return replace(face, guard=whole)
        share, found = 0.0, whole
        hopeless = whole.structure > HOPELESS * limits_of(quality, aligned.lq.shape[0]).structure
        for step in range(1, 1 if hopeless else STEPS + 1):
            trial = share + 0.5**step
            seen = look(mixed(aligned.lq, restored, trial))
            share, found = (trial, seen) if seen.reason is None else (share, found)
        if share < LEAST_SHARE:
            decision = Decision(
                Outcome.KEPT, "unlike", f"restored, it would not be the face in the photo: {whole.reason}"
            )
            return replace(face, decision=decision, restored=None, guard=replace(whole, share=0.0))
        used = replace(found, share=share, reason=whole.reason)
        return replace(face, restored=mixed(aligned.lq, restored, share), guard=used)

    def _likeness_to(self, lq: FaceImage) -> Callable[[FaceImage], float] | None:
        """Return what gives the likeness of a face to an input; None without a network."""
        network = self._opened()
        if network is None:
            return None
        own: list[NDArray[np.float32]] = []

        def likeness(face: FaceImage) -> float:
            described = network.describe([face] if own else [face, lq])
            own.extend(described[1:])
            return network.likeness(described[0], own[0])

        return likeness

    def _opened(self) -> IdentityNetwork | None:
        with self._lock:
            if self._network is None and self._open is not None:
                self._network = self._open()
        return self._network

    def _eye_reader(self) -> EyeReader | None:
        with self._eyes_lock:
            if self._eyes is None and self._open_eyes is not None:
                self._eyes = self._open_eyes()
        return self._eyes

    def _look(
        self,
        lq: FaceImage,
        likeness: Callable[[FaceImage], float] | None,
        quality: FaceQuality,
        face: FaceImage,
    ) -> Guarded:
        """Return what a face is like, and why it does not pass, if it does not."""
        band, found = band_of(quality, lq.shape[0]), agreement(lq, face, blur_px=quality.blur_px)
        limits = LIMITS[band]
        faults = _disagreements(found, limits)
        identity = least = None
        if likeness is not None:
            identity, least = likeness(face), self._least_identity(band)
            if identity < least:
                faults.append(f"its identity is {identity:.2f} like the input's, under {least:.2f}")
        return Guarded(
            share=1.0,
            structure=found.structure,
            colour=found.colour,
            shift=found.shift,
            identity=identity,
            least_identity=least,
            reason="; ".join(faults) or None,
        )

    def _least_identity(self, band: int) -> float:
        """Return how alike a face must be whose input is in this band of `LIMITS`."""
        if self._least is not None:
            return self._least
        return LIMITS[band].identity if self._identities is None else self._identities[band]


def mixed(lq: FaceImage, restored: FaceImage, share: float) -> FaceImage:
    """Return a face of which ``share`` is restored and the rest is the input."""
    face: FaceImage = (lq + share * (restored - lq)).astype("float32", copy=False)
    return face


def limits_of(quality: FaceQuality, face_size: int) -> Limits:
    """Return the limits for a restored face; see `band_of`."""
    return LIMITS[band_of(quality, face_size)]


def band_of(quality: FaceQuality, face_size: int) -> int:
    """Return which of `LIMITS` hold for a restored face, by what its input resolves.

    Args:
        quality: of the input.
        face_size: side of its crop, pixels.
    """
    blur_px = quality.blur_px * LIMITS_SIZE / face_size
    return next(band for band, limits in enumerate(LIMITS) if blur_px <= limits.most_blur_px)


def _disagreements(found: Agreement, limits: Limits) -> list[str]:
    """Return, a phrase each, in what a face disagrees with its input."""
    faults = []
    if found.structure > limits.structure:
        faults.append(
            f"{found.structure:.0%} of the input's light and shade is another, over {limits.structure:.0%}"
        )
    if found.colour > limits.colour:
        faults.append(f"its colour is off by {found.colour:.0f} levels, over {limits.colour:g}")
    if found.shift > limits.shift:
        faults.append(f"a feature moved by {found.shift:.0f}% of the eye distance, over {limits.shift:g}%")
    return faults
