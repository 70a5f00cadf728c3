"""What ``--dry-run`` says: which photos, which network, and with -v which face would have which network, and why."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from facerestore.batch import BatchPlan, PhotoJob
from facerestore.batch.journal_file import FILE
from facerestore.batch.report import describe_error
from facerestore.cli.request import PhotosRequest
from facerestore.cli.resuming import journal_of, tell_look
from facerestore.cli.telling import choice_lines, face_words, warn_passed_over
from facerestore.cli.terminal import Terminal, print_json
from facerestore.config import INPAINT, RESTORE, OutputConfig
from facerestore.errors import ImageError, no_face
from facerestore.io import is_there, page_count, read_encoded
from facerestore.pipeline import choose as choice
from facerestore.pipeline.candidates import chooses_by_face, usable
from facerestore.pipeline.installed import BACKGROUND, DAMAGE
from facerestore.pipeline.restore import RestorePipeline
from facerestore.video import INSTALL, can_restore, is_clip
from facerestore.weights import WeightsStore


def show_plan(request: PhotosRequest, plan: BatchPlan, terminal: Terminal) -> int:
    """Say what would be done, and return the exit code; with -v the faces are looked for and judged.

    Raises:
        FaceRestoreError: nothing could be begun: an option, the weights or the device is at fault.
    """
    terminal = replace(terminal, listing=True)
    store = WeightsStore(offline=request.restore.offline)
    chosen, config = _chosen_networks(request, store), request.restore
    behind = None if config.background is None else choice.choose(BACKGROUND, config, store).name
    filler = _filler(request, store)
    pipeline = _pipeline(request) if request.verbosity >= 1 else None
    done = _done_before(request, plan, terminal)
    rows = [
        {
            "input": str(job.source),
            "output": str(job.target),
            "exists": str(job.target) != "-" and is_there(job.target),
            "missing": str(job.source) != "-" and not is_there(job.source),
            "done_before": job in done,
            "name_shortened": job.shortened,
            "fault": _fault_of_photo(request, job.source),
            **({} if pipeline is None else _examined_photo(pipeline, job.source)),
        }
        for job in plan.jobs
    ]
    if request.as_json:
        print_json({"dry_run": True, "weights": chosen, "background": behind, "repair": filler, "jobs": rows})
        return 0
    does = "enlarge" if config.upscale > 1 else "clean"
    rest = "" if filler is None else f", fill damage with {filler}"
    rest += "" if behind is None else f", and {does} the background with {behind}"
    terminal.say(f"would {request.task.verb} with {chosen}{rest}; nothing is written")
    if pipeline is not None:
        from facerestore.pipeline.per_face import networks_passed_over

        warn_passed_over(networks_passed_over(pipeline), terminal)
    for row in rows:
        note = " (there is no such photo: would fail)" if row["missing"] else ""
        note += f" (would fail: {row['fault']})" if row["fault"] else ""
        note += (
            " (done before)" if row["done_before"] else _exists_note(request.files) if row["exists"] else ""
        )
        note += " (its name, too long for a result's, is shortened)" if row["name_shortened"] else ""
        terminal.say(f"{row['input']} -> {row['output']}{note}")
        terminal.say_below(_face_lines(row))
    return 0


def _done_before(request: PhotosRequest, plan: BatchPlan, terminal: Terminal) -> set[PhotoJob]:
    """Tell what earlier runs have done, and return what is left out for it; where no journal is, none is made."""
    folder = request.journal_folder(plan)
    if folder is None or not (request.journal_home(folder) / FILE).exists():
        return set()
    with journal_of(request, plan) as journal:
        assert journal is not None, "it is there"
        look = journal.look(plan.jobs)
    tell_look(look, request, terminal)
    return set(look.done)


def _filler(request: PhotosRequest, store: WeightsStore) -> str | None:
    """Return who fills damage before faces are restored; None where nobody does.

    Raises:
        WeightsError: what finds or fills it is not installed, or corrupt.
        ConfigError: it is for something else.
    """
    if not request.restore.repair:
        return None
    from facerestore.pipeline.repair import filling

    choice.choose(DAMAGE, request.restore, store)
    return choice.choose(INPAINT.purpose, filling(request.restore), store).name


def _chosen_networks(request: PhotosRequest, store: WeightsStore) -> str:
    """Return by what faces would be restored: the name of weights, or who serves whom where each face has its own."""
    if request.task is RESTORE and chooses_by_face(request.restore):
        found = usable(request.restore, store)
        if len(found.candidates) > 1 or found.passed_over:
            return f"auto: {found.words.removeprefix('auto takes ')}"
    return choice.choose(request.task.purpose, request.restore, store).name


def _pipeline(request: PhotosRequest) -> RestorePipeline:
    from facerestore.pipeline.build import build_pipeline

    return (request.build or build_pipeline)(replace(request.restore, device=request.devices[0]))


def _examined_photo(pipeline: RestorePipeline, source: Path) -> dict[str, Any]:
    """Return what would be done with the faces of one photo; where it cannot be read, why."""
    if is_clip(source) and pipeline.config.page is None:
        return {}  # a frame is no photo, and all of them are many
    try:
        data, name = read_encoded(source), str(source)
        count = 1 if pipeline.config.page else page_count(data, name=name)
        if count == 1:
            return pipeline.examine(pipeline.decode(data, name=name), source=source)
        looks = [
            pipeline.examine(pipeline.decode(data, name=name, page=n), source=source)
            for n in range(1, count + 1)
        ]
        faces = [{**face, "page": n} for n, look in enumerate(looks, 1) for face in look["faces"]]
        return {"found": len(faces), "faces": faces}
    except Exception as error:  # any fault of one photo is that photo's row
        return {"fault": describe_error(error), "found": 0, "faces": []}


def _face_lines(row: dict[str, Any]) -> list[str]:
    """Return a line for each face that was looked at: what would become of it, and by which network."""
    if "faces" not in row:
        return []
    lines = [f"{face_words(face)} would be {face['decision']}: {face['reason']}" for face in row["faces"]]
    return [*lines, *choice_lines(row, 1)] or [no_face(row.get("search"))]


def _fault_of_photo(request: PhotosRequest, source: Path) -> str | None:
    """Return what a photo lacks that the task needs; None where it lacks nothing."""
    if is_clip(source) and not can_restore(source):
        return f"a video needs the package av; run: {INSTALL}"
    try:
        if request.check is not None:
            request.check(source)
    except (ImageError, OSError) as error:
        return str(error)
    return None


def _exists_note(files: OutputConfig) -> str:
    if files.overwrite:
        return " (exists, would be replaced)"
    return (
        " (exists, would be skipped)" if files.skip_existing else " (exists: would fail without --overwrite)"
    )
