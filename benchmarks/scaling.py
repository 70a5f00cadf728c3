"""How time and memory grow: with megapixels (1 to 100), with faces (1 to 100), and with photos (1 to 1000).

python -m benchmarks.scaling RESULTS [--quick] [--threads N] [--repeats N]

The restorer is the bundled one. Every point is measured in a process of its own.
"""

from __future__ import annotations

import shutil
import sys
import tempfile
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.batch import line, write_photos
from benchmarks.common import Options, Results, main, say, start
from benchmarks.plots import Line, Plot
from facerestore.batch import Status, plan_jobs, run_jobs
from facerestore.bench.line import STAGES, LineRequest, LineResult, measure_line
from facerestore.bench.memory import peak, reset_peak
from facerestore.bench.report import line_facts
from facerestore.bench.spawn import spawned
from facerestore.bench.standstill import undisturbed
from facerestore.bench.tables import Table, megabytes, seconds
from facerestore.config import OutputConfig
from facerestore.errors import BackendError, count

MEGAPIXELS = (1.0, 3.0, 12.0, 48.0, 100.0)
FACES_THROUGHOUT = 2
FACES = (1, 3, 10, 30, 100)
MEGAPIXELS_THROUGHOUT = 12.0
PHOTOS = (1, 10, 100, 1000)
PHOTO_MEGAPIXELS = 0.3
QUICK_MEGAPIXELS, QUICK_FACES, QUICK_PHOTOS = (0.05, 0.1), (1, 2), (1, 2)
REPEATS = 3

MEGABYTE = 1e6


def run(options: Options) -> Results:
    """Measure all three, and draw them."""
    machine = start()
    repeats = options.repeats or (1 if options.quick else REPEATS)
    sizes = QUICK_MEGAPIXELS if options.quick else MEGAPIXELS
    by_size = [_line(own, FACES_THROUGHOUT, repeats, options) for own in sizes]
    counts = QUICK_FACES if options.quick else FACES
    area = QUICK_MEGAPIXELS[-1] if options.quick else MEGAPIXELS_THROUGHOUT
    by_faces = [_line(area, own, repeats, options) for own in counts]
    photos = QUICK_PHOTOS if options.quick else PHOTOS
    by_photos = []
    for own in photos:
        say(f"photos: {own}")
        measuring = partial(spawned, measure_photos, own, PHOTO_MEGAPIXELS, options.threads)
        by_photos.append(undisturbed(measuring, tries=2))
    others = [own.others for own in [*by_size, *by_faces] if own.others is not None]
    return Results(
        "scaling",
        "How time and memory grow",
        machine,
        [
            _line_table(
                "Megapixels", f"{FACES_THROUGHOUT} faces in each", [f"{own:g}" for own in sizes], by_size
            ),
            _line_table("Faces", f"{area:g} megapixels", [str(own) for own in counts], by_faces),
            _photo_table(by_photos),
        ],
        {
            "megapixels": [
                {"megapixels": own, **line_facts(r)} for own, r in zip(sizes, by_size, strict=True)
            ],
            "faces": [{"faces": own, **line_facts(r)} for own, r in zip(counts, by_faces, strict=True)],
            "photos": by_photos,
        },
        [
            *_plots("megapixels", f"{FACES_THROUGHOUT} faces", sizes, by_size),
            *_plots("faces", f"{area:g} megapixels", counts, by_faces),
            *_photo_plots(by_photos),
        ],
        max(others, default=None),
    )


def _line(megapixels: float, faces: int, repeats: int, options: Options) -> LineResult:
    say(f"{megapixels:g} megapixels, {count(faces, 'face')}: {count(repeats, 'run')}")
    request = LineRequest(
        megapixels=megapixels,
        faces=faces,
        network="lite",
        repeats=repeats,
        threads=options.threads,
        device="cpu",
    )
    return spawned(measure_line, request)


def measure_photos(count: int, megapixels: float, threads: int) -> dict[str, Any]:
    """Restore a folder of this many drawn photos once, and return seconds and peak memory of the process."""
    import time

    folder = Path(tempfile.mkdtemp(prefix="facerestore-scaling-"))
    try:
        write_photos(folder / "in", count, megapixels)
        pipeline, options = line(megapixels, threads), OutputConfig()
        plan = plan_jobs([folder / "in"], output=folder / "out", options=options)
        reset = reset_peak()
        begun = time.perf_counter()
        outcomes = list(run_jobs(plan.jobs, pipeline, options=options))
        taken = time.perf_counter() - begun
    finally:
        shutil.rmtree(folder)
    if any(outcome.status is not Status.DONE for outcome in outcomes):
        raise BackendError("a photo of the batch failed; see 'facerestore doctor'")
    return {
        "photos": count,
        "megapixels": megapixels,
        "seconds": taken,
        "peak_bytes": peak(reset=reset).bytes,
    }


def _line_table(what: str, rest: str, labels: list[str], results: list[LineResult]) -> Table:
    passed = [name for name in STAGES if any(stage.name == name for stage in results[0].stages)]
    rows = []
    for label, result in zip(labels, results, strict=True):
        medians = {stage.name: stage.timing.median for stage in result.stages}
        cells = [seconds(medians[name]) if name in medians else "-" for name in passed]
        rows.append((label, *cells, seconds(result.total.median), megabytes(result.peak.bytes)))
    return Table(f"{what}: {rest}", (what.lower(), *passed, "all", "peak memory"), tuple(rows))


def _photo_table(found: list[dict[str, Any]]) -> Table:
    rows = tuple(
        (
            str(own["photos"]),
            seconds(own["seconds"]),
            seconds(own["seconds"] / own["photos"]),
            megabytes(own["peak_bytes"]),
        )
        for own in found
    )
    notes = ("the first photo bears what is done once: planning convolutions, the first memory",)
    return Table(
        f"Photos: {found[0]['megapixels']:g} megapixels each",
        ("photos", "all", "each", "peak memory"),
        rows,
        notes,
    )


def _plots(
    what: str, rest: str, xs: tuple[float, ...] | tuple[int, ...], results: list[LineResult]
) -> list[Plot]:
    """Return the plots of time by stage and of memory."""
    lines = []
    for name in ("detect", "restore", "decode", "blend", "encode", "align"):
        points = [
            (float(x), stage.timing.median)
            for x, result in zip(xs, results, strict=True)
            for stage in result.stages
            if stage.name == name and stage.timing.median > 0
        ]
        lines += [Line(name, tuple(points))] if points else []
    whole = Line("all", tuple((float(x), r.total.median) for x, r in zip(xs, results, strict=True)))
    memory = [(float(x), r.peak.bytes / MEGABYTE) for x, r in zip(xs, results, strict=True) if r.peak.bytes]
    by = f"by {what}, {rest}"
    plots = [Plot(f"Time {by}", what, (whole, *lines), y_label="seconds", log_x=True, log_y=True)]
    return [*plots, *_memory_plot(f"Peak memory {by}", what, memory)]


def _memory_plot(title: str, what: str, memory: list[tuple[float, float]]) -> list[Plot]:
    """Return the plot of memory; none where the system does not tell it."""
    lines = (Line("process", tuple(memory)),)
    return [Plot(title, what, lines, y_label="MB", log_x=True)] if memory else []


def _photo_plots(found: list[dict[str, Any]]) -> list[Plot]:
    each = Line("each", tuple((float(own["photos"]), own["seconds"] / own["photos"]) for own in found))
    whole = Line("all", tuple((float(own["photos"]), own["seconds"]) for own in found))
    memory = [(float(own["photos"]), own["peak_bytes"] / MEGABYTE) for own in found if own["peak_bytes"]]
    by = f"by photos of {found[0]['megapixels']:g} megapixels"
    plots = [Plot(f"Time {by}", "photos", (whole, each), y_label="seconds", log_x=True, log_y=True)]
    return [*plots, *_memory_plot(f"Peak memory {by}", "photos", memory)]


if __name__ == "__main__":
    sys.exit(main(run, __doc__ or ""))
