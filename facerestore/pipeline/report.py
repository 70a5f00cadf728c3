"""The facts of a restored photo, as plain values ready for JSON."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from facerestore import __version__
from facerestore.imaging.blending import touched_area
from facerestore.io import Mark, left_out
from facerestore.pipeline.parts import Parts, Passage, PipelineFacts
from facerestore.pipeline.selection import absent_indices, to_restore
from facerestore.quality.judge import FaceQuality
from facerestore.types import DecodedImage, DetectedFace, Outcome, RestoredFace, search_of

if TYPE_CHECKING:
    from facerestore.background import Upsampler
    from facerestore.config import RestoreConfig

NOISY_LEVELS = 2.5
"""From here on noise is plain to see: of 255, in luma. Fifteen small portraits of today have 0.5 to 2.7, one above."""


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


def writing_notes(image: DecodedImage, *, format: str) -> list[str]:
    """Return what people should know about how a result is written, a line each."""
    return [line for line in (left_out(image, format=format), storage_note(image)) if line]


def photo_facts(
    parts: Parts, photo: Passage, result: DecodedImage, *, task: str, official: bool, notes: list[str]
) -> dict[str, Any]:
    """Return the facts of one photo but for those of each face, ready for JSON.

    Args:
        parts: what restored it.
        photo: at the end of its way.
        result: what came of it.
        task: what was done with its faces.
        official: by the test pipeline of an original program.
        notes: what people should know beside the faces' decisions.
    """
    config, before, faces = parts.config, photo.image, photo.faces
    return {
        "facerestore": __version__,
        "size": [before.pixels.shape[1], before.pixels.shape[0]],
        "result_size": [result.pixels.shape[1], result.pixels.shape[0]],
        "task": task,
        "damage": before.damage,
        "notes": notes,
        "backend": parts.restorer.name,
        "official": official,
        "face_size": parts.restorer.face_size,
        "weights": asdict(parts.facts),
        "detector": None if parts.active_detector is None else parts.active_detector.name,
        "parser": None if parts.parser is None else parts.parser.name,
        "mask": config.mask,
        "region": config.region,
        "background": None if parts.background is None else background_facts(parts.background),
        "fidelity": parts.restorer.descriptor.fidelity,
        "detail": parts.restorer.descriptor.detail,
        "upscale": config.upscale,
        "strength": config.strength,
        "found": len(faces),
        "restored": len(to_restore(faces)),
        "kept": kept_by_code(faces),
        "effects": dict(Counter(face.effect.value for face in faces if face.effect is not None)),
        "absent_indices": absent_indices(config.faces, len(faces), dial=config.dial),
        "stage_seconds": photo.clock.report(),
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
    advice = advice_without_faces(report["size"], search, config) if not found else None
    return report | {"search": search, "advice": advice, "notes": notes}


def advice_without_faces(
    size: Sequence[int], search: Mapping[str, Any] | None, config: RestoreConfig
) -> str | None:
    """Return what to try with a photo that shows no face; None where all was tried.

    Args:
        size: (W, H) of the photo.
        search: what was looked at, ready for JSON; None where the detector does not tell.
        config: what was asked for.
    """
    turned = search["turned_sizes"] if search is not None else []
    tries = [
        (config.detect_size is not None, "leave out --detect-size, which hides small faces"),
        (
            not config.rotations and bool(turned) and search is not None and turned[0] != search["sizes"][0],
            "--rotations for small turned faces",
        ),
        (size[0] == size[1], "--aligned where the photo is a face cut out already"),
        (config.detector in ("auto", "embedded"), "--detector retinaface-resnet50, a larger one to download"),
    ]
    words = [words for asked, words in tries if asked]
    return f"no face found; to try: {', or '.join(words)}" if words else None


def background_facts(background: Upsampler) -> dict[str, Any]:
    """Return what became of the pixels outside the faces, ready for JSON."""
    done = "cleaned" if background.scale == 1 else "upsampled"
    return {
        "name": background.name,
        "scale": background.scale,
        "note": f"pixels outside the restored faces were {done} by {background.name}",
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
        "change": None if face.change is None else round(face.change, 2),
        "effect": None if face.effect is None else face.effect.value,
        "guard": None if face.guard is None else _rounded(asdict(face.guard)),
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


def photo_notes(parts: Parts, photo: Passage) -> list[str]:
    """Return what people should know of a photo beside its faces' decisions, one sentence each."""
    return notes_with(parts, photo, lambda index, face: face_notes(parts, index, face))


def noise_notes(parts: Parts, photo: Passage) -> list[str]:
    """Return what helps where restored faces lie in noise, which they are given again; nothing where none does."""
    if parts.grain is None or parts.background is not None:
        return []
    levels = [
        quality.noise_sigma
        for face, quality in zip(photo.faces, photo.qualities, strict=False)
        if face.restored is not None and quality is not None and quality.noise_sigma >= NOISY_LEVELS
    ]
    return (
        [f"the photo is noisy, by {max(levels):.1f} levels; --photo cleans the whole of it"] if levels else []
    )


def notes_with(parts: Parts, photo: Passage, of_face: Callable[[int, RestoredFace], list[str]]) -> list[str]:
    """Return what the restorer remarks, and the notes that ``of_face`` has on each restored face and its index."""
    restored = [(index, face) for index, face in enumerate(photo.faces) if face.restored is not None]
    return [
        *parts.restorer.remarks,
        *noise_notes(parts, photo),
        *overlay_notes(photo),
        *(note for index, face in restored for note in of_face(index, face)),
    ]


DOTS = (
    "printed in dots, {:.1f} px apart, which are no part of a face and smoothed only in part; scan the print with"
    " descreening, or blur the dots away and reduce the photo first"
)
LINES = (
    "under the lines of a screen, {:.1f} px apart, which are no part of a face and smoothed only in part; take the"
    " picture itself in the place of its photo, or blur the lines away and reduce the photo first"
)


def overlay_notes(photo: Passage) -> list[str]:
    """Return what should be known of restored faces that lie under dots or lines; nothing where none does."""
    judged = [
        (index, quality)
        for index, (face, quality) in enumerate(zip(photo.faces, photo.qualities, strict=False))
        if face.restored is not None and quality is not None
    ]
    notes = []
    for words, field in ((DOTS, "dots_px"), (LINES, "lines_px")):
        found = {index: px for index, quality in judged if (px := getattr(quality, field)) is not None}
        if found:
            names = f"face{'' if len(found) == 1 else 's'} {', '.join(map(str, found))}"
            notes.append(f"{names}: {words.format(sorted(found.values())[len(found) // 2])}")
    return notes


def face_notes(parts: Parts, index: int, face: RestoredFace) -> list[str]:
    """Return what people should know of how a restored face was computed and pasted."""
    pasted = [] if face.aligned is None else parts.pasting.notes(index, face.aligned, face.parsing_map)
    return precision_notes(parts, index, face) + guard_notes(index, face) + pasted


def guard_notes(index: int, face: RestoredFace) -> list[str]:
    """Return what people should know of a face of which only a part was used, or whose eyes are closed."""
    if face.guard is None:
        return []
    notes = []
    if face.guard.share < 1:
        notes.append(
            f"face {index}: only {face.guard.share:.0%} of the restored face is used: {face.guard.reason}"
        )
    if face.guard.eyes_softened:
        notes.append(
            f"face {index}: its eyes look closed, so nothing finer than the photo shows is drawn there;"
            " --no-guard draws it"
        )
    return notes


def precision_notes(parts: Parts, index: int, face: RestoredFace) -> list[str]:
    """Return what people should know where a restored face was not computed in the wanted number format."""
    wanted = parts.facts.precision
    if None in (wanted, face.precision) or face.precision == wanted:
        return []
    return [
        f"face {index}: its values left the range of {wanted}, so it was computed again in {face.precision};"
        f" --precision {face.precision} computes all faces so at once"
    ]


def touched_by(face: RestoredFace, shape: tuple[int, ...], *, upscale: float) -> dict[str, Any]:
    """Return how far into the result a face reaches, for its entry in the report.

    Args:
        face: the face.
        shape: of the photo.
        upscale: factor between the photo and the result.
    """
    if face.restored is None or face.aligned is None:
        return {"touched": None}
    size = face.aligned.lq.shape[0]
    return {"touched": touched_area(face.aligned.affine, size, shape=shape, upscale=upscale)}


def mark_of(report: Mapping[str, Any], *, done: str) -> Mark:
    """Return what a result says of how it was made.

    Args:
        report: of the photo.
        done: the word for what was done with its faces.
    """
    filled, behind = repaired_faces(report) > 0, report["background"]
    by_face = [*(["filled"] if filled else []), *([done] if report["restored"] or not filled else [])]
    whole = "cleaned" if report["upscale"] == 1 else "enlarged"
    told = ("touched", "weights", "strength", "change", "effect")
    changed = [face for face in report["faces"] if face["touched"] is not None]
    return Mark(
        done=tuple(by_face if changed or behind is None else [whole]),
        version=report["facerestore"],
        weights=weights_used(report),
        strength=report["strength"],
        upscale=report["upscale"],
        background=None if behind is None else behind["name"],
        size=tuple(report["result_size"]),
        faces=[{key: face[key] for key in told} for face in changed],
    )


def repaired_faces(report: Mapping[str, Any]) -> int:
    """Return in how many faces damage was filled before they were restored."""
    return int(report.get("repair", {}).get("faces", 0))


def weights_used(report: Mapping[str, Any]) -> dict[str, str | None]:
    """Return the sha256 of the weights that ran for a photo, by their names; None where it is not known."""
    weights, behind = report["weights"], report["weights"]["background"]
    used = report.get("auto", {}).get("used") or {weights["weights"]: weights["sha256"]}
    if behind is not None:
        used = (used if report["restored"] else {}) | {behind["weights"]: behind["sha256"]}
    if repaired_faces(report):
        used = used | {report["repair"]["weights"]: report["repair"]["sha256"]}
    return {str(name): digest for name, digest in used.items()}


def pasted_facts(parts: Parts, face: RestoredFace) -> dict[str, Any]:
    """Return what of a face was pasted, and how much of it was drawn, for its entry in the report."""
    restored = face.restored is not None
    pasted = parts.pasting.facts(face.aligned if restored else None, face.parsing_map)
    return pasted | {"detail": parts.restorer.descriptor.detail if restored else None}


def kept_by_code(faces: Sequence[RestoredFace]) -> dict[str, int]:
    """Return how many faces were kept, by the code of the decision."""
    return dict(Counter(f.decision.code for f in faces if f.decision.outcome is Outcome.KEPT))


def _rounded(numbers: dict[str, Any]) -> dict[str, Any]:
    return {k: round(v, 4) if isinstance(v, float) else v for k, v in numbers.items()}
