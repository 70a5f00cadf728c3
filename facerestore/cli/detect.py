"""``facerestore detect``: list the faces of photos, and draw them."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

import typer

from facerestore.cli.one_by_one import Look, Row, one_by_one
from facerestore.cli.options import command
from facerestore.cli.request import ONE_PAGE, PhotosRequest
from facerestore.cli.telling import stream_name, warn_passed_over
from facerestore.cli.terminal import Terminal, print_json
from facerestore.errors import count, no_face

if TYPE_CHECKING:
    from facerestore.batch import PhotoJob
    from facerestore.config import RestoreConfig
    from facerestore.types import DetectedFace, FaceDetector

EPILOG = """Examples:
facerestore detect group.jpg
facerestore detect group.jpg -o found.png
facerestore detect album -r --json > faces.json"""


@command(
    {
        "": "output recursive detector device threads page max_pixels overwrite as_json quiet no_progress",
        "Restoration": "detect_size rotations",
    },
    texts={
        "output": "Draw boxes, indices and landmarks: into a file for one photo, a directory for more.",
        "page": ONE_PAGE,
        "overwrite": "Replace drawings that exist.",
        "as_json": "Print JSON for programs instead of a table.",
    },
)
def detect(request: PhotosRequest) -> None:
    """List the faces of photos, left to right, with the indices that 'enhance --faces' takes.

    With -o, also draws them. No face is a normal result.
    """
    from facerestore.batch import plan_jobs
    from facerestore.engines.device import keep_freed_memory, resolve_device, set_threads
    from facerestore.pipeline.choose import choose
    from facerestore.pipeline.installed import DETECT
    from facerestore.pipeline.load import build_detector
    from facerestore.weights import WeightsStore

    config, drawn = request.restore, request.output is not None
    plan = plan_jobs(
        request.inputs,
        output=request.output,
        options=replace(request.files, suffix="_faces"),
        recursive=request.recursive,
        takes=("found", "face"),
    )
    to_stdout = drawn and any(str(job.target) == "-" for job in plan.jobs)
    if to_stdout:
        request.check_stdout("picture", example="faces.jpg")
    terminal = replace(request.terminal(stdout_taken=request.as_json or to_stdout), listing=not drawn)
    used: list[str] = []

    def assemble() -> Look:
        set_threads(config.threads)
        where = resolve_device(config.device)
        if where.type == "cpu":
            keep_freed_memory()
        store = WeightsStore()
        chosen = choose(DETECT, config, store)
        found = build_detector(chosen, config, store, where)
        warn_passed_over(chosen.passed_over, terminal)
        used.append(found.name)
        return lambda job: _detect_one(job, found, config, drawn=drawn, overwrite=request.files.overwrite)

    blank: Row = {"output": None, "search": None, "faces": [], "notes": []}
    tell = partial(_tell_photo, terminal=terminal)
    rows, code = one_by_one(plan, assemble, blank=blank, tell=tell, terminal=terminal)
    if request.as_json:
        print_json({"detector": used[0] if used else None, "photos": rows})
    raise typer.Exit(code)


def _detect_one(
    job: PhotoJob, detector: FaceDetector, config: RestoreConfig, *, drawn: bool, overwrite: bool
) -> Row:
    """Return the faces of one photo as a row, and draw them where that is asked for."""
    from facerestore.batch.photo import result_format
    from facerestore.io import DEFAULT_MAX_PIXELS, marked, read_shown, write_image
    from facerestore.pictures.compare import faces_picture
    from facerestore.pipeline.report import reading_notes, search_facts
    from facerestore.pipeline.selection import left_to_right
    from facerestore.types import DecodedImage

    image = read_shown(job.source, max_pixels=config.max_pixels or DEFAULT_MAX_PIXELS, page=config.page)
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
    rows = [_face_facts(index, face) for index, face in enumerate(faces)]
    return {"output": target, "search": search_facts(faces), "faces": rows, "notes": reading_notes(image)}


def _face_facts(index: int, face: DetectedFace) -> dict[str, Any]:
    return {
        "index": index,
        "box": [round(value, 1) for value in face.box],
        "landmarks": [[round(x, 1), round(y, 1)] for x, y in face.landmarks.tolist()],
        "score": round(float(face.score), 3),
        "eye_distance_px": round(face.eye_distance_px, 1),
    }


def _tell_photo(row: dict[str, Any], terminal: Terminal) -> None:
    """Say the faces of one photo as lines of a table."""
    found = count(len(row["faces"]), "face") if row["faces"] else no_face(row["search"])
    name = stream_name(row["input"], "standard input")
    drawn = f" -> {stream_name(row['output'], 'standard output')}" if row["output"] else ""
    terminal.say(f"{name}: {found}{drawn}")
    if row["faces"]:
        terminal.say("  index  score  eyes px  box (left, top, right, bottom)")
    for face in row["faces"]:
        box = ", ".join(f"{value:.0f}" for value in face["box"])
        terminal.say(f"  {face['index']:>5}  {face['score']:.2f}   {face['eye_distance_px']:>6.1f}   {box}")
    terminal.say_below(row["notes"])
