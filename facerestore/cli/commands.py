"""All commands by name; the module of one is imported when it is the one that is called for, so that each answers soon.

Typer needs a command's function to list it, so that a list of all would import all: here is what the list says.
"""

from __future__ import annotations

import atexit
import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from types import MappingProxyType

import typer

from facerestore.cli.helping import help_of, paragraphs
from facerestore.cli.stopping import end_now

COMPLETION = "_FACERESTORE_COMPLETE"
"""Set by the shell where it asks for completions (click's name for a program called facerestore)."""


@dataclass(frozen=True, slots=True)
class Command:
    """A command, or a group of them.

    Attributes:
        summary: first paragraph of its help.
        group: it has commands of its own.
        needs_words: called without any, it shows its help.
    """

    summary: str
    group: bool = False
    needs_words: bool = True

    def add(self, app: typer.Typer, name: str) -> None:
        """Import the command, and give it to a program."""
        module = import_module(f"facerestore.cli.{name}")
        if self.group:
            app.add_typer(getattr(module, f"{name}_app"), name=name)
            return
        function = getattr(module, name)
        epilog = paragraphs(module.EPILOG)
        app.command(name, help=help_of(function), epilog=epilog, no_args_is_help=self.needs_words)(function)


COMMANDS: Mapping[str, Command] = MappingProxyType(
    {
        "enhance": Command("Restore the faces of photos, and say what was done."),
        "colorize": Command(
            "Give the faces of black-and-white photos colours, and keep their light and shade."
        ),
        "inpaint": Command("Fill scratches, creases, tears, stains and dust in faces."),
        "synthesize": Command(
            "Draw a face from a parsing map: a square picture that says what is skin, hair, an eye and so on."
        ),
        "serve": Command(
            "Restore photos for programs and people over HTTP: POST a photo, get it restored, or open the page in a"
            " browser.",
            needs_words=False,
        ),
        "detect": Command(
            "List the faces of photos, left to right, with the indices that 'enhance --faces' takes."
        ),
        "parse": Command(
            "Show the parts of faces: skin, eyes, brows, nose, lips, hair and the rest of the 19 classes of"
            " CelebAMask-HQ."
        ),
        "verify": Command(
            "Say which pixels of a photo a result has changed, and fail where it has changed others than it says."
        ),
        "undo": Command(
            "Give back the photos that results were made of, byte for byte, where --keep-originals has kept them."
        ),
        "export": Command(
            "Write a network as a file that other programs run: ONNX, OpenVINO or TorchScript; and compare it at once."
        ),
        "bench": Command(
            "Measure this program on this machine: the stages of the line, networks, or two of them in turns.",
            needs_words=False,
        ),
        "doctor": Command(
            "Say what works on this machine: versions, devices, weights, detectors, parsers, and a trial of the whole"
            " line.",
            needs_words=False,
        ),
        "extensions": Command(
            "List the names of backends, detectors, recipes, degradations and metrics, and which other packages bring.",
            needs_words=False,
        ),
        "schema": Command(
            "Print the JSON Schema of reports, as --report FILE.json and --json of enhance and the other tasks write"
            " them.",
            needs_words=False,
        ),
        "weights": Command(
            "See, fetch, check and remove weights: the files that hold trained networks.", group=True
        ),
        "backends": Command(
            "See which restoration networks there are, and check that one keeps the contract.", group=True
        ),
        "data": Command(
            "Make faces to learn from out of photographs, and see what degradations make of them.", group=True
        ),
        "train": Command(
            "Train networks. A run that was stopped goes on with the same command, and ends as if it had never been"
            " stopped.",
            group=True,
        ),
        "evaluate": Command(
            "Measure how well faces are restored, as a table with intervals and its whole protocol.",
            group=True,
        ),
    }
)
"""In the order in which help lists them."""


def add_all(app: typer.Typer) -> None:
    """Import all commands, and give them to a program."""
    for name, command in COMMANDS.items():
        command.add(app, name)


def called_command(words: Sequence[str]) -> str | None:
    """Return the command that a command line, without the program's name, calls; None where it calls none that is."""
    first = next((word for word in words if not word.startswith("-")), None)
    return first if first in COMMANDS else None


def add_called(app: typer.Typer, words: Sequence[str]) -> None:
    """Give a program the command that a command line calls; where it calls none, all of them to be listed.

    Args:
        app: the program.
        words: the command line without the program's name.
    """
    called = called_command(words)
    if COMPLETION in os.environ:
        add_all(app)
    elif called is not None:
        COMMANDS[called].add(app, called)
    else:
        for name, command in COMMANDS.items():
            app.command(name, help=command.summary)(_only_listed)


def _only_listed() -> None:
    """Stand for a command in a list."""


class QuickEnd:
    """Ends the process, once all that is to be done at its end is done, without taking its memory apart.

    Taking apart what restored one photo is a tenth of the whole run. The finalizers of torch's libraries take 0.6 s and
    page 118 MB of them into memory, with torch 2.15 built for CUDA on two cores; on a disk that has to be read for it,
    over ten seconds. There is nothing in either that a process that ends needs.

    To be made first of all: what is registered with ``atexit`` later runs earlier.

    Attributes:
        code: exit code of the process; None until it is known, and then the process ends as any other.
    """

    def __init__(self) -> None:
        self.code: int | None = None
        atexit.register(self._end)

    def _end(self) -> None:
        if self.code is not None:
            self.now()

    def now(self) -> None:
        """End the process, unless what was said cannot be handed over."""
        assert self.code is not None, "the exit code is known"
        try:
            for stream in (sys.stdout, sys.stderr):
                if stream is not None:
                    stream.flush()
        except (OSError, ValueError):  # Python tells of it, if it is let to end on its own
            return
        end_now(self.code)
