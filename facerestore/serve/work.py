"""What is done with one photo of a request, in memory: the picture is that of ``enhance``, byte for byte."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from threading import Lock

from facerestore import __version__
from facerestore.batch.gathering import gathered
from facerestore.batch.pages import Restored, check_pages, restore_pages
from facerestore.batch.photo import result_format
from facerestore.batch.plan import STREAM
from facerestore.batch.report import REPORT_SCHEMA
from facerestore.batch.workers import PixelBudget, on_cpu, pixels_at_a_time
from facerestore.config import RestoreConfig
from facerestore.io import (
    DEFAULT_MAX_PIXELS,
    check_holds,
    encode_image,
    page_count,
    picture_size,
    resolve_format,
)
from facerestore.parsing import FacePasting
from facerestore.pipeline.dials import dialled, undialled
from facerestore.pipeline.progress import Cancel, OnProgress
from facerestore.pipeline.report import reading_notes, writing_notes
from facerestore.pipeline.restore import RestorePipeline
from facerestore.serve.messages import Answer, Order
from facerestore.serve.problems import RefusedError

NAME = "the photo"
"""What errors call it: a request's names are not ours to repeat."""

LOOKS = ("detail", "detect_size", "rotations", "mask", "region")
"""Options of a request on which it depends which networks there are, and how they look."""

LINES_KEPT = 4
"""Pipelines in memory at a time; one with another ``detail`` takes some 30 MB and a third of a second to make."""


class Kitchen:
    """Does orders, in any number of threads.

    Args:
        base: what the service was started with.
        build: makes a pipeline.
    """

    def __init__(self, base: RestoreConfig, build: Callable[[RestoreConfig], RestorePipeline]) -> None:
        self._base, self._build, self._lock = base, build, Lock()
        self._lines: dict[tuple[object, ...], RestorePipeline] = {}
        self.line = self._line_for(base)
        self._budget = PixelBudget(pixels_at_a_time(self.line.facts.device))

    def do(self, order: Order, *, cancel: Cancel, on_progress: OnProgress) -> Answer:
        """Return what comes of an order.

        Raises:
            FaceRestoreError: the photo, an option or a network is at fault, or it was cancelled.
        """
        start = time.perf_counter()
        work = _Work(order, self.pipeline(order.restore), self._budget, cancel, on_progress)
        answer = work.looked() if order.look else work.restored()
        seconds = round(time.perf_counter() - start, 3)
        head = {"schema": REPORT_SCHEMA, "facerestore": __version__, "seconds": seconds}
        return replace(answer, report=head | answer.report)

    def pipeline(self, config: RestoreConfig) -> RestorePipeline:
        """Return what restores as a request asks: networks that are there, or others that are loaded now."""
        common = undialled(config)

        def line_for(single: RestoreConfig) -> RestorePipeline:
            return self._line_for(replace(common, detail=single.detail))

        return dialled(line_for(config), config, line_for)

    def _line_for(self, config: RestoreConfig) -> RestorePipeline:
        pasting = FacePasting.asked(config)
        parts = (pasting.classes is None, pasting.needs_parser, bool(pasting.regions))
        key = (config.detail, config.detect_size, config.rotations, parts)
        with self._lock:
            if key not in self._lines:
                own = replace(self._base, **{name: getattr(config, name) for name in LOOKS})
                made = self._build(own)
                self._lines[key] = made if on_cpu(made.facts.device) else gathered(made)
                if len(self._lines) > LINES_KEPT:  # never the first, which most requests take
                    del self._lines[[*self._lines][1]]
            return self._lines[key]


@dataclass(frozen=True, slots=True)
class _Work:
    """One order under way."""

    order: Order
    pipeline: RestorePipeline
    budget: PixelBudget
    cancel: Cancel
    on_progress: OnProgress

    def looked(self) -> Answer:
        """Return the faces of a photo, and what would be done with each."""
        config = self.order.restore
        pages = page_count(self.order.data, name=NAME)
        page = config.page or (1 if pages > 1 else None)
        with self.budget.hold(self._pixels(page)):
            image = self.pipeline.decode(self.order.data, name=NAME, page=page)
            self.cancel.check("detect")
            height, width = image.pixels.shape[:2]
            found = self.pipeline.examine(image)
            return Answer({"size": [width, height], "pages": pages, "notes": reading_notes(image)} | found)

    def restored(self) -> Answer:
        """Return a photo restored."""
        order = self.order
        count = 1 if order.restore.page else page_count(order.data, name=NAME)
        if count > 1:
            check_pages(NAME, count, resolve_format(order.output.format or "TIFF"))
            pages = restore_pages(order.data, count, restore=lambda page: self._one(page, "TIFF"))
            return Answer(pages.report, bytes(pages.encoded), "TIFF")
        found = self._one()
        format_name = result_format(STREAM, found.image, order.output.format)
        if found.unchanged:
            return Answer(found.report, order.data, format_name)
        with self.budget.hold(found.image.pixels.size // 3):
            picture = encode_image(found.image, format=format_name, quality=order.output.quality)
        return Answer(found.report, picture, format_name)

    def _one(self, page: int | None = None, format_name: str | None = None) -> Restored:
        """Return one page of a photo, or its only one, restored and not yet encoded."""
        order, line = self.order, self.pipeline
        with self.budget.hold(self._pixels(page)):
            image = line.decode(order.data, name=NAME, page=page)
            wanted = format_name or result_format(STREAM, image, order.output.format)
            check_holds(image, format=wanted)
            result = line.run(image, on_progress=self.on_progress, cancel=self.cancel)
        unchanged = result.image is image and wanted == image.format and order.output.quality is None
        done = line.task.done if result.report["restored"] else None
        result.report["notes"] = [
            *reading_notes(image, done=done),
            *result.report["notes"],
            *([] if unchanged else writing_notes(result.image, format=wanted)),
        ]
        return Restored(result.image, result.report, unchanged, ())

    def _pixels(self, page: int | None) -> int:
        """Return how many pixels the result has, before any is decoded.

        Raises:
            RefusedError: the photo has more than are taken.
        """
        most, config = self.pipeline.max_pixels, self.order.restore
        width, height = picture_size(
            self.order.data, name=NAME, max_pixels=DEFAULT_MAX_PIXELS, page=page or config.page
        )
        if width * height > most:
            raise RefusedError.make(
                413,
                f"the photo has {width} x {height} = {width * height} pixels, over the limit of {most}",
                value=width * height,
                remedy="send a smaller one",
            )
        return round(width * height * config.upscale**2)
