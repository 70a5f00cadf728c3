"""What a line is made of, and what a photo carries through it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import KW_ONLY, dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np
from numpy.typing import NDArray

from facerestore.config import RestoreConfig
from facerestore.io import DEFAULT_MAX_PIXELS
from facerestore.parsing import FacePasting
from facerestore.types import DecodedImage, DetectedFace, Image, RestoredFace

if TYPE_CHECKING:
    from facerestore.backends.restorer import Restorer
    from facerestore.background import Upsampler
    from facerestore.imaging.blending import Paste
    from facerestore.pipeline.guard import Guard
    from facerestore.pipeline.repair import Repair
    from facerestore.quality.judge import FaceQuality
    from facerestore.types import FaceDetector, FaceParser


@dataclass(frozen=True, slots=True)
class NetworkFacts:
    """Where a network beside the restorer comes from: the parser, or the background's.

    Attributes:
        weights: catalog name or path of its weights.
        sha256: of that file, when known.
        commercial_use: ``yes``, ``no`` or ``unclear``; None when unknown.
    """

    weights: str
    sha256: str | None = None
    commercial_use: str | None = None


@dataclass(frozen=True, slots=True)
class PipelineFacts:
    """Where the networks of a pipeline come from, for reports and for people.

    Attributes:
        weights: catalog name or path of the restorer's weights; None when unknown.
        sha256: of that file, when known.
        bundled: the weights are those that come with facerestore.
        commercial_use: ``yes``, ``no`` or ``unclear``; None when unknown.
        device: where the restorer runs.
        precision: number format that the restorer computes in; None where it does not tell.
        parser: where the parser network comes from; None without one.
        background: where the background's network comes from; None without one.
        origin: of an exported network, the weights that it was made from, and on what terms; None for others.
        identity: where the network comes from that knows faces again; None without one.
        passed_over: installed weights that stood for ``auto`` and cannot be used: catalog name, and why.
    """

    weights: str | None = None
    sha256: str | None = None
    bundled: bool = False
    commercial_use: str | None = None
    device: str = "cpu"
    precision: str | None = None
    parser: NetworkFacts | None = None
    background: NetworkFacts | None = None
    origin: str | None = None
    identity: NetworkFacts | None = None
    passed_over: tuple[tuple[str, str], ...] = ()

    @property
    def where(self) -> str:
        """On which device, and in which number format where that is not float32, for people."""
        return f"on {self.device}" + ("" if self.precision in (None, "float32") else f" in {self.precision}")


class GiveGrain(Protocol):
    """Gives pasted faces the grain of the photo, as ``facerestore.pipeline.grain.with_grain`` does."""

    def __call__(
        self, canvas: Image, pastes: Sequence[Paste], *, size: tuple[int, int]
    ) -> Callable[[Image], Image]:
        """Return what takes the canvas with the faces in it, gives them the grain, and returns it."""
        ...


@dataclass(frozen=True, eq=False)
class Parts:
    """The networks of a line, and what is asked of them; built once, shared by threads.

    Attributes:
        detector: finds the faces; None for aligned input.
        restorer: restores them.
        config: strength, selection and the like.
        parser: labels the parts of faces; without one, a soft oval stands in for it.
        facts: where the networks come from.
        background: enlarges the rest of the photo; without one it is resized, and at upscale 1 left alone.
        guard: makes sure that restored faces are still those in the photo; None asks nothing of them.
        grain: gives pasted faces the grain of their surroundings; None leaves them smooth.
        repair: fills the damage of faces that were found, before they are judged; None leaves it.
    """

    detector: FaceDetector | None
    restorer: Restorer
    _: KW_ONLY
    config: RestoreConfig = field(default_factory=RestoreConfig)
    parser: FaceParser | None = None
    facts: PipelineFacts = PipelineFacts()
    background: Upsampler | None = None
    guard: Guard | None = None
    grain: GiveGrain | None = None
    repair: Repair | None = None

    @property
    def active_detector(self) -> FaceDetector | None:
        """The detector, where faces are to be found at all."""
        return None if self.config.aligned else self.detector

    @property
    def max_pixels(self) -> int:
        """Most pixels of a photo, and of its result."""
        return self.config.max_pixels or DEFAULT_MAX_PIXELS

    @cached_property
    def pasting(self) -> FacePasting:
        """What of a face is pasted, and how strongly; raises ConfigError where that needs a parser."""
        return FacePasting.of(self.config, self.parser)


@dataclass(frozen=True, slots=True, eq=False)
class Damage:
    """What is damaged in a photo.

    Attributes:
        holes: (H, W) True where it is.
        source: who says so, for reports.
    """

    holes: NDArray[np.bool_]
    source: str


class StageClock:
    """Adds up the seconds of the stages of a photo.

    Args:
        clock: returns seconds.
        apart: a stage within another is told apart, and does not count for the outer one; else it is part of that.
        memory: returns the peak until now, bytes, asked at the end of each stage; None asks for none.

    Attributes:
        seconds: by stage.
        peaks: bytes, by stage, where ``memory`` is asked.
    """

    def __init__(
        self,
        *,
        clock: Callable[[], float] = time.perf_counter,
        apart: bool = False,
        memory: Callable[[], int | None] | None = None,
    ) -> None:
        self.seconds: dict[str, float] = {}
        self.peaks: dict[str, int | None] = {}
        self._clock, self._apart, self._memory = clock, apart, memory
        self._inner: list[float] = []

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Add how long the block takes to what ``name`` has taken before."""
        if self._inner and not self._apart:
            yield
            return
        with self.aside(name):
            yield

    @contextmanager
    def aside(self, name: str) -> Iterator[None]:
        """Add how long the block takes to ``name``, and not to the stage that it is in."""
        self._inner.append(0.0)
        start = self._clock()
        yield
        whole = self._clock() - start
        self.seconds[name] = self.seconds.get(name, 0.0) + whole - self._inner.pop()
        if self._inner:
            self._inner[-1] += whole
        if self._memory is not None:
            self.peaks[name] = self._memory()

    def report(self) -> dict[str, float]:
        """Return the seconds by stage and in all, in milliseconds' precision."""
        return {
            **{k: round(v, 4) for k, v in self.seconds.items()},
            "total": round(sum(self.seconds.values()), 4),
        }


@dataclass(frozen=True, eq=False)
class Passage:
    """A photo on its way through a line: each stage returns it one step further.

    Attributes:
        image: the photo; not changed, unless it is spent.
        source: its path, where a task needs more than pixels; None where it has none.
        spent: the result may lie in the memory of its pixels.
        clock: of the stages.
        found: its faces left to right, the order of their indices.
        faces: the same with their decisions, and all that came of them.
        qualities: what was measured on those that had to be cut out for their decision.
        damage: what is to be filled; None where nothing is.
        repaired: its faces as their damage was filled before they were judged; none where nothing is repaired.
        before: what the result is compared with, where that is not the photo.
        canvas: (H, W, 3) what a background network made of the photo; None without one.
    """

    image: DecodedImage
    _: KW_ONLY
    source: Path | None = None
    spent: bool = False
    clock: StageClock = field(default_factory=StageClock)
    found: Sequence[DetectedFace] = ()
    faces: Sequence[RestoredFace] = ()
    qualities: Sequence[FaceQuality | None] = ()
    damage: Damage | None = None
    repaired: Sequence[RestoredFace] = ()
    before: DecodedImage | None = None
    canvas: Image | None = None

    @property
    def pixels(self) -> Image:
        """Those of the photo."""
        return self.image.pixels
