"""Where the words of a command go: text for people, JSON for programs, a progress bar where somebody looks."""

from __future__ import annotations

import json
import os
import re
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TextIO

import typer

if TYPE_CHECKING:
    from rich.console import Console

    from facerestore.cli.live import Pace
    from facerestore.weights import DownloadProgress


_CONTROLS = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")
"""Names of files may hold what commands a terminal; new lines and tabs are left, which our own texts have."""


def is_plain(stream: TextIO) -> bool:
    """Say whether a terminal takes plain ASCII only: it says that it is dumb, or its encoding has no frames."""
    encoding = getattr(stream, "encoding", None)
    return os.environ.get("TERM") == "dumb" or not (encoding or "utf").lower().startswith("utf")


def silence(stream: TextIO) -> None:
    """Let a stream lead nowhere, for its reader has gone: what Python holds for it must not raise at the end."""
    with suppress(OSError, ValueError):  # a stream that is no file has nothing to be led
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


@dataclass(frozen=True, slots=True)
class Terminal:
    """How much is said, and where.

    Attributes:
        verbosity: -1 quiet, 0 normal, 1 verbose.
        stdout_taken: standard output carries a picture or JSON, so that text goes to standard error.
        progress: a bar may be shown.
        listing: what is said is all that is made, so that the work ends where it cannot be said any more.
    """

    verbosity: int = 0
    stdout_taken: bool = False
    progress: bool = True
    listing: bool = False
    _live: list[Console] = field(default_factory=list, init=False, repr=False, compare=False)
    """The console that draws the bar, while one is shown: it alone can print above it."""
    _detail: list[Callable[[str], None]] = field(default_factory=list, init=False, repr=False, compare=False)
    """What writes beside the name of the step, while a bar is shown."""

    def say(self, text: str, *, level: int = 0) -> None:
        """Print a line for people, where the verbosity is at least ``level``."""
        if self.verbosity >= level:
            self._print(text, sys.stderr if self.stdout_taken else sys.stdout)

    def say_below(self, lines: Iterable[str]) -> None:
        """Print lines about the one before, moved in."""
        for line in lines:
            self.say(f"  {line}")

    def warn(self, text: str) -> None:
        """Print a line to standard error, quiet or not."""
        self._print(f"facerestore: {text}", sys.stderr)

    def log(self, value: object) -> None:
        """Print a value to standard output as one line of JSON, quiet or not."""
        self._print(json.dumps(value), sys.stdout)

    def detail(self, text: str) -> None:
        """Show how far the current step is, beside its name; where no bar is shown, nothing is."""
        for show in self._detail:
            show(text)

    @property
    def shows_bar(self) -> bool:
        """Whether a bar is shown."""
        return bool(self._detail)

    def _print(self, text: str, stream: TextIO) -> None:
        """Print a line, on a terminal above the bar where one is shown.

        Where that fails, nothing ends by it but a listing: what is asked for is the files.

        Raises:
            OSError: a listing cannot be written, or nobody reads it any more.
        """
        text = _CONTROLS.sub(lambda found: f"\\x{ord(found[0]):02x}", text)
        try:
            if self._live and stream.isatty():
                # Not broken by rich: the terminal wraps a line so that a path can still be copied whole.
                self._live[-1].print(text, soft_wrap=True)
            else:
                typer.echo(text, file=stream)
        except OSError as error:
            if self.listing and stream is sys.stdout:
                raise
            silence(stream)
            if stream is not sys.stderr:
                self.warn(
                    f"standard output cannot be written ({error.strerror}); the work goes on without it"
                )

    @property
    def _draws(self) -> bool:
        """Whether somebody looks at what changes, on a terminal that can show it."""
        return self.progress and self.verbosity >= 0 and sys.stderr.isatty() and not is_plain(sys.stderr)

    @contextmanager
    def steps(self, total: int) -> Iterator[Callable[[str], None]]:
        """Yield a function that is told the name of each step as it begins.

        On a terminal a bar shows it, below the lines that ``say`` prints; in a pipe nothing does.
        """
        if not self._draws:
            yield lambda name: None
            return
        from rich import progress

        # File names may hold [brackets] and :colons:, which are not to be read as markup.
        name_column = progress.TextColumn("{task.description}", markup=False)
        columns = (progress.SpinnerColumn(), name_column, progress.BarColumn(), progress.MofNCompleteColumn())
        screen, elapsed = console(stderr=True), progress.TimeElapsedColumn()
        with progress.Progress(
            *columns, elapsed, console=screen, transient=True, redirect_stdout=False
        ) as bar:
            task = bar.add_task("", total=total)
            begun, current = 0, ""

            def begin(name: str) -> None:
                nonlocal begun, current
                current = name
                bar.update(task, description=name, completed=begun)
                begun += 1

            with self._above(screen, lambda text: bar.update(task, description=f"{current}: {text}")):
                yield begin

    @contextmanager
    def paced(self, pace: Pace) -> Iterator[None]:
        """Show how fast photos are done within the block, on a terminal, below the lines that ``say`` prints."""
        if not self._draws:
            yield
            return
        from rich.live import Live

        screen = console(stderr=True)
        with (
            Live(pace, console=screen, transient=True, redirect_stdout=False),
            self._above(screen, lambda text: setattr(pace, "detail", text)),
        ):
            yield

    @contextmanager
    def _above(self, screen: Console, detail: Callable[[str], None]) -> Iterator[None]:
        """Print lines by a console that draws something below them, and details by what is given."""
        self._live.append(screen)
        self._detail.append(detail)
        try:
            yield
        finally:
            self._live.pop()
            self._detail.pop()


def print_json(value: object) -> None:
    """Print a value to standard output as indented JSON, which stays ASCII whatever the terminal."""
    typer.echo(json.dumps(value, indent=2))


def megabytes(size_bytes: int | None) -> str:
    """Return a size for people, in units of 10^6 bytes, or of 10^3 where it is below a tenth of that."""
    if size_bytes is None:
        return "?"
    return f"{size_bytes / 1e3:.0f} kB" if size_bytes < 1e5 else f"{size_bytes / 1e6:.1f} MB"


def console(*, stderr: bool = False, least: int = 120, most: int | None = None) -> Console:
    """Return a rich console that takes text as it is.

    Args:
        stderr: it writes to standard error.
        least: columns of a pipe, which has no width of its own; 120 hold every row of a table of weights in one line.
        most: columns at most.
    """
    from rich.console import Console

    found = Console(stderr=stderr, highlight=False, markup=False, emoji=False)
    if not found.is_terminal or (most is not None and found.width > most):
        found.width = min(found.width, most or least) if found.is_terminal else least
    return found


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
    from rich import progress as bars

    columns = (bars.TextColumn("{task.description}"), bars.BarColumn(), bars.DownloadColumn())
    rates = (bars.TransferSpeedColumn(), bars.TimeRemainingColumn())
    with bars.Progress(*columns, *rates, console=console(stderr=True)) as bar:
        task = bar.add_task("", total=None)

        def report(progress: DownloadProgress) -> None:
            text = f"{progress.name} (waiting)" if progress.phase == "waiting" else progress.name
            bar.update(task, description=text, completed=progress.done_bytes, total=progress.total_bytes)

        yield report
