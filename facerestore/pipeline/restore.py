"""The line: detect, align, judge, parse, restore, blend. Nothing is kept between photos, so threads may share it."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Self

from facerestore.alignment import align_face, resize_affine, warp_to_crop
from facerestore.backends.calling import check_count, restore_faces
from facerestore.backends.half import precisions_of
from facerestore.backends.restorer import DECLARE, Restorer
from facerestore.blending import Paste, paste_faces, replace_whole, whole_face
from facerestore.config import RESTORE, RestoreConfig, Task
from facerestore.errors import BackendError, ConfigError
from facerestore.io import DEFAULT_MAX_PIXELS, PictureSource, as_decoded, decode_image, within_memory
from facerestore.parsing import FacePasting
from facerestore.pipeline.report import (
    PipelineFacts,
    StageClock,
    face_report,
    photo_facts,
    precision_notes,
    search_facts,
    served_by,
    with_search,
)
from facerestore.pipeline.routing import harm_of
from facerestore.pipeline.selection import left_to_right, select_faces, to_restore
from facerestore.pixels import check_result_size, grey_face, resize_image, result_size
from facerestore.quality.judge import MIN_EYE_DISTANCE_PX, FaceQuality, assess, decide, too_small
from facerestore.types import (
    AlignedFace,
    Decision,
    DecodedImage,
    DetectedFace,
    Image,
    Mask,
    Outcome,
    RestoredFace,
    RestoreResult,
)

if TYPE_CHECKING:
    from facerestore.background import OnTile, Upsampler
    from facerestore.types import FaceDetector, FaceParser


class RestorePipeline:
    """Restores the faces of photos with one detector and one restorer.

    Args:
        detector: finds the faces; None for aligned input.
        restorer: restores them.
        config: strength, selection and the like.
        parser: labels the parts of faces; without one, a soft oval stands in for it.
        facts: where the networks come from.
        background: enlarges the rest of the photo; without one it is resized, and at upscale 1 left alone.

    Attributes:
        on_tile: told of the background's progress, tile by tile; None tells nobody.

    Raises:
        BackendError: the restorer needs a parser and there is none.
        ConfigError: there is no detector, and the input is not said to be aligned; the mask or the region needs a
            parser; or ``official`` is set, which asks for another class.
    """

    official: ClassVar[bool] = False
    """This is the test pipeline of an original program; see ``facerestore.pipeline.official``."""

    task: ClassVar[Task] = RESTORE
    """What is done with the faces; see ``facerestore.pipeline.tasks`` for pipelines that do something else."""

    _spends = False
    """The pixels of the photo may be overwritten."""

    parser_weights: ClassVar[str | None] = None
    """Catalog name of the parser network that is taken first where the choice is automatic."""

    def __init__(
        self,
        detector: FaceDetector | None,
        restorer: Restorer,
        *,
        config: RestoreConfig | None = None,
        parser: FaceParser | None = None,
        facts: PipelineFacts | None = None,
        background: Upsampler | None = None,
    ) -> None:
        check_parts(detector, restorer, parser, config, official=self.official)
        self.detector = detector
        self.restorer = restorer
        self.parser = parser
        self.config = config if config is not None else RestoreConfig()
        self._pasting = FacePasting.of(self.config, parser)
        self.facts = facts if facts is not None else PipelineFacts()
        self.background = background
        self.on_tile: OnTile | None = None

    def with_parts(
        self,
        detector: FaceDetector | None,
        restorer: Restorer,
        *,
        parser: FaceParser | None,
        config: RestoreConfig,
    ) -> Self:
        """Return a pipeline of the same kind and facts with other parts; raises as the class does."""
        facts, behind = self.facts, self.background
        return type(self)(detector, restorer, config=config, parser=parser, facts=facts, background=behind)

    @classmethod
    def needs_parser(cls, config: RestoreConfig) -> bool:
        """Say whether the line cannot do without a parsing network, whatever the restorer and the options."""
        return False

    @property
    def _active_detector(self) -> FaceDetector | None:
        """The detector, where faces are to be found at all."""
        return None if self.config.aligned else self.detector

    @property
    def description(self) -> str:
        """One line for people: backend, weights, device, detector, parser."""
        detector = (
            "aligned input" if self._active_detector is None else f"detector {self._active_detector.name}"
        )
        parser = "" if self.parser is None else f", {self._parser_words(self.parser)}"
        behind = "" if self.background is None else f", background {self.background.name}"
        return f"{self._network_words}, {self.facts.where}; {detector}{parser}{behind}"

    @property
    def _network_words(self) -> str:
        origin = " (bundled)" if self.facts.bundled else ""
        origin = origin if self.facts.origin is None else f" (exported from {self.facts.origin})"
        return f"{self.facts.weights or self.restorer.name}{origin}, {self.restorer.face_size} px faces"

    def _parser_words(self, parser: FaceParser) -> str:
        if self._pasting.drawn:
            return "parts drawn from the five landmarks"
        return f"parser {parser.name if self.facts.parser is None else self.facts.parser.weights}"

    def decode(self, data: bytes, *, name: str, page: int | None = None) -> DecodedImage:
        """Return the picture of an encoded file, as ``run`` takes it.

        Args:
            data: the file.
            name: what to call it in errors.
            page: which of its pages; None for that of the configuration.

        Raises:
            ImageError: it cannot be read, or has more pixels than the configuration allows.
        """
        limit = self.config.max_pixels or DEFAULT_MAX_PIXELS
        return decode_image(data, name=name, max_pixels=limit, page=page or self.config.page)

    def for_photo(self, source: Path) -> RestorePipeline:
        """Return the pipeline for the photo at ``source``; other than this one where a task needs more than pixels.

        Raises:
            ImageError: what the task needs with this photo is not there.
        """
        return self

    @within_memory()
    def examine(self, image: DecodedImage) -> dict[str, Any]:
        """Return what would be done with the faces of a photo, as ``run`` reports it; nothing is restored.

        Raises:
            ImageError: an aligned input is not square.
        """
        found = self._detect(image.pixels)
        faces, qualities = self._judge(image.pixels, found)
        look = {"found": len(faces), "search": search_facts(found)}
        return look | {"faces": self._face_reports(faces, qualities)}

    @within_memory()
    def run(self, image: PictureSource) -> RestoreResult:
        """Restore one photo.

        Faces are numbered left to right. With strength 0, or without a face to restore, the result has the very
        pixels of the input; at upscale 1 every pixel outside the faces' masks has. With a background network, all that
        is not restored is what that network makes of it.

        Args:
            image: the photo, read by ``read_image``; not changed. Or a path, or whatever else ``restore`` takes.

        Raises:
            BackendError: a network failed; nothing is restored in part.
            ImageError: it cannot be read, the upscaled photo would be too large, or an aligned input is not square.
        """
        image = self._opened(image)
        limit = DEFAULT_MAX_PIXELS if self.config.max_pixels is None else self.config.max_pixels
        check_result_size(image.pixels, self.config.upscale, max_pixels=limit)
        clock = StageClock()
        with clock.stage("detect"):
            found = self._detect(image.pixels)
        with clock.stage("judge"):
            faces, qualities = self._judge(image.pixels, found)
        with clock.stage("parse"):
            faces = self._parse(faces)
        with clock.stage("restore"):
            faces = self._restore(faces)
        canvas = None
        if self.background is not None:
            with clock.stage("background"):
                size = result_size(image.pixels, self.config.upscale)
                canvas = self.background.upsample(image.pixels, size, on_tile=self.on_tile)
        with clock.stage("blend"):
            result = self._blend(image, faces) if canvas is None else self._blend_onto(image, faces, canvas)
        report = with_search(self._report(image, result, faces, qualities, clock), found, self.config)
        return RestoreResult(image=result, faces=tuple(faces), report=report)

    def run_spent(self, image: DecodedImage) -> RestoreResult:
        """Restore one photo as ``run`` does, but for its pixels, which are spent: the result may lie in their memory.

        So a photo that is read, restored and written is held once. Raises as ``run`` does.
        """
        once = copy.copy(self)  # threads may share the pipeline
        once._spends = True
        return once.run(image)

    def _opened(self, image: PictureSource) -> DecodedImage:
        """Return a photo that is given in whatever way."""
        limit = self.config.max_pixels or DEFAULT_MAX_PIXELS
        return as_decoded(image, max_pixels=limit, page=self.config.page)

    def _detect(self, pixels: Image) -> list[DetectedFace]:
        """Return the faces left to right, the order of their indices."""
        if self._active_detector is None:
            return [whole_face(pixels)]
        return left_to_right(self._active_detector.detect(pixels))

    def _judge(
        self, pixels: Image, found: Sequence[DetectedFace]
    ) -> tuple[list[RestoredFace], list[FaceQuality | None]]:
        """Return the faces with their decisions, and what was measured on those that had to be cut out for it."""
        chosen = select_faces(self.config.faces, found, pixels.shape)
        judged: list[tuple[RestoredFace, FaceQuality | None]] = []
        for index, detected in enumerate(found):
            aside = self._set_aside(detected, index in chosen)
            kept = None if aside is None else (RestoredFace(detected, aside), None)
            judged.append(kept or self._judge_face(pixels, detected))
        return [face for face, _ in judged], [quality for _, quality in judged]

    def _judge_face(self, pixels: Image, detected: DetectedFace) -> tuple[RestoredFace, FaceQuality]:
        """Return a face, cut out, with its decision, and what was measured on it."""
        aligned = self._cut(pixels, detected, self.restorer.face_size)
        quality = assess(aligned)
        decision = self._decide(detected, quality)
        if self.task is RESTORE and decision.outcome is Outcome.RESTORED and not self.config.force:
            decision = harm_of(self.restorer.face_size, quality) or decision
        return RestoredFace(detected, decision, aligned), quality

    def _decide(self, detected: DetectedFace, quality: FaceQuality) -> Decision:
        """Return whether a face that was cut out is restored."""
        decision = decide(detected, quality, min_eye_distance_px=self._min_eye_distance_px)
        if decision.outcome is Outcome.KEPT and self.config.force:
            return Decision(Outcome.RESTORED, "restored", f"forced, though {decision.reason}")
        return decision

    def _set_aside(self, face: DetectedFace, chosen: bool) -> Decision | None:
        """Return why a face is kept before it is looked at; None when it has to be judged."""
        if not chosen:
            why = f"not selected: the choice of faces is '{self.config.faces}'"
            return Decision(Outcome.KEPT, "not-selected", why)
        if self._pasting.full_strength == 0:
            return Decision(Outcome.KEPT, "strength-0", "strength is 0, which changes nothing")
        return None if self.config.force else too_small(face, min_eye_distance_px=self._min_eye_distance_px)

    @property
    def _min_eye_distance_px(self) -> float:
        return MIN_EYE_DISTANCE_PX if self.config.min_face is None else self.config.min_face

    def _cut(self, pixels: Image, face: DetectedFace, size: int) -> AlignedFace:
        """Return the face's crop, ``size`` pixels wide."""
        if not self.config.aligned:
            return align_face(pixels, face, size)
        affine = resize_affine(size / pixels.shape[0])
        return AlignedFace(detected=face, affine=affine, lq=warp_to_crop(pixels, affine, size))

    def _parse(self, faces: Sequence[RestoredFace]) -> list[RestoredFace]:
        """Return the faces, those to be restored with their parsing maps where there is a parser."""
        wanted = to_restore(faces)
        if self.parser is None or not wanted:
            return list(faces)
        maps = self.parser.parse([aligned for _, aligned in wanted])
        check_count(self.parser.name, len(maps), len(wanted))
        parsed = list(faces)
        for (index, aligned), parsing_map in zip(wanted, maps, strict=True):
            parsed[index] = replace(parsed[index], parsing_map=parsing_map)
            if not self._pasting.can_paste(aligned, parsing_map):
                parsed[index] = replace(parsed[index], decision=self._pasting.refusal(self.parser.name))
        return parsed

    def _restore(self, faces: Sequence[RestoredFace]) -> list[RestoredFace]:
        """Return the faces with the restorer's output; all faces of the photo go to it in one call."""
        wanted = to_restore(faces)
        if not wanted:
            return list(faces)
        maps = [m for index, _ in wanted if (m := faces[index].parsing_map) is not None]
        outputs = restore_faces(self.restorer, [aligned for _, aligned in wanted], maps or None)
        restored = list(faces)
        for (index, _), output, precision in zip(wanted, outputs, precisions_of(outputs), strict=True):
            restored[index] = replace(restored[index], restored=output, precision=precision)
        return restored

    def _blend(self, image: DecodedImage, faces: Sequence[RestoredFace]) -> DecodedImage:
        """Return the photo with the restored faces in it; without any and at upscale 1, the very same pixels."""
        return self._blend_onto(image, faces, None)

    def _blend_onto(
        self, image: DecodedImage, faces: Sequence[RestoredFace], canvas: Image | None
    ) -> DecodedImage:
        """Return the canvas, or else the resized photo, with the restored faces in it."""
        pastes = [paste for face in faces if (paste := self._paste(face, grey=image.grey)) is not None]
        upscale = self.config.upscale
        if not pastes and upscale == 1 and canvas is None:
            return image
        spends = self._spends and upscale == 1
        if canvas is None and spends:
            canvas = image.pixels
        if self.config.aligned and pastes:
            whole = pastes[0]
            pixels = replace_whole(
                image.pixels, whole.restored, upscale=upscale, strength=whole.strength, canvas=canvas
            )
        else:
            pixels = paste_faces(
                image.pixels, pastes, upscale=upscale, colour_match=self.config.colour_match, canvas=canvas
            )
        alpha = image.alpha if image.alpha is None or spends else resize_image(image.alpha, upscale)
        return replace(image, pixels=pixels, alpha=alpha)

    def _paste(self, face: RestoredFace, *, grey: bool) -> Paste | None:
        """Return how a face goes back into the photo; None for a face that was kept."""
        if face.aligned is None or face.restored is None:
            return None
        return Paste(
            affine=face.aligned.affine,
            restored=grey_face(face.restored) if grey else face.restored,
            lq=face.aligned.lq,
            mask=self._mask(face, face.aligned),
            strength=self._strength(face, face.aligned),
        )

    def _mask(self, face: RestoredFace, aligned: AlignedFace) -> Mask:
        """Return the soft mask that the configuration asks for."""
        return self._pasting.mask(aligned, face.parsing_map)

    def _strength(self, face: RestoredFace, aligned: AlignedFace) -> float | Mask:
        """Return the strength that the configuration asks for, by pixel of the crop where regions have their own."""
        if self.config.aligned:
            return self._pasting.strength_of_crop(aligned, face.parsing_map)
        return self._pasting.strength_of(face.parsing_map)

    def _notes(self, faces: Sequence[RestoredFace]) -> list[str]:
        """Return what people should know of this photo beside its faces' decisions, one sentence each."""
        of_faces = [note for index, face in enumerate(faces) for note in self._face_notes(index, face)]
        return [*self.restorer.remarks, *of_faces]

    def _face_notes(self, index: int, face: RestoredFace) -> list[str]:
        """Return what people should know of how one face was computed and pasted."""
        shown = None if self.official or face.restored is None else face.aligned
        pasted = [] if shown is None else self._pasting.notes(index, shown, face.parsing_map)
        return precision_notes(index, face, self.facts.precision) + pasted

    def _pasted_facts(self, face: RestoredFace) -> dict[str, Any]:
        """Return what of a face was pasted, for its entry in the report; official pipelines have their own ways."""
        if self.official:
            return {}
        return self._pasting.facts(face.aligned if face.restored is not None else None, face.parsing_map)

    def _face_reports(
        self, faces: Sequence[RestoredFace], qualities: Sequence[FaceQuality | None], *, seconds: float = 0.0
    ) -> list[dict[str, Any]]:
        """Return the facts of each face; ``seconds`` is what a face took whose own time is not known."""
        return [
            face_report(index, face, quality, strength=self.config.strength, seconds=seconds)
            | served_by(face, self.restorer.name, self.facts)
            | self._pasted_facts(face)
            for index, (face, quality) in enumerate(zip(faces, qualities, strict=True))
        ]

    def _report(
        self,
        before: DecodedImage,
        after: DecodedImage,
        faces: Sequence[RestoredFace],
        qualities: Sequence[FaceQuality | None],
        clock: StageClock,
    ) -> dict[str, Any]:
        """Return the facts of one photo, ready for JSON."""
        share = clock.seconds.get("restore", 0.0) / max(len(to_restore(faces)), 1)
        facts = photo_facts(self, before, after, faces, notes=self._notes(faces), clock=clock)
        return facts | {"faces": self._face_reports(faces, qualities, seconds=share)}


def check_parts(
    detector: FaceDetector | None,
    restorer: Restorer,
    parser: FaceParser | None,
    config: RestoreConfig | None,
    *,
    official: bool,
) -> None:
    """Make sure that the parts of a line fit together.

    Args:
        detector: of the line; None for none.
        restorer: of the line.
        parser: of the line; None for none.
        config: what is asked of it; None for the defaults of its kind.
        official: the line is the test pipeline of an original program.

    Raises:
        BackendError: the restorer is none, or needs a parser and there is none.
        ConfigError: there is no detector, and the input is not said to be aligned; or one of the line and what is asked
            of it is official, and the other is not.
    """
    if not isinstance(restorer, Restorer):
        raise BackendError(f"{type(restorer).__name__} is no restorer; {DECLARE}")
    if restorer.needs_parsing and parser is None:
        raise BackendError(
            f"backend '{restorer.name}' needs a face parser; give one, or choose another backend"
        )
    if detector is None and not (config is not None and config.aligned):
        raise ConfigError(
            "a pipeline without a detector takes aligned faces only; set aligned, or give a detector"
        )
    if config is not None and config.official != official:
        raise ConfigError(
            "official pipelines have classes of their own; use build_pipeline, or facerestore.pipeline.official"
        )
