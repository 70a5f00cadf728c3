"""Flags that were given, as against those that were left to the configuration file and the defaults."""

from __future__ import annotations


def given(**flags: str | float | bool | None) -> dict[str, object]:
    """Return the flags that are not None."""
    return {name: value for name, value in flags.items() if value is not None}
