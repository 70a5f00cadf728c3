"""Where the words of a command go: text for people, JSON for programs, a progress bar where somebody looks."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import typer


@dataclass(frozen=True, slots=True)
class Terminal:
    """How much is said, and where.

    Attributes:
        verbosity: -1 quiet, 0 normal, 1 verbose.
        stdout_taken: standard output carries a picture or JSON, so that text goes to standard error.
        progress: a bar may be shown.
    """

    verbosity: int = 0
    stdout_taken: bool = False
    progress: bool = True

    def say(self, text: str, *, level: int = 0) -> None:
        """Print a line for people, where the verbosity is at least ``level``."""
        if self.verbosity >= level:
            typer.echo(text, err=self.stdout_taken)

    def warn(self, text: str) -> None:
        """Print a line to standard error, quiet or not."""
        typer.echo(f"facerestore: {text}", err=True)

    @contextmanager
    def steps(self, total: int) -> Iterator[Callable[[str], None]]:
        """Yield a function that is told the name of each step as it begins.

        On a terminal a bar shows it, below the lines that ``say`` prints; in a pipe nothing does.
        """
        if not (self.progress and self.verbosity >= 0 and sys.stderr.isatty()):
            yield lambda name: None
            return
        from rich.console import Console
        from rich.progress import (
            BarColumn,
            MofNCompleteColumn,
            Progress,
            SpinnerColumn,
            TextColumn,
            TimeElapsedColumn,
        )

        columns = (SpinnerColumn(), TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
        console = Console(stderr=True, highlight=False, markup=False)
        with Progress(
            *columns,
            TimeElapsedColumn(),
            console=console,
            transient=True,
            redirect_stdout=sys.stdout.isatty() and not self.stdout_taken,
        ) as bar:
            task = bar.add_task("", total=total)
            begun = 0

            def begin(name: str) -> None:
                nonlocal begun
                bar.update(task, description=name, completed=begun)
                begun += 1

            yield begin
