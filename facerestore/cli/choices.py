"""Flags that were given, as against those left to the configuration file and the defaults; and what auto means."""

from __future__ import annotations

from typing import TYPE_CHECKING

from facerestore.errors import ConfigError

if TYPE_CHECKING:
    from facerestore.weights import WeightsStore


def given(**flags: str | float | bool | None) -> dict[str, object]:
    """Return the flags that are not None."""
    return {name: value for name, value in flags.items() if value is not None}


def parse_strengths(text: str | None) -> tuple[float, ...]:
    """Return the numbers of a list such as ``0.5,1``; none for None.

    Raises:
        ConfigError: an item is no number from 0 to 1.
    """
    try:
        strengths = () if text is None else tuple(float(item) for item in text.split(","))
    except ValueError as error:
        raise ConfigError(f"--strength is '{text}'; give a number from 0 (nothing) to 1 (full)") from error
    if not all(0 <= strength <= 1 for strength in strengths):
        raise ConfigError(f"--strength is {text}; give numbers from 0 (nothing) to 1 (full)")
    return strengths


def automatic_choice(store: WeightsStore) -> str:
    """Return in one line which installed weights the automatic choice takes, for which faces."""
    from facerestore.available import usable
    from facerestore.config import RestoreConfig

    return usable(RestoreConfig(), store).words
