"""What a run says of its inputs before the work: what was not taken in directories, and what is not there."""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from facerestore.errors import count

if TYPE_CHECKING:
    from facerestore.batch import BatchPlan
    from facerestore.cli.terminal import Terminal

SHOWN_NAMES = 3


def tell_inputs(plan: BatchPlan, terminal: Terminal) -> None:
    """Say what in the directories is no photo for this run, and which of them are at fault."""
    from facerestore.batch import kinds_of

    if plan.left_out:
        terminal.say(f"left out as results of an earlier run: {_some(plan.left_out)}")
    if plan.not_read:
        number = count(len(plan.not_read), "file")
        terminal.say(
            f"not read, since no picture of a format known here: {number} ({kinds_of(plan.not_read)})"
        )
    if plan.not_searched:
        terminal.say(f"not looked into without -r: {_some(plan.not_searched)}")
    for fault in plan.faults:
        terminal.warn(f"error: {fault}")


def missing_hints(inputs: Sequence[Path]) -> list[str]:
    """Return what may be meant by inputs that are not there: words of one name, addresses, lists, misplaced options."""
    hints = []
    for number, path in enumerate(inputs):
        word = str(path)
        if word == "-" or os.path.lexists(path):
            continue
        joined = [" ".join(map(str, inputs[number:end])) for end in range(number + 2, len(inputs) + 1)]
        hints += [
            f"a name with spaces goes into quotes: {shlex.quote(n)}" for n in joined if os.path.lexists(n)
        ]
        if re.match(r"[a-z]+:/", word):
            hints.append(f"'{word}' is an address, and nothing is fetched here; download the picture first")
        elif word.startswith("--"):
            hints.append(f"'{word}' stands behind --, where all is a name; put options before it")
        elif word.startswith("~") and os.path.lexists(home := os.path.expanduser(word)):  # noqa: PTH111
            hints.append(f"~ within quotes is no home; write {home}")
        elif "," in word and all(os.path.lexists(part) for part in word.split(",")):
            hints.append("inputs are separated by spaces, not by commas")
    return hints


def _some(paths: Sequence[Path]) -> str:
    """Return how many paths there are, and the names of the first."""
    names = [path.name for path in paths[:SHOWN_NAMES]]
    return f"{len(paths)} ({', '.join(names)}{', ...' if len(paths) > SHOWN_NAMES else ''})"


def exit_code(failed: int, photos: int, *, faults: int = 0) -> int:
    """Return 0, or 1 when all photos failed, or 3 when some did or a directory was at fault."""
    if failed == 0 and faults == 0:
        return 0
    return 1 if failed == photos else 3
