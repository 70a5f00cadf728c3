"""Which faces a task works on that is not about sharpness: all that are large enough."""

from __future__ import annotations

from facerestore.config import RestoreConfig
from facerestore.quality import too_small
from facerestore.types import Decision, DetectedFace, Outcome


def large_enough(config: RestoreConfig, detected: DetectedFace, *, least_px: float, reason: str) -> Decision:
    """Return that a face is worked on for ``reason``; kept where it is too small, unless that is forced.

    Args:
        config: may force small faces.
        detected: the face as found.
        least_px: least distance between the eyes, image pixels.
        reason: why it is worked on, for people.
    """
    small = too_small(detected, min_eye_distance_px=least_px)
    if small is None:
        return Decision(Outcome.RESTORED, "restored", reason)
    return Decision(Outcome.RESTORED, "restored", f"forced, though {small.reason}") if config.force else small
