"""The facts of a restored photo, as plain values ready for JSON."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from facerestore import __version__
from facerestore.pipeline.selection import absent_indices, to_restore
from facerestore.quality.judge import FaceQuality
from facerestore.types import DecodedImage, DetectedFace, Outcome, RestoredFace, search_of

if TYPE_CHECKING:
    from facerestore.background import Upsampler
    from facerestore.config import RestoreConfig
    from facerestore.pipeline.restore import RestorePipeline


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
    passed_over: tuple[tuple[str, str], ...] = ()

    @property
    def where(self) -> str:
        """On which device, and in which number format where that is not float32, for people."""
        return f"on {self.device}" + ("" if self.precision in (None, "float32") else f" in {self.precision}")


def reading_notes(image: DecodedImage, *, done: str | None = None) -> list[str]:
    """Return what people should know about how a photo was read, a line each.

    Args:
        image: as it was read.
        done: the word for what was done with faces of it; None where nothing was.
    """
    if image.damage is None:
        return [*image.notes]
    start = f"{done}, though the" if done else "the"
    return [f"{start} file is damaged {image.damage}", *image.notes]


def storage_note(image: DecodedImage) -> str | None:
    """Return a line on what a picture comes back as where its file held something else; None where it did not."""
    if image.stored_as is None:
        return None
    colour = ("grey" if image.grey else "RGB") + ("" if image.alpha is None else " with transparency")
    return f"stored as {image.stored_as}, it comes back as {8 * image.pixels.dtype.itemsize}-bit {colour}"


def photo_facts(
    line: RestorePipeline,
    before: DecodedImage,
    after: DecodedImage,
    faces: Sequence[RestoredFace],
    *,
    notes: list[str],
    clock: StageClock,
) -> dict[str, Any]:
    """Return the facts of one photo but for those of each face, ready for JSON.

    Args:
        line: what restored it.
        before: the photo.
        after: the result.
        faces: all of them.
        notes: what people should know beside the faces' decisions.
        clock: of the stages.
    """
    config = line.config
    return {
        "facerestore": __version__,
        "size": [before.pixels.shape[1], before.pixels.shape[0]],
        "result_size": [after.pixels.shape[1], after.pixels.shape[0]],
        "task": line.task.purpose,
        "damage": before.damage,
        "notes": notes,
        "backend": line.restorer.name,
        "official": line.official,
        "face_size": line.restorer.face_size,
        "weights": asdict(line.facts),
        "detector": None if config.aligned or line.detector is None else line.detector.name,
        "parser": None if line.parser is None else line.parser.name,
        "mask": config.mask,
        "region": config.region,
        "background": None if line.background is None else background_facts(line.background),
        "fidelity": line.restorer.descriptor.fidelity,
        "upscale": config.upscale,
        "strength": config.strength,
        "found": len(faces),
        "restored": len(to_restore(faces)),
        "kept": kept_by_code(faces),
        "absent_indices": absent_indices(config.faces, len(faces)),
        "stage_seconds": clock.report(),
    }


def search_facts(found: Sequence[DetectedFace]) -> dict[str, Any] | None:
    """Return what a detector looked at, ready for JSON; None where it does not tell.

    Args:
        found: what it gave.
    """
    search = search_of(found)
    if search is None:
        return None
    values = _rounded(asdict(search))
    return values | {name: [list(size) for size in values[name]] for name in ("sizes", "turned_sizes")}


def with_search(
    report: dict[str, Any], found: Sequence[DetectedFace], config: RestoreConfig
) -> dict[str, Any]:
    """Return the report of a photo with what was searched, and a note where only turned faces were found.

    Args:
        report: of the photo, with its ``notes``.
        found: what the detector gave.
        config: says whether turned faces were asked for.
    """
    notes, search = report["notes"], search_facts(found)
    upright = config.rotations or any(face.stands_upright for face in found)
    if found and search is not None and not upright:
        notes = [
            "no face stands upright: the photo was searched turned on its side and upside down too",
            *notes,
        ]
    return report | {"search": search, "notes": notes}


def background_facts(background: Upsampler) -> dict[str, Any]:
    """Return what became of the pixels outside the faces, ready for JSON."""
    return {
        "name": background.name,
        "scale": background.scale,
        "note": f"pixels outside the restored faces were upsampled by {background.name}",
    }


def face_report(
    index: int, face: RestoredFace, quality: FaceQuality | None, *, strength: float, seconds: float
) -> dict[str, Any]:
    """Return the facts of one face, ready for JSON; coordinates in image pixels.

    Args:
        index: of the face in its photo.
        face: the face.
        quality: what was measured on it.
        strength: of the whole photo.
        seconds: what the network took for it, where the face does not say.
    """
    restored = face.restored is not None
    detected = face.detected
    return {
        "index": index,
        "box": [round(value, 2) for value in detected.box],
        "landmarks": [[round(x, 2), round(y, 2)] for x, y in detected.landmarks.tolist()],
        "score": round(float(detected.score), 4),
        "eye_distance_px": round(detected.eye_distance_px, 2),
        "quality": None if quality is None else _rounded(asdict(quality)),
        "decision": face.decision.outcome.value,
        "code": face.decision.code,
        "reason": face.decision.reason,
        "strength": strength if restored else 0.0,
        "seconds": round(seconds if face.seconds is None else face.seconds, 4) if restored else 0.0,
        "precision": face.precision if restored else None,
    }


def served_by(face: RestoredFace, backend: str, facts: PipelineFacts) -> dict[str, Any]:
    """Return which network a face is restored by and why, ready for JSON; None throughout for a kept face.

    Args:
        face: the face with its decision, restored already or not.
        backend: the one that serves a face for which none was chosen.
        facts: where that one comes from.
    """
    if face.decision.outcome is Outcome.KEPT:
        return {"backend": None, "weights": None, "choice": None, "why": None}
    choice = face.choice
    return {
        "backend": backend if choice is None else choice.backend,
        "weights": facts.weights if choice is None else choice.weights,
        "choice": None if choice is None else choice.code,
        "why": None if choice is None else choice.reason,
    }


def precision_notes(index: int, face: RestoredFace, wanted: str | None) -> list[str]:
    """Return what people should know where a face was not computed in the wanted number format."""
    if face.restored is None or None in (wanted, face.precision) or face.precision == wanted:
        return []
    return [
        f"face {index}: its values left the range of {wanted}, so it was computed again in {face.precision};"
        f" --precision {face.precision} computes all faces so at once"
    ]


def kept_by_code(faces: Sequence[RestoredFace]) -> dict[str, int]:
    """Return how many faces were kept, by the code of the decision."""
    return dict(Counter(f.decision.code for f in faces if f.decision.outcome is Outcome.KEPT))


def _rounded(numbers: dict[str, Any]) -> dict[str, Any]:
    return {k: round(v, 4) if isinstance(v, float) else v for k, v in numbers.items()}


class StageClock:
    """Measures the stages of one photo."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Note how long the block took under ``name``."""
        start = time.perf_counter()
        yield
        self.seconds[name] = time.perf_counter() - start

    def report(self) -> dict[str, float]:
        """Return the seconds by stage and in all, in milliseconds' precision."""
        return {
            **{k: round(v, 4) for k, v in self.seconds.items()},
            "total": round(sum(self.seconds.values()), 4),
        }
