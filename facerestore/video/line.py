"""The line of photos, frame after frame."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from facerestore.pictures.result import RestoreResult
from facerestore.pipeline.restore import RestorePipeline
from facerestore.video.reading import Frame


@dataclass(slots=True)
class ClipLine:
    """Restores the frames of a clip.

    Attributes:
        pipeline: of photos, whose stages each frame goes through.
    """

    pipeline: RestorePipeline

    def run(self, frames: Iterable[Frame], *, begin: int) -> Iterator[tuple[Frame, RestoreResult]]:
        """Yield each frame from ``begin`` on with what came of it."""
        for frame in frames:
            if frame.index >= begin:
                yield frame, self.pipeline.run(frame.image)
