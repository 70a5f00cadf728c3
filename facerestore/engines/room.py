"""A full memory of an accelerator: known for what it is, and answered by smaller calls."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")

FULL_MEMORY = ("out of memory", "failed to allocate memory", "alloc_failed", "bad allocation")
"""What ONNX Runtime, cuDNN, MPS and C++ say of it, who have no class of their own for it."""


def lacks_memory(error: BaseException | None) -> bool:
    """Say whether an engine's error, or what it came of, tells of a full memory: by its class, or by its words."""
    while error is not None:
        if type(error).__name__ == "OutOfMemoryError" or isinstance(error, MemoryError):
            return True
        if any(words in str(error).lower() for words in FULL_MEMORY):
            return True
        error = error.__cause__ or error.__context__
    return False


def in_halves(run: Callable[[Sequence[Item]], list[Result]], items: Sequence[Item]) -> list[Result]:
    """Return one result for each item: of one call, or of ever smaller ones where memory is full.

    Args:
        run: does some items at once.
        items: one or more.

    Raises:
        Exception: what ``run`` raised, but for a full memory with several items.
    """
    try:
        return run(items)
    except Exception as error:
        if len(items) == 1 or not lacks_memory(error):
            raise
    if "torch" in sys.modules:  # what it keeps for later is room, too
        sys.modules["torch"].cuda.empty_cache()
    half = len(items) // 2
    return in_halves(run, items[:half]) + in_halves(run, items[half:])
