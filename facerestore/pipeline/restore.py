"""The line: detect, align, judge, parse, restore, blend. Nothing is kept between photos, so threads may share it."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from facerestore.backends.restorer import DECLARE, Restorer
from facerestore.config import RESTORE, RestoreConfig, Task
from facerestore.errors import BackendError, ConfigError
from facerestore.imaging.pixels import check_result_size, result_size
from facerestore.io import (
    DEFAULT_MAX_PIXELS,
    PictureSource,
    as_decoded,
    decode_image,
    with_mark,
    within_memory,
)
from facerestore.pictures.result import RestoreResult
from facerestore.pipeline import stages
from facerestore.pipeline.one_photo import Channels
from facerestore.pipeline.parts import Parts, Passage, StageClock
from facerestore.pipeline.progress import Cancel, OnProgress, Watch
from facerestore.pipeline.report import (
    face_report,
    mark_of,
    pasted_facts,
    photo_facts,
    photo_notes,
    repaired_faces,
    search_facts,
    served_by,
    touched_by,
    with_search,
)
from facerestore.pipeline.selection import to_restore
from facerestore.pipeline.stages import Blend, LineStage, Measure
from facerestore.types import DecodedImage, RestoredFace

if TYPE_CHECKING:
    from facerestore.background import Upsampler
    from facerestore.types import FaceParser


class Decode(Protocol):
    """Reads the pictures that a task takes."""

    def __call__(self, data: bytes, *, name: str, max_pixels: int, page: int | None) -> DecodedImage:
        """Return the picture of a file; raises ImageError where it cannot be read."""
        ...


def description(parts: Parts, *, network: str | None = None) -> str:
    """Return one line for people: backend, weights, device, detector, parser, background, who fills damage.

    Args:
        parts: of the line.
        network: what restores, in the place of the one restorer.
    """
    facts, finder, parser = parts.facts, parts.active_detector, parts.parser
    if network is None:
        origin = f" (exported from {facts.origin})" if facts.origin else " (bundled)" if facts.bundled else ""
        network = f"{facts.weights or parts.restorer.name}{origin}, {parts.restorer.face_size} px faces"
    words = [
        "aligned input" if finder is None else f"detector {finder.name}",
        *([] if parser is None else [_parser_words(parts, parser)]),
        *([] if parts.background is None else [f"background {parts.background.name}"]),
        *([] if parts.repair is None else [f"damage filled by {parts.repair.name}"]),
    ]
    return f"{network}, {facts.where}; {', '.join(words)}"


def _parser_words(parts: Parts, parser: FaceParser) -> str:
    if parts.pasting.drawn:
        return "parts drawn from the five landmarks"
    return f"parser {parser.name if parts.facts.parser is None else parts.facts.parser.weights}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Procedure:
    """What a line does, stage by stage; what is not said is as for restoring.

    Attributes:
        task: what is done with the faces.
        official: it is the test program of an original; see ``facerestore.pipeline.official``.
        parser_weights: catalog name of the parser network that is taken first where the choice is automatic.
        needs_parser: says whether it cannot do without a parsing network, whatever the restorer and the options.
        check: raises where parts do not suit it.
        describe: returns one line on parts, for people.
        decode: reads what it takes.
        detect: finds the faces.
        judge: decides on each face.
        parse: labels the parts of those that are restored.
        restore: runs the network.
        pastes: says how each face goes back, where ``blend`` does it by masks.
        blend: puts the faces back.
        measure: returns the faces of a photo with how much of them the result has changed.
        notes: returns what people should know of a photo at the end of its way.
        pasted: returns what of a face was pasted, for the report.
        tell: returns the report with what it has to add.
    """

    task: Task = RESTORE
    official: bool = False
    parser_weights: str | None = None
    needs_parser: Callable[[RestoreConfig], bool] = lambda config: False
    check: Callable[[Parts], None] = lambda parts: None
    describe: Callable[[Parts], str] = description
    decode: Decode = decode_image
    detect: LineStage = stages.detect
    judge: LineStage = stages.judge
    parse: LineStage = stages.parse
    restore: LineStage = stages.restore
    pastes: stages.MakePastes = stages.pastes
    blend: Blend = stages.blend
    measure: Measure = stages.measure
    notes: Callable[[Parts, Passage], list[str]] = photo_notes
    pasted: Callable[[Parts, RestoredFace], dict[str, Any]] = pasted_facts
    tell: Callable[[Parts, Passage, dict[str, Any]], dict[str, Any]] = lambda parts, photo, report: report

    def decoded(
        self, data: bytes, config: RestoreConfig, *, name: str, page: int | None = None
    ) -> DecodedImage:
        """Return the picture of an encoded file, as `RestorePipeline.decode` does under a configuration."""
        limit = config.max_pixels or DEFAULT_MAX_PIXELS
        return self.decode(data, name=name, max_pixels=limit, page=page or config.page)


@dataclass(frozen=True, eq=False)
class RestorePipeline(Parts):
    """Restores the faces of photos with one detector and one restorer; ``dataclasses.replace`` makes another of it.

    Attributes:
        procedure: what is done; ``facerestore.pipeline.tasks`` and ``official`` have others than restoring.

    Raises:
        BackendError: the restorer is none, or needs a parser and there is none.
        ConfigError: there is no detector, and the input is not said to be aligned; the mask or the region needs a
            parser; or ``official`` is set, which asks for another procedure.
    """

    procedure: Procedure = Procedure()

    def __post_init__(self) -> None:
        """Make sure that the parts fit together."""
        if not isinstance(self.restorer, Restorer):
            raise BackendError(f"{type(self.restorer).__name__} is no restorer; {DECLARE}")
        self.procedure.check(self)
        if self.restorer.needs_parsing and self.parser is None:
            raise BackendError(
                f"backend '{self.restorer.name}' needs a face parser; give one, or choose another backend"
            )
        if self.detector is None and not self.config.aligned:
            raise ConfigError(
                "a pipeline without a detector takes aligned faces only; set aligned, or give a detector"
            )
        if self.config.official != self.procedure.official:
            raise ConfigError(
                "official pipelines have procedures of their own; use build_pipeline, or facerestore.pipeline.official"
            )
        self.pasting  # noqa: B018  # raises where nobody can label what is asked for

    @property
    def task(self) -> Task:
        """What is done with the faces."""
        return self.procedure.task

    @property
    def description(self) -> str:
        """One line for people: backend, weights, device, detector, parser."""
        return self.procedure.describe(self)

    def decode(self, data: bytes, *, name: str, page: int | None = None) -> DecodedImage:
        """Return the picture of an encoded file, as ``run`` takes it.

        Args:
            data: the file.
            name: what to call it in errors.
            page: which of its pages; None for that of the configuration.

        Raises:
            ImageError: it cannot be read, or has more pixels than the configuration allows.
        """
        return self.procedure.decoded(data, self.config, name=name, page=page)

    @within_memory()
    def examine(self, image: DecodedImage, *, source: Path | None = None) -> dict[str, Any]:
        """Return what would be done with the faces of a photo, as ``run`` reports it; nothing is restored.

        Args:
            image: the photo.
            source: as for ``run``.

        Raises:
            ImageError: an aligned input is not square, or what the task needs with this photo is not there.
        """
        photo = self.procedure.detect(self, Passage(image, source=source))
        photo = photo if self.repair is None else self.repair(self, photo)
        photo = self.procedure.judge(self, photo)
        look = {"found": len(photo.faces), "search": search_facts(photo.found)}
        return look | {"faces": self._face_reports(photo)}

    @within_memory()
    def run(
        self,
        image: PictureSource,
        *,
        channels: Channels = "rgb",
        source: Path | None = None,
        spent: bool = False,
        clock: StageClock | None = None,
        on_progress: OnProgress | None = None,
        cancel: Cancel | None = None,
    ) -> RestoreResult:
        """Restore one photo.

        Faces are numbered left to right. With strength 0, or without a face to restore, the result has the very
        pixels of the input; at upscale 1 every pixel outside the faces' masks has. With a background network, all that
        is not restored is what that network makes of it.

        Args:
            image: a path, the bytes of a picture file, a Pillow image, an array, or what ``read_image`` gives; not
                changed.
            channels: order of the colours of an array, ``rgb`` or ``bgr``.
            source: the photo's path, where the task keeps something beside it, such as a mask; ``image`` itself where
                that is a path.
            spent: the result may lie in the memory of the photo's pixels, so that a photo is held once.
            clock: takes the seconds of the stages; None makes one.
            on_progress: told as each stage begins, and of each tile of the background; None tells nobody.
            cancel: gives the photo up before its next stage or tile; None goes on to the end.

        Raises:
            BackendError: a network failed; nothing is restored in part.
            CancelledError: that was asked for.
            ConfigError: the task does not know an option.
            ImageError: it cannot be read, the upscaled photo would be too large, an aligned input is not square, or
                what the task needs with this photo is not there.
        """
        if source is None and isinstance(image, str | os.PathLike):
            source = Path(image)
        image = as_decoded(image, channels=channels, max_pixels=self.max_pixels, page=self.config.page)
        check_result_size(image.pixels, self.config.upscale, max_pixels=self.max_pixels)
        photo = Passage(image, source=source, spent=spent, clock=clock or StageClock())
        photo, result = self._through(photo, on_progress, cancel)
        report = self._report(photo, result)
        if self.config.mark and (report["restored"] or repaired_faces(report) or report["background"]):
            mark = mark_of(report, done=self.task.done)
            result = replace(result, metadata=with_mark(result.metadata, mark))
        return RestoreResult(
            image=result,
            faces=tuple(photo.faces),
            report=report,
            before=photo.before,
            holes=None if photo.damage is None else photo.damage.holes,
        )

    def _through(
        self, photo: Passage, on_progress: OnProgress | None, cancel: Cancel | None
    ) -> tuple[Passage, DecodedImage]:
        """Return a photo at the end of its way, and what came of it."""
        do, behind = self.procedure, self.background
        named: dict[str, LineStage] = {
            "detect": do.detect,
            **({} if self.repair is None else {"repair": self.repair}),
            "judge": do.judge,
            "parse": do.parse,
            "restore": do.restore,
        } | ({} if self.guard is None else {"guard": stages.guard})
        names = [*named, *([] if behind is None else ["background"]), "blend"]
        watch = Watch(photo.clock, names, on_progress, cancel)
        if behind is not None:
            named["background"] = partial(_fill_background, behind, watch)
        for name, stage in named.items():
            with watch.stage(name):
                photo = stage(self, photo)
        with watch.stage("blend"):
            result = do.blend(self, photo)
            photo = replace(photo, faces=do.measure(photo, result))
        return photo, result

    def _report(self, photo: Passage, result: DecodedImage) -> dict[str, Any]:
        """Return the facts of one photo, ready for JSON."""
        do = self.procedure
        share = photo.clock.seconds.get("restore", 0.0) / max(len(to_restore(photo.faces)), 1)
        facts = photo_facts(
            self,
            photo,
            result,
            task=do.task.purpose,
            official=do.official,
            notes=do.notes(self, photo),
        )
        facts = do.tell(self, photo, facts | {"faces": self._face_reports(photo, seconds=share)})
        facts = facts if self.repair is None else self.repair.told(photo, facts)
        return with_search(facts, photo.found, self.config)

    def _face_reports(self, photo: Passage, *, seconds: float = 0.0) -> list[dict[str, Any]]:
        """Return the facts of each face; ``seconds`` is what a face took whose own time is not known."""
        return [
            face_report(index, face, quality, strength=self.config.strength, seconds=seconds)
            | served_by(face, self.restorer.name, self.facts)
            | self.procedure.pasted(self, face)
            | touched_by(face, photo.pixels.shape, upscale=self.config.upscale)
            for index, (face, quality) in enumerate(zip(photo.faces, photo.qualities, strict=True))
        ]


def _fill_background(background: Upsampler, watch: Watch, parts: Parts, photo: Passage) -> Passage:
    """Return the photo with what a network makes of its background."""
    size = result_size(photo.pixels, parts.config.upscale)
    return replace(photo, canvas=background.upsample(photo.pixels, size, on_tile=watch.tile))
