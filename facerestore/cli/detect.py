"""``facerestore detect``: list the faces of photos, and draw them."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from facerestore.cli import options
from facerestore.cli.inputs import exit_code, tell_inputs
from facerestore.cli.one_by_one import Look, Row, one_by_one
from facerestore.cli.request import given
from facerestore.cli.terminal import Terminal, print_json
from facerestore.errors import count, no_face

if TYPE_CHECKING:
    from facerestore.batch import Job
    from facerestore.config import RestoreConfig
    from facerestore.types import DetectedFace, FaceDetector

EPILOG = """Examples:

facerestore detect group.jpg

facerestore detect group.jpg -o found.png

facerestore detect album -r --json > faces.json"""


def detect(
    inputs: Annotated[
        list[Path], typer.Argument(metavar="INPUT...", help="Photos, directories, or - for standard input.")
    ],
    output: Annotated[
        Path | None,
        typer.Option(
            "-o",
            "--output",
            metavar="OUT",
            help="Draw boxes, indices and landmarks: into a file for one photo, a directory for more.",
        ),
    ] = None,
    recursive: Annotated[bool, typer.Option("-r", "--recursive", help="Look into subdirectories.")] = False,
    detector: Annotated[
        str | None,
        typer.Option(
            help="auto, embedded, yunet, retinaface-resnet50, retinaface-mobile0.25, or the file of a face finder."
        ),
    ] = None,
    detect_size: options.DetectSize = None,
    rotations: options.Rotations = False,
    device: Annotated[str | None, typer.Option(help="auto, cpu, cuda, cuda:N or mps.")] = None,
    threads: Annotated[int | None, typer.Option(metavar="N", help="CPU threads; 0 for automatic.")] = None,
    page: options.OnePage = None,
    max_pixels: Annotated[
        int | None, typer.Option(metavar="N", help="Refuse pictures with more pixels than this.")
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace drawings that exist.")] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print JSON for programs instead of a table.")
    ] = False,
    quiet: Annotated[bool, typer.Option("-q", "--quiet", help="Print errors only.")] = False,
    no_progress: Annotated[bool, typer.Option("--no-progress", help="Show no progress bar.")] = False,
) -> None:
    """List the faces of photos, left to right, with the indices that 'enhance --faces' takes.

    With -o, also draws them. No face is a normal result.
    """
    from facerestore.batch import plan_jobs
    from facerestore.config import OutputConfig, RestoreConfig
    from facerestore.device import keep_freed_memory, resolve_device, set_threads
    from facerestore.pipeline.build import build_detector
    from facerestore.pipeline.choose import DETECT, choose
    from facerestore.weights import WeightsStore

    config = RestoreConfig(
        **given(
            detector=detector,
            detect_size=detect_size,
            rotations=rotations or None,
            device=device,
            threads=threads,
            max_pixels=max_pixels,
            page=page,
        )  # type: ignore[arg-type]
    )
    plan = plan_jobs(
        inputs,
        output=output,
        options=OutputConfig(overwrite=overwrite, suffix="_faces"),
        recursive=recursive,
        takes=("found", "face"),
    )
    _check_streams(plan.jobs, drawn=output is not None, as_json=as_json)
    to_stdout = output is not None and str(output) == "-"
    terminal = Terminal(-1 if quiet else 0, as_json or to_stdout, not no_progress)
    tell_inputs(plan, terminal)
    used: list[str] = []

    def assemble() -> Look:
        set_threads(config.threads)
        where = resolve_device(config.device)
        if where.type == "cpu":
            keep_freed_memory()
        store = WeightsStore()
        found = build_detector(config, store, where)
        for name, fault in choose(DETECT, config, store).passed_over:
            terminal.warn(f"warning: auto passes over {name}: {fault}")
        used.append(found.name)
        drawn = output is not None
        return lambda job: _detect_one(job, found, config, drawn=drawn, overwrite=overwrite)

    blank: Row = {"output": None, "search": None, "faces": [], "notes": []}
    tell = partial(_tell, terminal=terminal)
    rows, code = one_by_one(plan.jobs, assemble, blank=blank, tell=tell, terminal=terminal)
    if as_json:
        print_json({"detector": used[0] if used else None, "photos": rows})
    failed = sum(row["error"] is not None for row in rows)
    raise typer.Exit(code or exit_code(failed, len(rows), faults=len(plan.faults)))


def _check_streams(jobs: Sequence[Job], *, drawn: bool, as_json: bool) -> None:
    from facerestore.errors import ConfigError

    to_stdout = drawn and any(str(job.target) == "-" for job in jobs)
    if to_stdout and as_json:
        raise ConfigError("standard output cannot carry the picture and --json; give -o FILE")
    if to_stdout and sys.stdout.isatty():
        raise ConfigError(
            "the picture would go to the terminal; redirect it ('> faces.jpg'), or give -o FILE"
        )


def _detect_one(
    job: Job, detector: FaceDetector, config: RestoreConfig, *, drawn: bool, overwrite: bool
) -> Row:
    """Return the faces of one photo as a row, and draw them where that is asked for."""
    from facerestore.batch.run import result_format
    from facerestore.io import DEFAULT_MAX_PIXELS, marked, read_image, write_image
    from facerestore.pictures.compare import faces_picture
    from facerestore.pipeline.report import reading_notes, search_facts
    from facerestore.pipeline.selection import left_to_right
    from facerestore.types import DecodedImage

    image = read_image(job.source, max_pixels=config.max_pixels or DEFAULT_MAX_PIXELS, page=config.page)
    faces = left_to_right(detector.detect(image.pixels))
    if drawn:
        # The drawing is in colour: a profile of grey does not fit it.
        picture = DecodedImage(
            faces_picture(image.pixels, faces),
            metadata=marked(image.metadata, "found"),
            format=image.format,
        )
        write_image(job.target, picture, format=result_format(job.target, image), overwrite=overwrite)
    target = str(job.target) if drawn else None
    rows = [_facts(index, face) for index, face in enumerate(faces)]
    return {"output": target, "search": search_facts(faces), "faces": rows, "notes": reading_notes(image)}


def _facts(index: int, face: DetectedFace) -> dict[str, Any]:
    return {
        "index": index,
        "box": [round(value, 1) for value in face.box],
        "landmarks": [[round(x, 1), round(y, 1)] for x, y in face.landmarks.tolist()],
        "score": round(float(face.score), 3),
        "eye_distance_px": round(face.eye_distance_px, 1),
    }


def _tell(row: dict[str, Any], terminal: Terminal) -> None:
    """Say the faces of one photo as lines of a table."""
    found = count(len(row["faces"]), "face") if row["faces"] else no_face(row["search"])
    drawn = f" -> {row['output']}" if row["output"] else ""
    terminal.say(f"{row['input']}: {found}{drawn}")
    if row["faces"]:
        terminal.say("  index  score  eyes px  box (left, top, right, bottom)")
    for face in row["faces"]:
        box = ", ".join(f"{value:.0f}" for value in face["box"])
        terminal.say(f"  {face['index']:>5}  {face['score']:.2f}   {face['eye_distance_px']:>6.1f}   {box}")
    for note in row["notes"]:
        terminal.say(f"  {note}")
