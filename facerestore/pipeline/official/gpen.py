"""GPEN's test pipeline: its own framing, a parsed mask, and the winner takes all."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TypeVar

import numpy as np

from facerestore.config import RestoreConfig
from facerestore.errors import BackendError
from facerestore.face_parts import CLASS_NAMES
from facerestore.imaging.alignment import (
    compose_affine,
    estimate_similarity,
    gpen_template,
    invert_affine,
    resize_affine,
    transform_points,
    upscale_affine,
)
from facerestore.pipeline import stages
from facerestore.pipeline.official.base import Pixels8, Program, as_8_bit, canvas_size, levels, unit
from facerestore.pipeline.parts import Parts, Passage
from facerestore.pipeline.selection import left_to_right
from facerestore.types import (
    Affine,
    AlignedFace,
    Decision,
    DecodedImage,
    DetectedFace,
    FoundFaces,
    Mask,
    Outcome,
    ParsingMap,
    RestoredFace,
    search_of,
)

_Values = TypeVar("_Values", Pixels8, Mask)

LEAST_SCORE = 0.9
"""Faces that the detector is less sure of are left out."""
DETECTION_SIDE_PX = 1000
"""Larger photos are reduced to this side before faces are looked for ..."""
REDUCED_FROM_PX = 1500
"""... where a side is above this."""
MASK_SIZE = 512
"""The restored face is parsed, and the mask made, at this size, whatever the size of the network."""
KEPT_CLASSES = ("background", "hat", "cloth")
"""Not pasted; hair, neck and jewellery are."""
BORDER_PX = 26
"""Width of the mask's zeros along its border, at MASK_SIZE."""
BLUR_WIDTH_PX = 101
BLUR_SIGMA_PX = 4.0
BLURS = 2
SMALL_FACE_PX = 100
"""Faces whose box has a shorter side, in the enlarged photo, are smoothed."""
SMOOTHING = np.outer((1, 2, 1), (1, 2, 1)).astype(np.float32) / 16
"""The 3 x 3 binomial kernel."""
BAND_ROWS = 256
"""Rows of the photo that are blended at a time, so that the floats of a large photo need not be held at once."""


def _needs_parser(config: RestoreConfig) -> bool:
    """Say whether a parser is needed: an aligned face has no mask."""
    return not config.aligned


def _enlarged(config: RestoreConfig, pixels: Pixels8) -> Pixels8:
    return pixels if config.aligned else resize_linear(pixels, canvas_size(config, pixels.shape))


def _detect(parts: Parts, photo: Passage) -> Passage:
    """Return the photo with its faces, found in the enlarged photo and told in pixels of the photo itself."""
    if parts.active_detector is None:
        return stages.detect(parts, photo)
    pixels = as_8_bit(photo.pixels)
    enlarged = _enlarged(parts.config, pixels)
    longest = max(enlarged.shape[:2])
    shrink = DETECTION_SIDE_PX / longest if longest > REDUCED_FROM_PX else 1.0
    seen = resize_linear(enlarged, (round(enlarged.shape[1] * shrink), round(enlarged.shape[0] * shrink)))
    # Divided, not by pixel centres.
    to_enlarged = np.array([[1 / shrink, 0.0, 0.0], [0.0, 1 / shrink, 0.0]])
    to_photo = compose_affine(invert_affine(resize_affine(_ratio(enlarged.shape, pixels.shape))), to_enlarged)
    found = parts.active_detector.detect(seen)
    search = search_of(found)
    moved = FoundFaces(
        (_moved(face, to_photo) for face in found),
        search=search and search.of_reduced(seen.shape[1] / pixels.shape[1]),
    )
    return replace(photo, found=left_to_right(moved))


def _refused(found: Sequence[DetectedFace]) -> dict[int, Decision]:
    return {
        index: Decision(
            Outcome.KEPT,
            "low-score",
            f"the detector's score is {face.score:.2f}, the official gpen pipeline asks for over {LEAST_SCORE}",
        )
        for index, face in enumerate(found)
        if not face.score > LEAST_SCORE
    }


def _cut(parts: Parts, source: Pixels8, face: DetectedFace, photo_shape: tuple[int, ...]) -> AlignedFace:
    size = parts.restorer.face_size
    if parts.config.aligned:
        affine = resize_affine(size / source.shape[0])
        return AlignedFace(face, affine, unit(resize_linear(source, (size, size))))
    enlarge = resize_affine(_ratio(source.shape, photo_shape))
    affine = estimate_similarity(transform_points(enlarge, face.landmarks), gpen_template(size))
    crop = warp_linear(source, affine, (size, size))
    return AlignedFace(face, compose_affine(affine, enlarge), unit(crop))


def _parse_restored(parts: Parts, photo: Passage) -> Passage:
    """Return the photo, its restored faces with their parsing maps, of MASK_SIZE."""
    if parts.parser is None or parts.config.aligned:
        return photo
    faces = list(photo.faces)
    wanted = [
        (index, _for_parser(face.aligned, levels(face.restored)))
        for index, face in enumerate(faces)
        if face.aligned is not None and face.restored is not None
    ]
    maps = parts.parser.parse([aligned for _, aligned in wanted]) if wanted else []
    for (index, _), parsing_map in zip(wanted, maps, strict=True):
        faces[index] = replace(faces[index], parsing_map=parsing_map)
    return replace(photo, faces=faces)


def _compose(parts: Parts, photo: Passage) -> DecodedImage:
    image, config = photo.image, parts.config
    behind = _enlarged(config, as_8_bit(image.pixels)) if photo.canvas is None else as_8_bit(photo.canvas)
    height, width = behind.shape[:2]
    mask, colours = np.zeros((height, width), dtype=np.float32), np.zeros_like(behind)
    ratio = _ratio(behind.shape, image.pixels.shape)
    for face in photo.faces:
        pasted, weight, affine = front(face, ratio, strength=config.strength)
        warped = warp_linear(weight, affine, (width, height))
        wins = warped > mask
        mask[wins] = warped[wins]
        colours[wins] = warp_linear(pasted, affine, (width, height))[wins]
    alpha = None if image.alpha is None else resize_linear(as_8_bit(image.alpha), (width, height))
    return replace(image, pixels=blend(behind, colours, mask), alpha=alpha)


def front(face: RestoredFace, ratio: tuple[float, float], *, strength: float) -> tuple[Pixels8, Mask, Affine]:
    """Return what is pasted of a face: its 8-bit crop, its mask, and the affine onto the enlarged photo.

    Args:
        face: restored and parsed.
        ratio: of the enlarged photo to the photo, in x and y.
        strength: share of the restored face in the mix with its crop.
    """
    import cv2

    aligned, restored, parsing_map = face.aligned, face.restored, face.parsing_map
    if aligned is None or restored is None or parsing_map is None:
        raise BackendError("a face without crop, result or parsing map cannot be pasted; report this")
    box = transform_points(resize_affine(ratio), np.array(face.detected.box).reshape(2, 2))
    pasted = levels(restored)
    if (box[1] - box[0]).min() < SMALL_FACE_PX:
        pasted = as_8_bit(cv2.filter2D(pasted, -1, SMOOTHING))
    pasted = as_8_bit(cv2.addWeighted(pasted, strength, levels(aligned.lq), 1 - strength, 0.0))
    weight = cv2.resize(paste_mask(parsing_map), restored.shape[:2])
    return pasted, np.asarray(weight), invert_affine(upscale_affine(aligned.affine, ratio))


def paste_mask(parsing_map: ParsingMap) -> Mask:
    """Return GPEN's mask of a (512, 512) parsing map: float32 in [0, 1], the same size.

    Raises:
        BackendError: the map has another size.
    """
    if parsing_map.shape != (MASK_SIZE, MASK_SIZE):
        raise BackendError(
            f"the parser gave a map of {parsing_map.shape} for a face of {MASK_SIZE} px; use another parser"
        )
    mask = (~np.isin(parsing_map, [CLASS_NAMES.index(name) for name in KEPT_CLASSES])).astype(np.float32)
    return feathered(mask)


def feathered(mask: Mask) -> Mask:
    """Return a (512, 512) float32 mask with zeros along its border, blurred twice."""
    import cv2

    result = np.zeros_like(mask)
    inner = slice(BORDER_PX, -BORDER_PX)
    result[inner, inner] = mask[inner, inner]
    for _ in range(BLURS):
        result = np.asarray(cv2.GaussianBlur(result, (BLUR_WIDTH_PX, BLUR_WIDTH_PX), BLUR_SIGMA_PX))
    return result


def blend(canvas: Pixels8, colours: Pixels8, mask: Mask) -> Pixels8:
    """Return the mix of two (H, W, 3) pictures, ``mask`` being the share of the second, rounded to nearest."""
    import cv2

    result = canvas.copy()
    for top in range(0, len(canvas), BAND_ROWS):
        rows = slice(top, top + BAND_ROWS)
        share = mask[rows][..., None]
        if share.any():
            result[rows] = cv2.convertScaleAbs(canvas[rows] * (1 - share) + colours[rows] * share)
    return result


def resize_linear(pixels: Pixels8, size: tuple[int, int]) -> Pixels8:
    """Return ``pixels`` at (W, H) by OpenCV's linear interpolation, which does not antialias."""
    import cv2

    if (pixels.shape[1], pixels.shape[0]) == size:
        return pixels
    return as_8_bit(cv2.resize(pixels, size, interpolation=cv2.INTER_LINEAR))


def warp_linear(pixels: _Values, affine: Affine, size: tuple[int, int]) -> _Values:
    """Return (W, H) pixels of a picture taken through ``affine``, by linear interpolation, 0 beyond it.

    GPEN asks for area averaging, which OpenCV's ``warpAffine`` takes for linear.
    """
    import cv2

    warped: _Values = cv2.warpAffine(pixels, affine, size, flags=cv2.INTER_LINEAR)  # type: ignore[assignment]
    return warped


def _ratio(large: tuple[int, ...], small: tuple[int, ...]) -> tuple[float, float]:
    """Return the factors in x and y between two (H, W, ...) shapes."""
    return large[1] / small[1], large[0] / small[0]


def _moved(face: DetectedFace, affine: Affine) -> DetectedFace:
    """Return a face in the pixels that ``affine`` takes its own to."""
    (left, top), (right, bottom) = transform_points(affine, np.array(face.box).reshape(2, 2)).tolist()
    points = transform_points(affine, face.landmarks).astype(np.float32)
    return replace(face, box=(left, top, right, bottom), landmarks=points)


def _for_parser(aligned: AlignedFace, restored: Pixels8) -> AlignedFace:
    """Return a restored face as a parser takes it: MASK_SIZE px, with the affine to that."""
    affine = compose_affine(resize_affine(MASK_SIZE / restored.shape[0]), aligned.affine)
    return replace(aligned, affine=affine, lq=unit(resize_linear(restored, (MASK_SIZE, MASK_SIZE))))


GPEN = Program(
    backend="gpen",
    parser_weights="parsenet.gpen",
    refused=_refused,
    cut=_cut,
    compose=_compose,
    enlarged=_enlarged,
    needs_parser=_needs_parser,
    detect=_detect,
    parse=lambda parts, photo: photo,
    parse_restored=_parse_restored,
)
"""GPEN's test program, its defects included.

- The photo is first enlarged bilinearly; faces are found, cut out of and pasted into that, and whether a face
  counts as small depends on the factor.
- Photos with a side above 1500 px are looked at 1000 px wide or high, which loses small faces in groups; faces with
  a score of 0.9 or less are left out. (Scores mean something else for each detector of ours.)
- The crop is cut with linear interpolation and no antialiasing, black beyond the photo.
- The mask is parsed from the restored face; its border is cut off hard at 26 of 512 px, since the blur is narrow,
  which may show as a rectangle. Hair, neck and jewellery are pasted, up to where the parser stops.
- Where faces overlap, each pixel goes to the face with the larger mask, which can leave a seam.
- A background network enlarges what lies behind the faces and not the faces themselves, which are cut out of the
  bilinear enlargement all the same. (It runs on our tiles, and gives the size that is asked for.)
- Strength mixes the restored face with its crop, before both are warped.

An image for the parser is made from the restored face bilinearly where the network's size is not 512 px; parsing
maps are 512 px then. Reports count the parser's time as the restorer's.
"""
