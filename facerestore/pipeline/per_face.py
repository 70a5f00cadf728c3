"""The line where each face has the network that serves it: one detector, and a line of its own for each network.

A face that the rule of ``routing`` gives to some weights goes through the very line that ``--weights`` with
their name would make, cut, parsed, restored and pasted by it; only the judging and the blending are common. So with one
network the result is that of this network, bit for bit.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from functools import partial
from threading import Lock, Thread
from typing import Any

from facerestore.backends.restorer import Descriptor, Restorer
from facerestore.errors import CheckpointError, ConfigError
from facerestore.imaging.alignment import FFHQ_SIZE, affine_scale, estimate_similarity, template
from facerestore.imaging.blending import Paste
from facerestore.pipeline import stages
from facerestore.pipeline.candidates import Available
from facerestore.pipeline.installed import AUTO
from facerestore.pipeline.parts import Parts, Passage, PipelineFacts
from facerestore.pipeline.report import face_notes, notes_with, pasted_facts
from facerestore.pipeline.restore import Procedure, RestorePipeline, description
from facerestore.pipeline.routing import DETAILED, Candidate, harm, judged_size, route, summary
from facerestore.pipeline.stages import Assess, Judged, LineStage
from facerestore.quality.judge import assess
from facerestore.types import (
    AlignedFace,
    DecodedImage,
    DetectedFace,
    FaceImage,
    Outcome,
    ParsingMap,
    RestoredFace,
)

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

    def begin_usual(self) -> None:
        """Begin to make the line that most faces take, where it comes with facerestore, while their photo is searched.

        In a thread of its own; whoever gets the line waits for it, and is told what is amiss.
        """
        usual = next((c.name for c in self.candidates if c.bundled and c.character == DETAILED), None)
        if usual is not None:
            Thread(target=self._try, args=(usual,)).start()

    def _try(self, name: str) -> None:
        with suppress(Exception):  # the next call tries again
            self.get(name)

    def of(self, face: RestoredFace) -> RestorePipeline:
        """Return the line of the network that serves a face."""
        return self.get(self.candidates[0].name if face.choice is None else face.choice.weights)


class FirstRestorer(Restorer):
    """The restorer of the first candidate, which stands where a line has its only one; loaded when it is used.

    Attributes:
        lines: of all candidates.
    """

    def __init__(self, lines: Lines) -> None:
        first = lines.candidates[0]
        name = first.backend if len(lines.candidates) == 1 else AUTO
        self.descriptor = Descriptor(name=name, face_size=first.face_size)
        self.lines = lines

    @property
    def remarks(self) -> list[str]:
        """What people should know of how the networks run that are in memory, one sentence each."""
        loaded = (self.lines.get(name).restorer for name in self.lines.loaded)
        return [remark for restorer in loaded for remark in restorer.remarks]

    def restore(
        self, faces: Sequence[AlignedFace], parsing_maps: Sequence[ParsingMap] | None = None
    ) -> list[FaceImage]:
        """Return one face per face, as the first candidate restores it."""
        return self.lines.get(self.lines.candidates[0].name).restorer.restore(faces, parsing_maps)


def serving(parts: Parts, face: RestoredFace) -> Parts:
    """Return the parts that serve a face, asked for what ``parts`` are: a line of its own where it has one."""
    restorer = parts.restorer
    lines = restorer.lines if isinstance(restorer, FirstRestorer) else None
    return parts if lines is None else replace(lines.of(face), config=parts.config)


@dataclass(frozen=True, slots=True)
class _PerFace:
    """The stages of a line that restores each face by the network that serves it.

    Attributes:
        lines: one for each network.
        assess: measures a face that was cut out.
    """

    lines: Lines
    assess: Assess

    def serving(self, parts: Parts, face: RestoredFace) -> RestorePipeline:
        """Return the line of the network that serves a face, asked for what the whole is."""
        return replace(self.lines.of(face), config=parts.config)

    def describe(self, parts: Parts) -> str:
        """Return who may be chosen, for people."""
        candidates = self.lines.candidates
        names = f"{AUTO}, face by face: {', '.join(_named(candidate) for candidate in candidates)}"
        return description(parts, network=None if len(candidates) == 1 else names)

    def judge_face(self, parts: Parts, photo: Passage, detected: DetectedFace) -> Judged:
        """Return a face, cut out for the network that serves it, with its decision, and what was measured on it."""
        candidates, upscale = self.lines.candidates, parts.config.upscale
        crop_px = _crop_px(parts, photo, detected)
        size = judged_size(candidates, crop_px=crop_px, upscale=upscale)
        aligned = stages.cut(parts, photo, detected, size)
        quality = self.assess(aligned)
        decision = stages.worth_restoring(parts, detected, quality)
        if decision.outcome is Outcome.RESTORED and not parts.config.force:
            decision = harm(candidates, quality, crop_px=crop_px) or decision
        if decision.outcome is Outcome.KEPT:
            return RestoredFace(detected, decision, aligned), quality
        choice = route(candidates, quality, crop_px=crop_px, upscale=upscale)
        if choice.face_size != size:
            aligned = stages.cut(parts, photo, detected, choice.face_size)
            quality = quality.at(choice.face_size / size)
        return RestoredFace(detected, decision, aligned, choice=choice), quality

    def by_line(self, stage: LineStage, parts: Parts, photo: Passage) -> Passage:
        """Return the photo after a stage that each network's line takes with its own faces; kept ones as they are."""
        done = list(photo.faces)
        for candidate in self.lines.candidates:
            own = [index for index, face in enumerate(photo.faces) if _is_served(face, candidate)]
            if own:
                if candidate.name not in self.lines.loaded:  # once, and no part of what the stage takes
                    with photo.clock.aside("load"):
                        self.lines.get(candidate.name)
                faces = [photo.faces[index] for index in own]
                served = stage(self.serving(parts, faces[0]), replace(photo, faces=faces))
                for index, face in zip(own, served.faces, strict=True):
                    done[index] = face
        return replace(photo, faces=done)

    def pastes(self, parts: Parts, photo: Passage) -> list[Paste]:
        """Return how the restored faces go back into the photo, each as its own line pastes it."""
        return stages.pastes_of(photo, partial(self.serving, parts))

    def blend(self, parts: Parts, photo: Passage) -> DecodedImage:
        """Return the photo with the restored faces in it."""
        return stages.put_back(parts, photo, self.pastes(parts, photo))

    def notes(self, parts: Parts, photo: Passage) -> list[str]:
        """Return what people should know of a photo, of each face in the words of its own line."""
        return notes_with(
            parts, photo, lambda index, face: face_notes(self.serving(parts, face), index, face)
        )

    def pasted(self, parts: Parts, face: RestoredFace) -> dict[str, Any]:
        """Return what of a face was pasted by its line."""
        return pasted_facts(parts if face.restored is None else self.serving(parts, face), face)

    def tell(self, parts: Parts, photo: Passage, report: dict[str, Any]) -> dict[str, Any]:
        """Return the report with what the choice was among, and the parsers of the lines that ran."""
        ran = [self.lines.get(name) for name in dict.fromkeys(_weights_of(photo.faces))]
        parsers = dict.fromkeys(line.parser.name for line in ran if line.parser is not None)
        fidelities = [f for line in ran if (f := line.restorer.descriptor.fidelity) is not None]
        return report | {
            "face_size": face_size_of(parts),
            "parser": ", ".join(parsers) or report["parser"],
            "fidelity": fidelities[0] if fidelities else None,
            "auto": {
                "rule": summary(self.lines.candidates),
                "candidates": [asdict(candidate) for candidate in self.lines.candidates],
                "passed_over": dict(self.lines.available.passed_over),
                "used": {line.facts.weights: line.facts.sha256 for line in ran},
            },
        }


def per_face(lines: Lines, *, assess: Assess = assess) -> Procedure:
    """Return the procedure that restores each face by the installed network that serves it.

    Args:
        lines: one for each network that may be chosen; the restorer of the pipeline is a ``FirstRestorer`` of them, its
            parser labels the faces of lines whose network needs no parser of its own.
        assess: measures a face that was cut out.
    """
    stage = _PerFace(lines, assess)
    return Procedure(
        describe=stage.describe,
        judge=partial(stages.judge_each, judge_face=stage.judge_face),
        parse=partial(stage.by_line, stages.parse),
        restore=partial(stage.by_line, _timed_restore),
        pastes=stage.pastes,
        blend=stage.blend,
        notes=stage.notes,
        pasted=stage.pasted,
        tell=stage.tell,
    )


def _crop_px(parts: Parts, photo: Passage, detected: DetectedFace) -> float:
    """Return the side of a face's crop in the photo, pixels."""
    if parts.config.aligned:
        return float(photo.pixels.shape[0])
    return FFHQ_SIZE / affine_scale(estimate_similarity(detected.landmarks, template(FFHQ_SIZE)))


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


def _timed_restore(parts: Parts, photo: Passage) -> Passage:
    """Return the photo, the faces of one line with their restored pixels and the mean seconds that they took."""
    start = time.perf_counter()
    restored = stages.restore(parts, photo).faces
    seconds = (time.perf_counter() - start) / len(restored)
    return replace(photo, faces=[replace(face, seconds=seconds) for face in restored])


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


def face_size_of(parts: Parts) -> int | None:
    """Return the side of the faces that a line gives, pixels; None where each face has a network of its own."""
    restorer = parts.restorer
    several = isinstance(restorer, FirstRestorer) and len(restorer.lines.candidates) > 1
    return None if several else restorer.face_size


def networks_passed_over(pipeline: RestorePipeline) -> list[tuple[str, str]]:
    """Return the networks that a pipeline's automatic choice cannot take, each with what it lacks."""
    restorer = pipeline.restorer
    networks = restorer.lines.available.passed_over if isinstance(restorer, FirstRestorer) else ()
    return [*networks, *pipeline.facts.passed_over]
