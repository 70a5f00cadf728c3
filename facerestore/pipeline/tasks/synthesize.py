"""Synthesis: a parsing map becomes the picture of a face that never was."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from facerestore.config import SYNTHESIZE
from facerestore.face_parts import CLASS_NAMES
from facerestore.imaging.alignment import resize_affine
from facerestore.imaging.pixels import resize_map, to_8_bit
from facerestore.parsing import PALETTE
from facerestore.pipeline import stages
from facerestore.pipeline.parts import Parts, Passage
from facerestore.pipeline.restore import Procedure
from facerestore.pipeline.tasks.parsing_pictures import decode_map, is_coloured, read_ids
from facerestore.types import AlignedFace, Decision, DecodedImage, Outcome, RestoredFace


def _describe(parts: Parts) -> str:
    weights = parts.facts.weights or parts.restorer.name
    return f"{weights}, {parts.restorer.face_size} px faces, {parts.facts.where}; from parsing maps"


def _decode(data: bytes, *, name: str, max_pixels: int, page: int | None) -> DecodedImage:
    """Return the picture of a parsing map, which is the only one in its file."""
    return decode_map(data, name=name, max_pixels=max_pixels)


def _judge(parts: Parts, photo: Passage) -> Passage:
    """Return the map as a face whose crop is the map in colours; raises ImageError where it is no map."""
    size = parts.restorer.input_size
    whole = read_ids(photo.pixels)
    ids = resize_map(whole, size)
    lq = PALETTE[ids].astype(np.float32) / np.float32(255)
    names = [CLASS_NAMES[index] for index in np.unique(ids) if index]
    decision = Decision(Outcome.RESTORED, "restored", f"synthesized from {', '.join(names)}")
    (face,) = photo.found
    aligned = AlignedFace(face, resize_affine(size / photo.pixels.shape[0]), lq)
    before = None if is_coloured(photo.pixels) else DecodedImage(PALETTE[whole])
    photo = replace(photo, before=before)
    return stages.with_judged(photo, [(RestoredFace(face, decision, aligned, parsing_map=ids), None)])


def _blend(parts: Parts, photo: Passage) -> DecodedImage:
    """Return the network's picture alone, 8-bit RGB."""
    (restored,) = [face.restored for face in photo.faces if face.restored is not None]
    return DecodedImage(to_8_bit(restored), format=photo.image.format)


SYNTHESIZING = Procedure(
    task=SYNTHESIZE,
    describe=_describe,
    decode=_decode,
    judge=_judge,
    blend=_blend,
    measure=stages.unmeasured,
    notes=lambda parts, photo: [],
    pasted=lambda parts, face: {},
)
"""Draws a face for each parsing map, at the size of the network.

The map is brought to the network's size by nearest neighbour, so that no label is mixed with another, and is shown to
the network in the colours of CelebAMask-HQ, as RGB in [0, 1]. Nothing is detected, judged or pasted. ``before`` of the
result is the map in colours, where its picture is of ids.
"""
