"""The stages of restoring: detect, judge, parse, restore, blend. Other tasks put their own in the place of some."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Protocol, TypeAlias

from facerestore.backends.calling import check_count, restore_faces
from facerestore.backends.half import precisions_of
from facerestore.imaging.alignment import align_face, resize_affine, warp_to_crop
from facerestore.imaging.blending import Paste, paste_faces, replace_whole, whole_face
from facerestore.imaging.pixels import grey_face, resize_image
from facerestore.pipeline.change import with_changes
from facerestore.pipeline.parts import Parts, Passage
from facerestore.pipeline.routing import harm_of
from facerestore.pipeline.selection import left_to_right, select_faces, to_restore
from facerestore.quality.judge import MIN_EYE_DISTANCE_PX, FaceQuality, assess, decide, too_small
from facerestore.types import (
    AlignedFace,
    Decision,
    DecodedImage,
    DetectedFace,
    Effect,
    Mask,
    Outcome,
    RestoredFace,
)


class LineStage(Protocol):
    """A stage: takes a photo, and returns it one step further."""

    def __call__(self, parts: Parts, photo: Passage, /) -> Passage:
        """Return the photo one step further; raises BackendError where a network fails."""
        ...


class Blend(Protocol):
    """The last stage."""

    def __call__(self, parts: Parts, photo: Passage, /) -> DecodedImage:
        """Return the result."""
        ...


MakePastes: TypeAlias = Callable[[Parts, Passage], list[Paste]]
"""Returns how the restored faces of a photo go back into it, in their order."""

Measure: TypeAlias = Callable[[Passage, DecodedImage], Sequence[RestoredFace]]
"""Returns the faces of a photo with how much of them its result has changed."""

Assess: TypeAlias = Callable[[AlignedFace], FaceQuality]
"""Measures a face that was cut out."""

Judged: TypeAlias = tuple[RestoredFace, FaceQuality | None]
"""A face with its decision, and what was measured on it, where it had to be cut out."""


def detect(parts: Parts, photo: Passage) -> Passage:
    """Return the photo with its faces, left to right."""
    finder = parts.active_detector
    found = [whole_face(photo.pixels)] if finder is None else left_to_right(finder.detect(photo.pixels))
    return replace(photo, found=found)


def judge(parts: Parts, photo: Passage, *, assess: Assess = assess) -> Passage:
    """Return the photo with the decision of each face: whether restoring it does it good."""

    def judge_face(parts: Parts, photo: Passage, face: DetectedFace) -> Judged:
        size = parts.restorer.face_size
        aligned = cut(parts, photo, face, size)
        quality = assess(aligned)
        decision = worth_restoring(parts, face, quality)
        if decision.outcome is Outcome.RESTORED and not parts.config.force:
            decision = harm_of(size, quality) or decision
        return RestoredFace(face, decision, aligned), quality

    return judge_each(parts, photo, judge_face)


def judge_size(parts: Parts, photo: Passage, *, reason: str) -> Passage:
    """Return the photo with the decision of each face: worked on for ``reason``, unless it is too small."""

    def judge_face(parts: Parts, photo: Passage, face: DetectedFace) -> Judged:
        aligned = cut(parts, photo, face, parts.restorer.face_size)
        small = too_small(face, min_eye_distance_px=least_eyes_px(parts))
        decision = small or Decision(Outcome.RESTORED, "restored", reason)
        return RestoredFace(face, forced(parts, decision), aligned), assess(aligned)

    return judge_each(parts, photo, judge_face)


def judge_each(
    parts: Parts, photo: Passage, judge_face: Callable[[Parts, Passage, DetectedFace], Judged]
) -> Passage:
    """Return the photo with each face judged, but for those that are kept before they are looked at."""
    chosen = select_faces(parts.config.faces, photo.found, photo.pixels.shape)
    judged: list[Judged] = []
    for index, detected in enumerate(photo.found):
        aside = unwanted(parts, index in chosen) or _small(parts, detected)
        judged.append(
            judge_face(parts, photo, detected) if aside is None else (RestoredFace(detected, aside), None)
        )
    if parts.guard is not None and any(face.decision.outcome is Outcome.RESTORED for face, _ in judged):
        parts.guard.begin()
    return with_judged(photo, judged)


def with_judged(photo: Passage, judged: Sequence[Judged]) -> Passage:
    """Return the photo with its faces as they were judged."""
    return replace(photo, faces=[face for face, _ in judged], qualities=[quality for _, quality in judged])


def worth_restoring(parts: Parts, detected: DetectedFace, quality: FaceQuality) -> Decision:
    """Return whether a face that was cut out is restored, whichever network does it."""
    return forced(parts, decide(detected, quality, min_eye_distance_px=least_eyes_px(parts)))


def forced(parts: Parts, decision: Decision) -> Decision:
    """Return a decision, or that the face is worked on all the same."""
    if decision.outcome is Outcome.KEPT and parts.config.force:
        return Decision(Outcome.RESTORED, "restored", f"forced, though {decision.reason}")
    return decision


def unwanted(parts: Parts, chosen: bool) -> Decision | None:
    """Return why a face is kept whatever it looks like; None where it is to be looked at."""
    if not chosen:
        why = f"not selected: the choice of faces is '{parts.config.faces}'"
        return Decision(Outcome.KEPT, "not-selected", why)
    if parts.pasting.full_strength == 0:
        return Decision(Outcome.KEPT, "strength-0", "strength is 0: nothing of a restored face is mixed in")
    return None


def _small(parts: Parts, face: DetectedFace) -> Decision | None:
    return None if parts.config.force else too_small(face, min_eye_distance_px=least_eyes_px(parts))


def to_look_at(parts: Parts, photo: Passage) -> list[DetectedFace]:
    """Return the faces that are to be looked at."""
    chosen = select_faces(parts.config.faces, photo.found, photo.pixels.shape)
    return [
        face
        for index, face in enumerate(photo.found)
        if unwanted(parts, index in chosen) is None and _small(parts, face) is None
    ]


def least_eyes_px(parts: Parts) -> float:
    """Return the least distance between the eyes of a face that is worked on, image pixels."""
    return MIN_EYE_DISTANCE_PX if parts.config.min_face is None else parts.config.min_face


def cut(parts: Parts, photo: Passage, face: DetectedFace, size: int) -> AlignedFace:
    """Return the face's crop, ``size`` pixels wide."""
    with photo.clock.stage("align"):
        if not parts.config.aligned:
            return align_face(photo.pixels, face, size)
        affine = resize_affine(size / photo.pixels.shape[0])
        return AlignedFace(detected=face, affine=affine, lq=warp_to_crop(photo.pixels, affine, size))


def parse(parts: Parts, photo: Passage) -> Passage:
    """Return the photo, the faces to be restored with their parsing maps where there is a parser."""
    wanted = to_restore(photo.faces)
    if parts.parser is None or not wanted:
        return photo
    maps = parts.parser.parse([aligned for _, aligned in wanted])
    check_count(parts.parser.name, len(maps), len(wanted))
    faces = list(photo.faces)
    for (index, aligned), parsing_map in zip(wanted, maps, strict=True):
        faces[index] = replace(faces[index], parsing_map=parsing_map)
        if not parts.pasting.can_paste(aligned, parsing_map):
            faces[index] = replace(faces[index], decision=parts.pasting.refusal(parts.parser.name))
    return replace(photo, faces=faces)


def restore(parts: Parts, photo: Passage) -> Passage:
    """Return the photo, its faces with the restorer's output; all of them go to it in one call."""
    wanted, faces = to_restore(photo.faces), list(photo.faces)
    if not wanted:
        return photo
    maps = [m for index, _ in wanted if (m := faces[index].parsing_map) is not None]
    outputs = restore_faces(parts.restorer, [aligned for _, aligned in wanted], maps or None)
    for (index, _), output, precision in zip(wanted, outputs, precisions_of(outputs), strict=True):
        faces[index] = replace(faces[index], restored=output, precision=precision)
    return replace(photo, faces=faces)


def guard(parts: Parts, photo: Passage) -> Passage:
    """Return the photo, its restored faces as far as they are still those in the photo."""
    if parts.guard is None:
        return photo
    return replace(photo, faces=parts.guard.judge(photo.faces, photo.qualities))


def pastes(parts: Parts, photo: Passage) -> list[Paste]:
    """Return how the restored faces go back into the photo, in their order."""
    return pastes_of(photo, lambda face: parts)


def blend(parts: Parts, photo: Passage) -> DecodedImage:
    """Return the photo with the restored faces in it; without any and at upscale 1, the very same pixels."""
    return put_back(parts, photo, pastes(parts, photo))


def pastes_of(
    photo: Passage,
    parts_for: Callable[[RestoredFace], Parts],
    mask_of: Callable[[AlignedFace], Mask] | None = None,
) -> list[Paste]:
    """Return how the restored faces go back into the photo.

    Args:
        photo: with its faces.
        parts_for: the parts that serve a face, whose configuration says mask and strength.
        mask_of: the (S, S) float32 mask of a crop, in the place of that; None for that.
    """
    pastes = []
    for face in photo.faces:
        aligned, restored, parsing_map = face.aligned, face.restored, face.parsing_map
        if aligned is None or restored is None:
            continue
        parts = parts_for(face)
        pasting, whole = parts.pasting, parts.config.aligned
        paste = Paste(
            affine=aligned.affine,
            restored=grey_face(restored) if photo.image.grey else restored,
            lq=aligned.lq,
            mask=pasting.mask(aligned, parsing_map) if mask_of is None else mask_of(aligned),
            strength=pasting.strength_of_crop(aligned, parsing_map)
            if whole
            else pasting.strength_of(parsing_map),
        )
        pastes.append(paste)
    return pastes


def put_back(parts: Parts, photo: Passage, pastes: Sequence[Paste]) -> DecodedImage:
    """Return the canvas of the background, or else the resized photo, with faces pasted in."""
    image, canvas, config = photo.image, photo.canvas, parts.config
    if not pastes and config.upscale == 1 and canvas is None:
        return image
    spends, size = photo.spent and config.upscale == 1, (image.pixels.shape[1], image.pixels.shape[0])
    if canvas is None and spends:
        canvas = image.pixels
    if config.aligned and pastes:
        (whole,) = pastes
        pixels = replace_whole(
            image.pixels, whole.restored, upscale=config.upscale, strength=whole.strength, canvas=canvas
        )
    else:
        canvas = resize_image(image.pixels, config.upscale) if canvas is None else canvas
        give = None if parts.grain is None else parts.grain(canvas, pastes, size=size)
        pixels = paste_faces(
            image.pixels, pastes, upscale=config.upscale, colour_match=config.colour_match, canvas=canvas
        )
        pixels = pixels if give is None else give(pixels)
    alpha = image.alpha if image.alpha is None or spends else resize_image(image.alpha, config.upscale)
    return replace(image, pixels=pixels, alpha=alpha)


def measure(photo: Passage, result: DecodedImage) -> Sequence[RestoredFace]:
    """Return the faces of a photo with how much of them its result has changed, the repair of damage included.

    A crack that is gone is plain to see, however few its pixels: such a face is cleaned at least.
    """
    height, width = photo.pixels.shape[:2]
    before = [face.aligned for face in photo.repaired or photo.faces]
    faces = with_changes(photo.faces, before, result.pixels, size=(width, height))
    filled = [face.restored is not None for face in photo.repaired] or [False] * len(faces)
    return [
        replace(face, effect=Effect.CLEANED) if mended and face.effect is Effect.BARELY_CHANGED else face
        for face, mended in zip(faces, filled, strict=True)
    ]


def unmeasured(photo: Passage, result: DecodedImage) -> Sequence[RestoredFace]:
    """Return the faces as they are: what was done to them is told by no measure of change."""
    return photo.faces
