"""Faces followed from frame to frame, each with smoothed landmarks and a share that is eased in and out."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from facerestore.errors import ImageError
from facerestore.imaging.alignment import align_face, transform_points
from facerestore.types import Affine, Choice, DetectedFace, Image
from facerestore.video.motion import Cuts, OneEuro, View, motion_of
from facerestore.video.steadying import Steadier, Steadying

EASE_S = 0.35
"""In which a face that comes or goes within a scene gains or loses its whole share."""

WISH_S = 0.5
"""Time constant of whether a face is to be restored: near a limit that changes from frame to frame."""

HOLD_S = 1.0
"""How long another network has to suit a face better before it takes over: sizes and sharpness waver."""

LANDMARK_LEAST_HZ = 0.5
LANDMARK_HZ_PER_SPEED = 1.5
"""One-euro filter of landmarks; speed in eye distances a second beside the motion of the face."""

MASK_LEAST_HZ = 1.0
MASK_HZ_PER_SPEED = 10.0
"""One-euro filter of masks; speed in shares a second."""

LEAST_LIKENESS = 0.9
"""Sum of overlap, nearness and likeness (3 at most) from which a face that is found is one that is followed."""

THUMB_PX = 24
"""Side of the crop by whose look faces are told apart."""


@dataclass(slots=True, eq=False)
class Track:
    """One face that is followed.

    Attributes:
        face: where it is in this frame, smoothed.
        share: how much of it is restored, 0 to 1.
        wish: in which share of the frames of late it is to be restored.
        choice: the network that serves it; None where one serves all, or none has yet.
        found: the detector has found it in this frame.
        new: it was not in the frame before.
        steadier: averages what restoring adds to it.
        masks: smooths the masks that a parser gives.
        lapse_s: time since the frame before.
    """

    face: DetectedFace
    share: float
    look: NDArray[Any]
    choice: Choice | None = None
    wish: float = 0.0
    found: bool = True
    new: bool = True
    lapse_s: float = 0.0
    steadier: Steadying = field(default_factory=Steadier)
    masks: OneEuro = field(
        default_factory=lambda: OneEuro(least_hz=MASK_LEAST_HZ, hz_per_speed=MASK_HZ_PER_SPEED)
    )
    _points: OneEuro = field(
        default_factory=lambda: OneEuro(least_hz=LANDMARK_LEAST_HZ, hz_per_speed=LANDMARK_HZ_PER_SPEED)
    )
    _other_s: float = 0.0

    def move(self, detected: DetectedFace | None, motion: Affine | None, lapse_s: float) -> None:
        """Go on to the next frame.

        Args:
            detected: the face as found there; None where it was not.
            motion: where it has gone by what moves; None where that cannot be told.
            lapse_s: time since.
        """
        self.lapse_s, self.found, self.new = lapse_s, detected is not None, False
        carried = self.face if motion is None else moved_face(self.face, motion)
        if detected is None:
            self.face = carried
            self._points(carried.landmarks, 0.0)
            return
        points = self._points(
            detected.landmarks.astype(np.float64),
            lapse_s,
            carried=detected.landmarks if motion is None else carried.landmarks,
            unit=max(detected.eye_distance_px, 1.0),
        )
        self.face = replace(detected, landmarks=points.astype(np.float32))

    @property
    def shown(self) -> bool:
        """Whether it is restored in the frames before this one, or is going to be."""
        return not self.new and (self.share > 0 or (self.wish >= 0.5 and self.found))

    def ease(self, wanted: bool) -> None:
        """Let the share rise where the face is to be restored in most frames of late, and is found; else fall.

        Args:
            wanted: it is to be restored by this frame alone.
        """
        if self.new:
            self.wish, self.share = float(wanted), self.share * wanted
        else:
            self.wish += -math.expm1(-self.lapse_s / WISH_S) * (wanted - self.wish)
        step = self.lapse_s / EASE_S
        self.share = float(np.clip(self.share + (step if self.wish >= 0.5 and self.found else -step), 0, 1))

    def settle(self, choice: Choice | None) -> None:
        """Take the network that suits the face in this frame, once it has suited it for a while."""
        other = self.choice is not None and choice is not None and choice.weights != self.choice.weights
        self._other_s = self._other_s + self.lapse_s if other else 0.0
        if not other or self._other_s >= HOLD_S:
            self.choice, self._other_s = choice or self.choice, 0.0


class Tracks:
    """The faces of a clip that are followed, scene by scene.

    Args:
        steadier: makes what steadies a face.
    """

    def __init__(self, steadier: Callable[[], Steadying] = Steadier) -> None:
        self._steadier = steadier
        self._cuts = Cuts()
        self._view: View | None = None
        self._time_s: float | None = None
        self.tracks: list[Track] = []

    def stay(self, found: Sequence[DetectedFace], time_s: float) -> list[Track]:
        """Return the faces of frames that are cut out faces already, where nothing moves."""
        lapse_s = self._lapse(time_s)
        if len(self.tracks) != len(found):
            self.tracks = [self._begun(face, 1.0, np.zeros(()), lapse_s) for face in found]
            return self.tracks
        for track, face in zip(self.tracks, found, strict=True):
            track.face, track.lapse_s, track.new = face, lapse_s, False
        return self.tracks

    def follow(self, pixels: Image, found: Sequence[DetectedFace], time_s: float) -> list[Track]:
        """Return the faces of a frame: those that are found, and for a while those that no longer are.

        Args:
            pixels: of the frame.
            found: by the detector.
            time_s: when it is shown.
        """
        view, before = View(pixels), self._view
        cut = self._cuts.at(view) or before is None
        lapse_s, self._view = self._lapse(time_s), view
        looks = [_look(pixels, face) for face in found]
        known = [] if cut or before is None else self._carried(before, view)
        pairs = _matched(known, found, looks)
        going = []
        for number, (track, motion, _) in enumerate(known):
            index = pairs.get(number)
            track.move(None if index is None else found[index], motion, lapse_s)
            if index is not None:
                track.look = 0.7 * track.look + 0.3 * looks[index]
            if index is not None or track.share > 0:
                going.append(track)
        taken = set(pairs.values())
        fresh = [i for i in range(len(found)) if i not in taken]
        self.tracks = [*going, *(self._begun(found[i], float(cut), looks[i], lapse_s) for i in fresh)]
        return self.tracks

    def _begun(self, face: DetectedFace, share: float, look: NDArray[Any], lapse_s: float) -> Track:
        track = Track(face, share, look, lapse_s=lapse_s, steadier=self._steadier())
        track.move(face, None, 0.0)
        track.new, track.lapse_s = True, lapse_s
        return track

    def _lapse(self, time_s: float) -> float:
        """Return the time since the frame before; 0 for the first."""
        before, self._time_s = self._time_s, time_s
        return 0.0 if before is None else max(0.0, time_s - before)

    def _carried(self, before: View, now: View) -> list[tuple[Track, Affine | None, DetectedFace]]:
        """Return the faces of the frame before, where each has gone by what moves."""
        carried = []
        for track in self.tracks:
            motion = motion_of(track.face.box, before, now)
            carried.append((track, motion, track.face if motion is None else moved_face(track.face, motion)))
        return carried


def moved_face(face: DetectedFace, motion: Affine) -> DetectedFace:
    """Return a face where a motion has taken it."""
    left, top, right, bottom = face.box
    (x, y), reach = (
        transform_points(motion, [((left + right) / 2, (top + bottom) / 2)])[0],
        np.hypot(*motion[0, :2]),
    )
    half = (reach * (right - left) / 2, reach * (bottom - top) / 2)
    box = (float(x - half[0]), float(y - half[1]), float(x + half[0]), float(y + half[1]))
    return replace(face, box=box, landmarks=transform_points(motion, face.landmarks).astype(np.float32))


def _matched(
    known: Sequence[tuple[Track, Affine | None, DetectedFace]],
    found: Sequence[DetectedFace],
    looks: Sequence[NDArray[Any]],
) -> dict[int, int]:
    """Return which of the known faces is which of those that are found: the likest pair first."""
    pairs = [
        (likeness, number, index)
        for number, (track, _, carried) in enumerate(known)
        for index, face in enumerate(found)
        if (likeness := _likeness(carried, face) + float((track.look * looks[index]).mean()))
        >= LEAST_LIKENESS
    ]
    matched: dict[int, int] = {}
    for _, number, index in sorted(pairs, reverse=True):
        if number not in matched and index not in matched.values():
            matched[number] = index
    return matched


def _likeness(one: DetectedFace, other: DetectedFace) -> float:
    """Return overlap of the boxes and nearness of the landmarks, 0 to 2; -1 for faces too far apart to be one."""
    (a, b, c, d), (e, f, g, h) = one.box, other.box
    shared = max(0.0, min(c, g) - max(a, e)) * max(0.0, min(d, h) - max(b, f))
    overlap = shared / max((c - a) * (d - b) + (g - e) * (h - f) - shared, 1e-6)
    unit = max(one.eye_distance_px, other.eye_distance_px, 1e-6)
    apart = float(np.linalg.norm(one.landmarks - other.landmarks, axis=1).mean()) / unit
    return overlap + 1 - apart if apart < 1 else -1.0


def _look(pixels: Image, face: DetectedFace) -> NDArray[Any]:
    """Return how a face looks, (S, S, 3), of mean 0 and deviation 1, so that a mean product is a correlation."""
    try:
        crop = align_face(pixels, face, THUMB_PX).lq
    except ImageError:  # it lies outside
        return np.zeros((THUMB_PX, THUMB_PX, 3), np.float32)
    centred = crop - crop.mean()
    look: NDArray[Any] = centred / max(float(centred.std()), 1e-3)
    return look
