"""What is done with faces: the tasks, the commands that do them, and the words for it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Task:
    """One thing that is done with the faces of photos.

    Attributes:
        purpose: what weights for it are for, in the catalog.
        command: the command of ``facerestore`` that does it.
        verb: in "would restore with ...".
        doing: in "restoring with ...".
        done: in "2 faces, 1 restored".
        ending: what the name of a result beside its photo ends in.
    """

    purpose: str
    command: str
    verb: str
    doing: str
    done: str
    ending: str


RESTORE = Task("restore", "enhance", "restore", "restoring", "restored", "_restored")
COLORIZE = Task("colorize", "colorize", "colour", "colouring", "coloured", "_colorized")
INPAINT = Task("inpaint", "inpaint", "fill", "filling", "filled", "_inpainted")
SYNTHESIZE = Task("synthesize", "synthesize", "synthesize", "synthesizing", "synthesized", "_synthesized")

TASKS = {task.purpose: task for task in (RESTORE, COLORIZE, INPAINT, SYNTHESIZE)}
"""All tasks by purpose."""
