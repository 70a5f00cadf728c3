"""What is shown while many photos are done: how many and how fast, what failed, and how long it will take."""

from __future__ import annotations

import time
from collections.abc import Callable
from threading import get_ident
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import RenderableType

    from facerestore.batch import PhotoOutcome
    from facerestore.cli.terminal import Terminal
    from facerestore.pipeline.progress import Progress


MANY_TILES = 4
"""From so many on, the first tells how long the others will take."""

SLOW_S = 10.0
"""Of a background that takes less nothing is said beforehand."""


class Pace:
    """Counts photos as they are done, and tells how fast.

    Args:
        total: how many there are.
        clock: seconds.

    Attributes:
        detail: what is said of the photo under way; empty for nothing.
    """

    def __init__(self, total: int, *, clock: Callable[[], float] = time.monotonic) -> None:
        self.detail = ""
        self._total, self._clock, self._begun = total, clock, clock()
        self._photos = self._faces = self._failed = 0

    def take(self, outcome: PhotoOutcome) -> None:
        """Count a photo; one that is left to another run is none of this one's."""
        self._photos += not outcome.left
        self._total -= outcome.left
        self._failed += outcome.error is not None
        self._faces += 0 if outcome.report is None else outcome.report["found"]

    @property
    def cells(self) -> dict[str, str]:
        """What is shown, by its heading."""
        passed = self._clock() - self._begun
        left = None if not self._photos else (self._total - self._photos) * passed / self._photos
        return {
            "photos": f"{self._photos:,} of {self._total:,}",
            "photos/s": _rate(self._photos, passed),
            "faces": f"{self._faces:,}",
            "faces/s": _rate(self._faces, passed),
            "failed": f"{self._failed:,}",
            "time left": "" if left is None else duration(left),
        }

    def __rich__(self) -> RenderableType:
        """Return the table."""
        from rich import box
        from rich.table import Table

        table = Table(
            box=box.SIMPLE_HEAD, pad_edge=False, caption=self.detail or None, caption_justify="left"
        )
        cells = self.cells
        for heading in cells:
            table.add_column(heading, justify="right", no_wrap=True)
        table.add_row(*cells.values())
        return table


class TilesLeft:
    """Tells how long the backgrounds of photos under way take; on a CPU that is minutes a photo.

    Args:
        clock: seconds.
    """

    def __init__(self, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock, self._begun, self._told = clock, dict[int, float](), False

    def tell(self, progress: Progress, terminal: Terminal) -> None:
        """Show how far the background of the photo of this thread is; say once how long the first one takes."""
        if not progress.tiles:
            self._begun[get_ident()] = self._clock()
            return
        each = (self._clock() - self._begun.get(get_ident(), self._clock())) / progress.tile
        left, whole = duration(each * (progress.tiles - progress.tile)), each * progress.tiles
        terminal.detail(f"background {progress.tile}/{progress.tiles}, {left} left")
        slow = progress.tiles >= MANY_TILES and whole >= SLOW_S
        if slow and not self._told and not terminal.shows_bar:
            self._told = True
            terminal.say(f"the background takes about {duration(whole)} ({progress.tiles} tiles)")


def _rate(number: int, seconds: float) -> str:
    return f"{number / seconds:.2f}" if number and seconds > 0 else ""


def duration(seconds: float) -> str:
    """Return a time for people: ``45 s``, ``12 min`` and ``3 h 05 min``."""
    whole = round(seconds)
    if whole < 100:
        return f"{whole} s"
    hours, minutes = divmod(round(whole / 60), 60)
    return f"{hours} h {minutes:02d} min" if hours else f"{minutes} min"
