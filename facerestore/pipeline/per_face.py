"""The line where each face has the network that serves it: one detector, and a line of its own for each network.

A face that the rule of ``routing`` gives to some weights goes through the very line that ``--weights`` with
their name would make, cut, parsed, restored and pasted by it; only the judging and the blending are common. So with one
network the result is that of this network, bit for bit.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from threading import Lock
from typing import TYPE_CHECKING, Any, Self

from facerestore.alignment import FFHQ_SIZE, affine_scale, estimate_similarity, template
from facerestore.backends.restorer import Descriptor, Restorer
from facerestore.blending import Paste
from facerestore.config import RestoreConfig
from facerestore.errors import CheckpointError, ConfigError
from facerestore.pipeline.candidates import Available
from facerestore.pipeline.choose import AUTO
from facerestore.pipeline.report import PipelineFacts, StageClock
from facerestore.pipeline.restore import RestorePipeline
from facerestore.pipeline.routing import Candidate, choose, harm, judged_size, summary
from facerestore.quality.judge import FaceQuality, assess
from facerestore.types import (
    AlignedFace,
    DecodedImage,
    DetectedFace,
    FaceImage,
    Image,
    Outcome,
    ParsingMap,
    RestoredFace,
)

if TYPE_CHECKING:
    from facerestore.background import Upsampler
    from facerestore.types import FaceDetector, FaceParser

USES = {"no": "non-commercial", "unclear": "commercial use unclear"}
"""What is said of weights that are not free for every use."""


class Lines:
    """The lines of the candidates, each made when a face first needs it: once, whatever the number of threads.

    Args:
        available: the candidates, the first of them the one that stands for all.
        build: makes the line of the weights of that name.

    Raises:
        ConfigError: there is no candidate.
    """

    def __init__(self, available: Available, build: Callable[[str], RestorePipeline]) -> None:
        if not available.candidates:
            raise ConfigError("the automatic choice needs at least one installed network; install weights")
        self.available = available
        self._build = build
        self._locks = {candidate.name: Lock() for candidate in available.candidates}
        self._sizes = {candidate.name: candidate.face_size for candidate in available.candidates}
        self._built: dict[str, RestorePipeline] = {}

    @property
    def candidates(self) -> tuple[Candidate, ...]:
        """The networks that may be chosen, in the order of preference."""
        return self.available.candidates

    @property
    def loaded(self) -> tuple[str, ...]:
        """Names of the weights whose networks are in memory, in the order of the candidates."""
        return tuple(c.name for c in self.candidates if c.name in self._built)

    def get(self, name: str) -> RestorePipeline:
        """Return the line of the weights of that name, made now where it is not there yet.

        Raises:
            FaceRestoreError: it cannot be made, or its network has another size than the catalog says, by which it
                was chosen; the next call tries again.
        """
        with self._locks[name]:
            if name not in self._built:
                self._built[name] = _checked(self._build(name), self._sizes[name], name)
            return self._built[name]

    def of(self, face: RestoredFace) -> RestorePipeline:
        """Return the line of the network that serves a face."""
        return self.get(self.candidates[0].name if face.choice is None else face.choice.weights)


class FirstRestorer(Restorer):
    """The restorer of the first candidate, which stands where a line has its only one; loaded when it is used."""

    def __init__(self, lines: Lines) -> None:
        first = lines.candidates[0]
        name = first.backend if len(lines.candidates) == 1 else AUTO
        self.descriptor = Descriptor(name=name, face_size=first.face_size)
        self._lines = lines

    @property
    def remarks(self) -> list[str]:
        """What people should know of how the networks run that are in memory, one sentence each."""
        loaded = (self._lines.get(name).restorer for name in self._lines.loaded)
        return [remark for restorer in loaded for remark in restorer.remarks]

    def restore(
        self, faces: Sequence[AlignedFace], parsing_maps: Sequence[ParsingMap] | None = None
    ) -> list[FaceImage]:
        """Return one face per face, as the first candidate restores it."""
        return self._lines.get(self._lines.candidates[0].name).restorer.restore(faces, parsing_maps)


class AutoPipeline(RestorePipeline):
    """Restores each face by the installed network that serves it.

    Args:
        detector: finds the faces; None for aligned input.
        lines: one for each network that may be chosen.
        config: strength, selection and the like; that of every line.
        parser: labels the parts of faces, for lines whose network needs no parser of its own.
        facts: where the networks come from, as far as one line of facts can say.
        background: enlarges the rest of the photo.

    Raises:
        ConfigError: as for ``RestorePipeline``.
    """

    def __init__(
        self,
        detector: FaceDetector | None,
        lines: Lines,
        *,
        config: RestoreConfig | None = None,
        parser: FaceParser | None = None,
        facts: PipelineFacts | None = None,
        background: Upsampler | None = None,
    ) -> None:
        first = FirstRestorer(lines)
        facts = facts_of(lines.available) if facts is None else facts
        super().__init__(detector, first, config=config, parser=parser, facts=facts, background=background)
        self.lines = lines

    def with_parts(
        self,
        detector: FaceDetector | None,
        restorer: Restorer,
        *,
        parser: FaceParser | None,
        config: RestoreConfig,
    ) -> Self:
        """Return a pipeline with another detector, parser and configuration; its networks stay its own."""

        def build(name: str) -> RestorePipeline:
            line = self.lines.get(name)
            return line.with_parts(detector, line.restorer, parser=line.parser, config=config)

        return type(self)(
            detector,
            Lines(self.lines.available, build),
            config=config,
            parser=parser,
            facts=self.facts,
            background=self.background,
        )

    @property
    def _network_words(self) -> str:
        """Who may be chosen, for people."""
        if len(self.lines.candidates) == 1:
            return super()._network_words
        return f"{AUTO}, face by face: {', '.join(_named(candidate) for candidate in self.lines.candidates)}"

    def _judge_face(self, pixels: Image, detected: DetectedFace) -> tuple[RestoredFace, FaceQuality]:
        """Return a face, cut out for the network that serves it, with its decision, and what was measured on it."""
        candidates, crop_px, upscale = (
            self.lines.candidates,
            self._crop_px(pixels, detected),
            self.config.upscale,
        )
        size = judged_size(candidates, crop_px * upscale)
        aligned = self._cut(pixels, detected, size)
        quality = assess(aligned)
        decision = self._decide(detected, quality)
        if decision.outcome is Outcome.RESTORED and not self.config.force:
            decision = harm(candidates, quality, crop_px=crop_px) or decision
        if decision.outcome is Outcome.KEPT:
            return RestoredFace(detected, decision, aligned), quality
        choice = choose(candidates, quality, crop_px=crop_px, upscale=upscale)
        if choice.face_size != size:
            aligned = self._cut(pixels, detected, choice.face_size)
        return RestoredFace(detected, decision, aligned, choice=choice), quality

    def _crop_px(self, pixels: Image, detected: DetectedFace) -> float:
        """Return the side of a face's crop in the photo, pixels."""
        if self.config.aligned:
            return float(pixels.shape[0])
        return FFHQ_SIZE / affine_scale(estimate_similarity(detected.landmarks, template(FFHQ_SIZE)))

    def _parse(self, faces: Sequence[RestoredFace]) -> list[RestoredFace]:
        """Return the faces, those to be restored with their parsing maps where their line has a parser."""
        return self._by_line(faces, RestorePipeline._parse)

    def _restore(self, faces: Sequence[RestoredFace]) -> list[RestoredFace]:
        """Return the faces with their networks' output; all that one network serves go to it in one call."""
        return self._by_line(faces, _timed_restore)

    def _by_line(
        self,
        faces: Sequence[RestoredFace],
        step: Callable[[RestorePipeline, Sequence[RestoredFace]], list[RestoredFace]],
    ) -> list[RestoredFace]:
        """Return the faces after a step that each network's line takes with its own; kept ones as they are."""
        done = list(faces)
        for candidate in self.lines.candidates:
            own = [index for index, face in enumerate(faces) if _is_served(face, candidate)]
            if not own:
                continue
            results = step(self.lines.get(candidate.name), [faces[index] for index in own])
            for index, face in zip(own, results, strict=True):
                done[index] = face
        return done

    def _paste(self, face: RestoredFace, *, grey: bool) -> Paste | None:
        """Return how a face goes back into the photo, as its own line pastes it; None for a face that was kept."""
        if face.restored is None:
            return None
        return self.lines.of(face)._paste(face, grey=grey)

    def _face_notes(self, index: int, face: RestoredFace) -> list[str]:
        """Return what people should know of how one face was pasted, in the words of its own line."""
        return [] if face.restored is None else self.lines.of(face)._face_notes(index, face)

    def _pasted_facts(self, face: RestoredFace) -> dict[str, Any]:
        """Return what of a face was pasted by its line."""
        if face.restored is None:
            return super()._pasted_facts(face)
        return self.lines.of(face)._pasted_facts(face)

    def _report(
        self,
        before: DecodedImage,
        after: DecodedImage,
        faces: Sequence[RestoredFace],
        qualities: Sequence[FaceQuality | None],
        clock: StageClock,
    ) -> dict[str, Any]:
        """Return the facts of one photo, with what the choice was among and the parsers of the lines that ran."""
        report = super()._report(before, after, faces, qualities, clock)
        ran = [self.lines.get(name) for name in dict.fromkeys(_weights_of(faces))]
        parsers = dict.fromkeys(line.parser.name for line in ran if line.parser is not None)
        fidelities = [f for line in ran if (f := line.restorer.descriptor.fidelity) is not None]
        return report | {
            "face_size": self.restorer.face_size if len(self.lines.candidates) == 1 else None,
            "parser": ", ".join(parsers) or report["parser"],
            "fidelity": fidelities[0] if fidelities else None,
            "auto": {
                "rule": summary(self.lines.candidates),
                "candidates": [asdict(candidate) for candidate in self.lines.candidates],
                "passed_over": dict(self.lines.available.passed_over),
                "used": {line.facts.weights: line.facts.sha256 for line in ran},
            },
        }


def _checked(line: RestorePipeline, face_size: int, name: str) -> RestorePipeline:
    """Return a line.

    Raises:
        CheckpointError: its network has another size.
    """
    if line.restorer.face_size != face_size:
        raise CheckpointError(
            f"weights '{name}' give faces of {line.restorer.face_size} px, and the catalog says {face_size}; the file"
            f" is not what its name says: run 'facerestore weights remove {name}'"
        )
    return line


def _timed_restore(line: RestorePipeline, faces: Sequence[RestoredFace]) -> list[RestoredFace]:
    """Return the faces of one line with their restored pixels and the mean seconds that they took."""
    start = time.perf_counter()
    restored = line._restore(faces)
    seconds = (time.perf_counter() - start) / len(restored)
    return [replace(face, seconds=seconds) for face in restored]


def _is_served(face: RestoredFace, candidate: Candidate) -> bool:
    """Say whether a face is to be restored by a candidate's network."""
    wanted = face.decision.outcome is Outcome.RESTORED and face.choice is not None
    return wanted and face.choice is not None and face.choice.weights == candidate.name


def _weights_of(faces: Sequence[RestoredFace]) -> list[str]:
    return [face.choice.weights for face in faces if face.choice is not None and face.restored is not None]


def _named(candidate: Candidate) -> str:
    """Return a candidate for the opening line: name, size, and what is not free about it."""
    words = ["bundled"] if candidate.bundled else []
    words += [f"{candidate.face_size} px", *(USES[u] for u in [candidate.commercial_use] if u in USES)]
    return f"{candidate.name} ({', '.join(words)})"


def facts_of(available: Available) -> PipelineFacts:
    """Return the facts that hold for all candidates: bundled where all are, and the least free use."""
    uses = [candidate.commercial_use for candidate in available.candidates]
    return PipelineFacts(
        weights=AUTO,
        bundled=all(candidate.bundled for candidate in available.candidates),
        commercial_use=next((use for use in ("no", "unclear") if use in uses), "yes"),
    )
