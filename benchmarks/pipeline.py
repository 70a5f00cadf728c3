"""A whole photo, from file to file: GPEN's published pipeline in its plain form, and facerestore's line with GPEN.

python -m benchmarks.pipeline RESULTS [--quick] [--threads N] [--repeats N]

Both restore the same six drawn faces of a photo of 12 megapixels with networks of the same random weights, and write a
JPEG. Theirs finds faces with RetinaFace-ResNet50 and makes masks with ParseNet; ours with what comes with facerestore:
its detector, and masks from the faces' landmarks. What masks from parsers cost ours is measured too.
"""

from __future__ import annotations

import sys
from dataclasses import asdict, replace

from benchmarks.common import Options, Results, TimedJob, compare_jobs, main, say, start, turns_results
from benchmarks.reference.gpen_photo import PublishedPhoto
from facerestore.bench.line import GivenFaces, LineRequest, open_line, pass_photo
from facerestore.bench.memory import Peak
from facerestore.bench.pairs import WARM_UPS
from facerestore.bench.photos import drawn_photo
from facerestore.bench.report import timing_facts
from facerestore.bench.runner import remote_job
from facerestore.bench.spawn import as_published
from facerestore.bench.standstill import undisturbed
from facerestore.bench.statistics import Timing
from facerestore.bench.tables import Table, megabytes, seconds, spread
from facerestore.engines.device import set_threads
from facerestore.errors import count
from facerestore.pipeline.parts import StageClock

MEGAPIXELS, FACES, FACE_SIZE = 12.0, 6, 512
QUICK_MEGAPIXELS, QUICK_FACE_SIZE = 0.1, 32
MASKS = {"gpen+bisenet": "masks from BiSeNet", "gpen+parsenet": "masks from ParseNet"}
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


def ours(megapixels: float, face_size: int, threads: int, network: str = "gpen") -> TimedJob:
    """Return the job of facerestore."""
    photo = drawn_photo(megapixels, FACES)
    request = LineRequest(network=network, random=True, size=face_size, threads=threads, device="cpu")
    pipeline = open_line(request)
    if pipeline.detector is not None:
        pipeline = replace(pipeline, detector=GivenFaces(pipeline.detector, photo.faces or ()))
    return TimedJob(lambda: pass_photo(pipeline, photo, StageClock(apart=True)))


def run(options: Options) -> Results:
    """Restore the photo both ways, in turns."""
    machine = start()
    megapixels, size = (QUICK_MEGAPIXELS, QUICK_FACE_SIZE) if options.quick else (MEGAPIXELS, FACE_SIZE)
    arguments, repeats = (
        (megapixels, size, options.threads),
        options.repeats or (1 if options.quick else REPEATS),
    )
    turns = compare_jobs(
        remote_job(ours, *arguments, label="facerestore"),
        remote_job(plain, *arguments, label="published pipeline", environment=as_published()),
        repeats=repeats,
        words=f"{megapixels:g} megapixels, {FACES} faces, GPEN {size} px",
    )
    ours_peak, plain_peak = (own.bytes for own in turns.peaks)
    notes = [
        "from the bytes of the file to those of the result, networks loaded",
        "faces found by RetinaFace-ResNet50 at 1000 px, and by our detector; masks from ParseNet, and from landmarks",
    ]
    if ours_peak and plain_peak:
        notes.append(f"peak memory: {ours_peak / plain_peak:.0%} of the published pipeline's")
    results = turns_results(
        "pipeline", "A whole photo with GPEN: the published pipeline, and ours", machine, [turns], notes
    )
    alone = {words: with_masks(network, arguments, repeats) for network, words in MASKS.items()}
    rows = tuple(
        (words, f"{seconds(timing.median)} {spread(timing)}", megabytes(most.bytes))
        for words, (timing, most) in alone.items()
    )
    facts = {
        words: {"seconds": timing_facts(timing), "peak": asdict(most)}
        for words, (timing, most) in alone.items()
    }
    return replace(
        results,
        tables=[*results.tables, Table("Ours with masks from parsers", ("", "facerestore", "memory"), rows)],
        facts={**results.facts, "ours_with_masks": facts},
    )


def with_masks(network: str, arguments: tuple[float, int, int], repeats: int) -> tuple[Timing, Peak]:
    """Return how long ours takes with a parser, run after run, and its most memory."""
    say(f"facerestore with {MASKS[network]}: {count(repeats, 'run')}")
    job = remote_job(ours, *arguments, network, label=network)
    try:
        runs = [undisturbed(job.run) for _ in range(WARM_UPS + repeats)][WARM_UPS:]
        return Timing(tuple(run.seconds for run in runs)), job.peak()
    finally:
        job.close()


if __name__ == "__main__":
    sys.exit(main(run, __doc__ or ""))
