"""How the command line shows a download: a bar on a terminal, plain lines in a pipe, or nothing."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import typer

from facerestore.cli.terminal import is_plain

if TYPE_CHECKING:
    from rich.console import Console

    from facerestore.weights import DownloadProgress


def megabytes(size_bytes: int | None) -> str:
    """Return a size for people, in units of 10^6 bytes."""
    return "?" if size_bytes is None else f"{size_bytes / 1e6:.1f} MB"


def console(*, stderr: bool) -> Console:
    """Return a rich console that takes text as it is."""
    from rich.console import Console

    found = Console(stderr=stderr, highlight=False, markup=False)
    if found.is_terminal:
        return found
    # A pipe has no width of its own: 120 columns hold every row of a table of weights in one line.
    return Console(stderr=stderr, highlight=False, markup=False, width=120)


@contextmanager
def download_progress(*, quiet: bool, plain: bool) -> Iterator[Callable[[DownloadProgress], None]]:
    """Show a download on stderr: nothing, a bar on a terminal, or a line per tenth."""
    if quiet:
        yield lambda _: None
    elif plain or not sys.stderr.isatty() or is_plain(sys.stderr):
        yield _PlainProgress()
    else:
        with _bar() as report:
            yield report


class _PlainProgress:
    """Writes a line when a download starts and at each further tenth."""

    def __init__(self) -> None:
        self._last = ""

    def __call__(self, progress: DownloadProgress) -> None:
        if progress.phase == "waiting":
            line = f"{progress.name}: another process is fetching it; waiting"
        elif progress.total_bytes:
            tenth = 10 * progress.done_bytes // progress.total_bytes
            line = f"{progress.name}: {10 * tenth}% of {megabytes(progress.total_bytes)} from {progress.url}"
        else:
            line = f"{progress.name}: fetching from {progress.url}"
        if line != self._last:
            typer.echo(line, err=True)
        self._last = line


@contextmanager
def _bar() -> Iterator[Callable[[DownloadProgress], None]]:
    from rich.progress import (
        BarColumn,
        DownloadColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
        TransferSpeedColumn,
    )

    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn())
    with Progress(*columns, TimeRemainingColumn(), console=console(stderr=True)) as bar:
        task = bar.add_task("", total=None)

        def report(progress: DownloadProgress) -> None:
            text = f"{progress.name} (waiting)" if progress.phase == "waiting" else progress.name
            bar.update(task, description=text, completed=progress.done_bytes, total=progress.total_bytes)

        yield report
