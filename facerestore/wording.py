"""Words for numbers, in messages and on the terminal."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def count(number: int, noun: str) -> str:
    """Return ``1 face``, ``2 faces``."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def no_face(search: Mapping[str, Any] | None) -> str:
    """Return what is said of a photo without a face: how small one was looked for, and how near the likeliest came.

    Args:
        search: what was looked at, as ``facerestore.photo_report.search_facts`` gives it; None where that is unknown.
    """
    if search is None:
        return "no face"
    least, turned = round(search["least_face_px"]), search["least_turned_px"]
    words = f"no face of {least} px or more"
    if turned is not None:
        words += ", upright or turned" if round(turned) == least else f", or {turned:.0f} px if turned"
    best = search["best_rejected"]
    return words if best is None else f"{words}; the likeliest candidate scored {best:.2f}"
