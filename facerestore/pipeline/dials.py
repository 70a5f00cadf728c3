"""A line in which single faces have settings of their own: strength, detail, strengths of parts.

Each such face goes through the line that its settings alone would make; only finding and pasting are common. Without
dials the line is as it was, and a dial that says what holds for all changes no bit.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from facerestore.config import RestoreConfig
from facerestore.face_parts import parse_dial
from facerestore.pipeline import stages
from facerestore.pipeline.parts import Parts, Passage
from facerestore.pipeline.per_face import serving
from facerestore.pipeline.restore import RestorePipeline
from facerestore.pipeline.selection import select_faces
from facerestore.pipeline.stages import LineStage
from facerestore.types import DecodedImage, Outcome


def undialled(config: RestoreConfig) -> RestoreConfig:
    """Return the configuration by which the networks of a line with a dial are chosen: all faces have its parts."""
    parts = [dial.region for dial in parse_dial(config.dial).values() if dial.region]
    return replace(config, dial="", region=config.region or ",".join(parts[:1]))


def dialled(
    base: RestorePipeline, config: RestoreConfig, line_for: Callable[[RestoreConfig], RestorePipeline]
) -> RestorePipeline:
    """Return a pipeline that restores as ``config`` says, each face of ``config.dial`` as that says.

    Args:
        base: the pipeline with the networks of `undialled`.
        config: with a dial or without.
        line_for: returns the pipeline of `undialled` with the detail of a configuration.
    """
    base, dials = replace(base, config=replace(config, dial="")), parse_dial(config.dial)
    if not dials:
        return base
    lines = {
        index: line_for(replace(config, dial="", faces=str(index), **dial.fields))
        for index, dial in dials.items()
    }
    work = _Dialled(base, lines, {index: dial.fields for index, dial in dials.items()})
    procedure = replace(
        base.procedure,
        judge=work.judge,
        parse=partial(work.by_line, "parse"),
        restore=partial(work.by_line, "restore"),
        blend=work.blend,
        notes=work.notes,
        pasted=lambda parts, face: {},  # what a face's own line says of it is told with the rest
        tell=work.tell,
    )
    return replace(base, config=config, procedure=procedure)


@dataclass(frozen=True, slots=True)
class _Dialled:
    """The stages of such a line.

    Attributes:
        base: restores the faces that have no dial.
        own: the line of each that has, by its index.
        settings: what its dial says, as fields of the configuration.
    """

    base: RestorePipeline
    own: Mapping[int, RestorePipeline]
    settings: Mapping[int, Mapping[str, Any]]

    def undialled(self, parts: Parts) -> RestorePipeline:
        """Return the line of the faces without a dial, asked for what the whole is."""
        return replace(self.base, config=replace(parts.config, dial=""))

    def line_of(self, parts: Parts, index: int) -> RestorePipeline:
        """Return the line of a face, asked for what the whole is, but for what its dial says."""
        if index not in self.own:
            return self.undialled(parts)
        config = replace(parts.config, dial="", faces=str(index), **self.settings[index])
        return replace(self.own[index], config=config)

    def judge(self, parts: Parts, photo: Passage) -> Passage:
        """Return the photo with the decision of each face, made by its own line where it is one of those chosen."""
        judged = self.base.procedure.judge(self.undialled(parts), photo)
        faces, qualities = list(judged.faces), list(judged.qualities)
        chosen = select_faces(parts.config.faces, photo.found, photo.pixels.shape)
        for index in chosen & self.own.keys():
            line = self.line_of(parts, index)
            one = line.procedure.judge(line, photo)
            faces[index], qualities[index] = one.faces[index], one.qualities[index]
        return replace(judged, faces=faces, qualities=qualities)

    def by_line(self, name: str, parts: Parts, photo: Passage) -> Passage:
        """Return the photo after a stage; faces whose lines have the same networks go through it together."""
        faces = list(photo.faces)
        for line, indices in self._groups(parts, range(len(faces))):
            stage: LineStage = getattr(line.procedure, name)
            done = stage(line, replace(photo, faces=[faces[index] for index in indices]))
            for index, face in zip(indices, done.faces, strict=True):
                faces[index] = face
        return replace(photo, faces=faces)

    def _groups(self, parts: Parts, indices: Iterable[int]) -> Iterator[tuple[RestorePipeline, list[int]]]:
        """Yield lines with the indices of their faces; what they ask for beside the networks may differ."""
        groups: dict[int, tuple[RestorePipeline, list[int]]] = {}
        for index in indices:
            line = self.line_of(parts, index)
            groups.setdefault(id(line.restorer), (line, []))[1].append(index)
        yield from groups.values()

    def blend(self, parts: Parts, photo: Passage) -> DecodedImage:
        """Return the photo with the restored faces in it, each as its own line pastes it."""
        pastes = [
            paste
            for index, face in enumerate(photo.faces)
            for paste in stages.pastes_of(
                replace(photo, faces=[face]), partial(serving, self.line_of(parts, index))
            )
        ]
        return stages.put_back(self.undialled(parts), photo, pastes)

    def notes(self, parts: Parts, photo: Passage) -> list[str]:
        """Return what people should know of a photo, of each face in the words of its own line."""
        told = [line.procedure.notes(line, part) for line, part in self._apart(parts, photo)]
        return [*dict.fromkeys(note for notes in told for note in notes)]

    def tell(self, parts: Parts, photo: Passage, report: dict[str, Any]) -> dict[str, Any]:
        """Return the report with what each face's own line says of it."""
        for index, face in enumerate(photo.faces):
            line, entry = self.line_of(parts, index), report["faces"][index]
            entry |= line.procedure.pasted(line, face)
            if index in self.own:
                done = face.decision.outcome is Outcome.RESTORED
                entry |= {"strength": line.config.strength if done else 0.0}
                entry |= {} if line.config.detail is None else {"detail": line.config.detail}
        told = [line.procedure.tell(line, part, dict(report)) for line, part in self._apart(parts, photo)]
        used = {name: digest for one in told if "auto" in one for name, digest in one["auto"]["used"].items()}
        if "auto" in told[0]:
            told[0]["auto"] |= {"used": used}
        return told[0]

    def _apart(self, parts: Parts, photo: Passage) -> Iterator[tuple[RestorePipeline, Passage]]:
        """Yield each line with the photo in which its own faces alone were restored; first the base."""
        rest = [index for index in range(len(photo.faces)) if index not in self.own]
        lines = [(self.undialled(parts), rest)]
        lines += [(self.line_of(parts, index), [index]) for index in self.own if index < len(photo.faces)]
        for line, indices in lines:
            faces = [
                face if index in indices else replace(face, restored=None, choice=None)
                for index, face in enumerate(photo.faces)
            ]
            yield line, replace(photo, faces=faces)
