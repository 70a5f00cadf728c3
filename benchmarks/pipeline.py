"""A whole photo, from file to file: GPEN's published pipeline in its plain form, and facerestore's line with GPEN.

python -m benchmarks.pipeline RESULTS [--quick] [--threads N] [--repeats N]

Both restore the same six drawn faces of a photo of 12 megapixels with networks of the same random weights, and write a
JPEG. Theirs finds faces with RetinaFace-ResNet50 and makes masks with ParseNet; ours with what comes with facerestore:
its detector, and masks from the faces' landmarks.
"""

from __future__ import annotations

import sys

from benchmarks.common import Options, Results, TimedJob, compare_jobs, main, start, turns_results
from benchmarks.reference.gpen_photo import PublishedPhoto
from facerestore.bench.environment import as_published
from facerestore.bench.line import GivenFaces, LineRequest, Meter, open_line, pass_photo
from facerestore.bench.photos import drawn_photo
from facerestore.bench.runner import RemoteJob
from facerestore.device import set_threads

MEGAPIXELS, FACES, FACE_SIZE = 12.0, 6, 512
QUICK_MEGAPIXELS, QUICK_FACE_SIZE = 0.1, 32
REPEATS = 3  # the published pipeline takes about a minute


def plain(megapixels: float, face_size: int, threads: int) -> TimedJob:
    """Return the job of the published pipeline."""
    set_threads(threads)
    photo = drawn_photo(megapixels, FACES)
    small = face_size < FACE_SIZE
    program = (
        PublishedPhoto(face_size, parser_size=32, backbone="mobile0.25")
        if small
        else PublishedPhoto(face_size)
    )
    return TimedJob(lambda: program.restore(photo.data, photo.faces or ()))


def ours(megapixels: float, face_size: int, threads: int) -> TimedJob:
    """Return the job of facerestore."""
    photo = drawn_photo(megapixels, FACES)
    request = LineRequest(network="gpen", random=True, size=face_size, threads=threads, device="cpu")
    pipeline = open_line(request)
    if pipeline.detector is not None:
        pipeline.detector = GivenFaces(pipeline.detector, photo.faces or ())
    return TimedJob(lambda: pass_photo(pipeline, photo, Meter()))


def run(options: Options) -> Results:
    """Restore the photo both ways, in turns."""
    machine = start()
    megapixels, size = (QUICK_MEGAPIXELS, QUICK_FACE_SIZE) if options.quick else (MEGAPIXELS, FACE_SIZE)
    arguments = (megapixels, size, options.threads)
    turns = compare_jobs(
        RemoteJob(ours, *arguments, label="facerestore"),
        RemoteJob(plain, *arguments, label="published pipeline", environment=as_published()),
        repeats=options.repeats or (1 if options.quick else REPEATS),
        words=f"{megapixels:g} megapixels, {FACES} faces, GPEN {size} px",
    )
    ours_peak, plain_peak = (own.bytes for own in turns.peaks)
    notes = ["from the bytes of the file to those of the result, networks loaded"]
    if ours_peak and plain_peak:
        notes.append(f"peak memory: {ours_peak / plain_peak:.0%} of the published pipeline's")
    return turns_results(
        "pipeline", "A whole photo with GPEN: the published pipeline, and ours", machine, [turns], notes
    )


if __name__ == "__main__":
    sys.exit(main(run, __doc__ or ""))
