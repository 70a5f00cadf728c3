"""How far a photo is on its way, for who waits for it, and the means to give it up."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import NamedTuple, TypeAlias

from facerestore.errors import CancelledError
from facerestore.pipeline.parts import StageClock


class Progress(NamedTuple):
    """How far a photo is.

    Attributes:
        stage: that begins or goes on: ``detect``, ``judge``, ``parse``, ``restore``, ``guard``, ``background`` or
            ``blend``.
        number: of the stage, from 0.
        stages: how many there are with this pipeline.
        tile: how many tiles of the background are done; 0 in other stages.
        tiles: how many there are; 0 in other stages, and as the background begins.
        frame: how many frames of a clip are done; 0 for photos.
        frames: how many there are; 0 where that is not known, and for photos.
    """

    stage: str
    number: int
    stages: int
    tile: int = 0
    tiles: int = 0
    frame: int = 0
    frames: int = 0


OnProgress: TypeAlias = Callable[[Progress], None]
"""Is told as each stage begins and as each tile of the background is done, in the thread that restores."""


class Cancel:
    """Gives up photos under way; any thread may ask for it, and any number of photos may share it."""

    def __init__(self) -> None:
        self._asked = threading.Event()

    def cancel(self) -> None:
        """Ask for it: what is under way ends before its next stage or tile."""
        self._asked.set()

    @property
    def asked(self) -> bool:
        """Whether it was asked for."""
        return self._asked.is_set()

    def check(self, stage: str) -> None:
        """Raise CancelledError before a stage where it was asked for."""
        if self.asked:
            raise CancelledError(
                f"cancelled before '{stage}'; nothing was changed, run it again for a result"
            )


@dataclass(frozen=True, slots=True)
class Watch:
    """Goes with one photo: takes its seconds, tells its progress, and ends it where that is asked for.

    Attributes:
        clock: takes the seconds of the stages.
        names: of the stages, in their order.
        on_progress: is told; None tells nobody.
        cancel: ends it; None goes on to the end.
    """

    clock: StageClock
    names: Sequence[str]
    on_progress: OnProgress | None = None
    cancel: Cancel | None = None

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Go with a stage; raises CancelledError where it is not to begin."""
        self._tell(name)
        with self.clock.stage(name):
            yield

    def tile(self, done: int, of: int) -> None:
        """Go on with the background; raises CancelledError where it is not to."""
        self._tell("background", done, of)

    def _tell(self, name: str, tile: int = 0, tiles: int = 0) -> None:
        if self.cancel is not None:
            self.cancel.check(name)
        if self.on_progress is not None:
            self.on_progress(Progress(name, self.names.index(name), len(self.names), tile, tiles))
