"""Pasting six faces into a photo of 12 megapixels: over the whole canvas in float64, and in the faces' own rectangles.

python -m benchmarks.paste RESULTS [--quick] [--threads N] [--repeats N]
"""

from __future__ import annotations

import sys

import numpy as np

from benchmarks.common import Options, Results, TimedJob, compare_jobs, main, start, turns_results
from benchmarks.reference.paste import paste_whole_canvas
from facerestore.bench.photos import draw_photo
from facerestore.bench.runner import remote_job
from facerestore.bench.spawn import as_published
from facerestore.engines.device import keep_freed_memory, set_threads
from facerestore.imaging.alignment import align_face
from facerestore.imaging.blending import Paste, paste_faces
from facerestore.parsing.mask import geometric_mask
from facerestore.testing.drawn_faces import trial_faces
from facerestore.types import Image

MEGAPIXELS, FACES, FACE_SIZE = 12.0, 6, 512
QUICK_MEGAPIXELS, QUICK_FACE_SIZE = 0.1, 64
UPSCALES = {1.0: 7, 2.0: 4}
"""And pairs at each: the plain form of the second takes about 20 s."""


def scene(megapixels: float, face_size: int) -> tuple[Image, list[Paste]]:
    """Return a photo and the faces that go into it: drawn ones, each with the oval of a mean face as its mask."""
    pixels, found = draw_photo(megapixels, FACES)
    restored = [face.lq for face in trial_faces(face_size)]
    mask = geometric_mask(face_size)
    pastes = []
    for index, face in enumerate(found):
        aligned = align_face(pixels, face, face_size)
        pastes.append(Paste(aligned.affine, restored[index % len(restored)], aligned.lq, mask))
    return pixels, pastes


def plain(megapixels: float, face_size: int, upscale: float, threads: int) -> TimedJob:
    """Return the job of the plain form."""
    set_threads(threads)
    pixels, pastes = scene(megapixels, face_size)
    return TimedJob(lambda: paste_whole_canvas(np.asarray(pixels, dtype=np.uint8), pastes, upscale=upscale))


def ours(megapixels: float, face_size: int, upscale: float, threads: int) -> TimedJob:
    """Return the job of facerestore, which matches no colours here, since the plain form does not."""
    keep_freed_memory()  # as the command does
    set_threads(threads)
    pixels, pastes = scene(megapixels, face_size)
    return TimedJob(lambda: paste_faces(pixels, pastes, upscale=upscale, colour_match=False))


def difference(megapixels: float, face_size: int, upscale: float) -> dict[str, float]:
    """Return the largest difference of the two results, in levels of 255, and the share of values that differ."""
    pixels, pastes = scene(megapixels, face_size)
    expected = paste_whole_canvas(np.asarray(pixels, dtype=np.uint8), pastes, upscale=upscale)
    found = paste_faces(pixels, pastes, upscale=upscale, colour_match=False)
    levels = np.abs(found.astype(np.int16) - expected)
    return {
        "largest_difference_levels": float(levels.max()),
        "values_that_differ": float((levels > 0).mean()),
    }


def run(options: Options) -> Results:
    """Paste at upscale 1 and 2."""
    machine, turns, notes = start(), [], []
    megapixels, face_size = (QUICK_MEGAPIXELS, QUICK_FACE_SIZE) if options.quick else (MEGAPIXELS, FACE_SIZE)
    for upscale, repeats in UPSCALES.items():
        arguments = (megapixels, face_size, upscale, options.threads)
        words = f"{megapixels:g} megapixels, {FACES} faces, upscale {upscale:g}"
        found = difference(megapixels, face_size, upscale)
        turns.append(
            compare_jobs(
                remote_job(ours, *arguments, label="paste"),
                remote_job(plain, *arguments, label="plain paste", environment=as_published()),
                repeats=options.repeats or (1 if options.quick else repeats),
                words=words,
                extra=found,
            )
        )
        notes.append(
            f"upscale {upscale:g}: the results differ by at most {found['largest_difference_levels']:g} of 255 levels,"
            f" in {found['values_that_differ']:.2%} of all values"
        )
    return turns_results(
        "paste", "Pasting faces: the whole canvas, and the faces' own rectangles", machine, turns, notes
    )


if __name__ == "__main__":
    sys.exit(main(run, __doc__ or ""))
