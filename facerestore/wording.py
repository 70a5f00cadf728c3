"""Words for numbers, in messages and on the terminal."""

from __future__ import annotations


def count(number: int, noun: str) -> str:
    """Return ``1 face``, ``2 faces``."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
