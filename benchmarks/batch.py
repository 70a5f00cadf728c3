"""A folder of photos: one after the other in a plain loop, and as ``facerestore enhance`` does it.

python -m benchmarks.batch RESULTS [--quick] [--threads N] [--repeats N] [--device NAME]

On another device than the CPU it is ``benchmarks.busy``, which tells how busy a GPU is.
"""

from __future__ import annotations

import shutil
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

from benchmarks import busy
from benchmarks.common import Options, Results, TimedJob, compare_jobs, main, start, turns_results
from facerestore.batch import Status, plan_jobs, run_jobs
from facerestore.bench.line import GivenFaces
from facerestore.bench.photos import drawn_photo
from facerestore.bench.runner import remote_job
from facerestore.config import OutputConfig, RestoreConfig
from facerestore.errors import BackendError
from facerestore.io import decode_image, write_image
from facerestore.pipeline.build import build_pipeline
from facerestore.pipeline.restore import RestorePipeline

PHOTOS, MEGAPIXELS, FACES = 16, 2.0, 2
QUICK_PHOTOS, QUICK_MEGAPIXELS = 2, 0.05
REPEATS = 7


def write_photos(folder: Path, count: int, megapixels: float) -> list[Path]:
    """Write this many drawn photos."""
    folder.mkdir(parents=True, exist_ok=True)
    photo = drawn_photo(megapixels, FACES)
    paths = [folder / f"photo{index:04d}.jpg" for index in range(count)]
    for path in paths:
        path.write_bytes(photo.data)
    return paths


def line(megapixels: float, threads: int) -> RestorePipeline:
    """Return the pipeline of the bundled restorer, which restores the drawn faces whether or not they need it."""
    config = RestoreConfig(force=True, threads=threads, device="cpu", offline=True, backend="lite")
    pipeline = build_pipeline(config)
    faces = drawn_photo(megapixels, FACES).faces or ()
    if pipeline.detector is not None:
        pipeline = replace(pipeline, detector=GivenFaces(pipeline.detector, faces))
    return pipeline


def plain(folder: Path, megapixels: float, threads: int) -> TimedJob:
    """Return the loop: read, restore, write, and then the next photo."""
    pipeline, out = line(megapixels, threads), folder / "plain"

    def loop() -> None:
        for path in sorted((folder / "in").iterdir()):
            image = decode_image(path.read_bytes(), name=path.name)
            write_image(out / path.name, pipeline.run(image).image, overwrite=True)

    return TimedJob(loop)


def ours(folder: Path, megapixels: float, threads: int) -> TimedJob:
    """Return the batch of facerestore."""
    pipeline, options = line(megapixels, threads), OutputConfig(overwrite=True)

    def batch() -> None:
        plan = plan_jobs([folder / "in"], output=folder / "ours", options=options)
        outcomes = list(run_jobs(plan.jobs, pipeline, options=options))
        if any(outcome.status is not Status.DONE for outcome in outcomes):
            raise BackendError(f"a photo of the batch failed: {[outcome.error for outcome in outcomes]}")

    return TimedJob(batch)


def same_files(folder: Path) -> bool:
    """Say whether both ways wrote the same bytes."""
    names = sorted(path.name for path in (folder / "in").iterdir())
    return all(
        (folder / "plain" / name).read_bytes() == (folder / "ours" / name).read_bytes() for name in names
    )


def run(options: Options) -> Results:
    """Restore a folder of drawn photos both ways."""
    if options.device != "cpu":
        return busy.run(options)
    machine = start()
    count, megapixels = (QUICK_PHOTOS, QUICK_MEGAPIXELS) if options.quick else (PHOTOS, MEGAPIXELS)
    folder = Path(tempfile.mkdtemp(prefix="facerestore-batch-"))
    try:
        write_photos(folder / "in", count, megapixels)
        arguments = (folder, megapixels, options.threads)
        turns = compare_jobs(
            remote_job(ours, *arguments, label="batch"),
            remote_job(plain, *arguments, label="loop"),
            repeats=options.repeats or (1 if options.quick else REPEATS),
            words=f"{count} photos of {megapixels:g} megapixels with {FACES} faces",
        )
        same = same_files(folder)
    finally:
        shutil.rmtree(folder)
    notes = ["the files of both are the same, byte for byte" if same else "the files of both differ"]
    return turns_results("batch", "A folder of photos: one by one, and as a batch", machine, [turns], notes)


if __name__ == "__main__":
    sys.exit(main(run, __doc__ or ""))
