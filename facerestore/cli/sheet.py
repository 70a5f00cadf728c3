"""The work behind ``facerestore enhance --sheet``: compare backends and strengths on one picture."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Generator, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from facerestore.batch import PhotoJob, missing_photos, plan_jobs
from facerestore.batch.report import REPORT_SCHEMA, describe_error, write_report
from facerestore.cli import stopping
from facerestore.cli.request import PhotosRequest
from facerestore.cli.telling import (
    absent_words,
    exit_code,
    first_lines,
    stream_name,
    tell_inputs,
    warn_passed_over,
    with_name,
)
from facerestore.cli.terminal import Terminal, print_json
from facerestore.config import RESTORE
from facerestore.errors import ConfigError, ImageError, WeightsError, count, no_face
from facerestore.evaluation import sheet as sheets
from facerestore.evaluation.sheet.choice import passed_over
from facerestore.io import (
    DEFAULT_MAX_PIXELS,
    WRITTEN_SUFFIXES,
    exists,
    marked,
    read_shown,
    resolve_format,
    write_image,
)
from facerestore.pipeline.candidates import chooses_by_face
from facerestore.pipeline.choose import choose
from facerestore.pipeline.installed import AUTO
from facerestore.pipeline.report import reading_notes
from facerestore.pipeline.selection import absent_indices
from facerestore.types import DecodedImage, Metadata
from facerestore.weights import WeightsStore

STREAM_PAGE_PX = 60_000
"""Height of the only page that standard output can take; JPEG ends at 65,535."""


@dataclass(slots=True, eq=False)
class _SheetRun:
    """A sheet in the making.

    Attributes:
        request: what was asked for.
        sheet: where the first page goes.
        maker: draws the pages.
        terminal: where words go.
        written: the pages' files so far.
        photos: what became of each photo, ready for JSON.
        cells: how many were made, failed ones included.
        failed_cells: how many failed.
    """

    request: PhotosRequest
    sheet: Path
    maker: sheets.SheetMaker
    terminal: Terminal
    written: list[Path] = field(default_factory=list)
    photos: list[dict[str, Any]] = field(default_factory=list)
    cells: int = 0
    failed_cells: int = 0

    @property
    def failed(self) -> int:
        """How many photos could not be used."""
        return sum(photo["error"] is not None for photo in self.photos)

    @property
    def exit_code(self) -> int:
        """0, or 1 when all photos or all cells failed, or 3 when some did."""
        every_cell = self.cells > 0 and self.failed_cells == self.cells
        return 1 if every_cell else exit_code(self.failed, len(self.photos), faults=self.failed_cells)


def execute_sheet(request: PhotosRequest, sheet: Path) -> int:
    """Draw the sheet that was asked for, and return the exit code.

    Args:
        request: as for ``enhance``; ``restore.backend`` and ``restore.weights`` may be lists.
        sheet: where it goes; ``-`` is standard output.

    Raises:
        FaceRestoreError: nothing could be begun: an option, the weights or the device is at fault, or the sheet exists.
    """
    _check_options(request, sheet)
    _check_free(request, sheet)
    terminal = request.terminal(stdout_taken=str(sheet) == "-" or request.as_json)
    jobs = _photo_jobs(request, sheet, terminal)
    if request.dry_run:
        return _show_plan(request, jobs, sheet, terminal)
    if len(missing := missing_photos(jobs)) == len(jobs):
        _weights_names(request)  # who lacks the weights too is told of them first
        raise ImageError("; ".join(str(outcome.error) for outcome in missing))
    pipelines = sheets.sheet_pipelines(request.restore)
    height = STREAM_PAGE_PX if str(sheet) == "-" else sheets.picture.PAGE_HEIGHT_PX
    maker = sheets.SheetMaker(pipelines, strengths=request.strengths or None, page_height_px=height)
    passed = dict((*passed_over(request.restore), *pipelines[0].facts.passed_over))
    warn_passed_over(passed.items(), terminal)
    for pipeline in pipelines:
        terminal.say(f"comparing {pipeline.description}")
    run = _SheetRun(request, sheet, maker, terminal)
    code = 0
    with stopping.finishing():
        try:
            for _ in stopping.breakable(_compare_all(run, jobs, steps=len(jobs) * (1 + len(pipelines)))):
                pass
        except KeyboardInterrupt as error:
            code = stopping.code_of(error)
        _write_pages(run, maker.finish())
        _sum_up(run, interrupted=code != 0, planned=len(jobs))
    return code or run.exit_code


def _check_options(request: PhotosRequest, sheet: Path) -> None:
    """Raise ConfigError unless the wanted outputs go together, and the sheet's name is one for a picture."""
    files = request.files
    others = {
        "-o": request.output is not None,
        "--compare": files.compare,
        "--save-faces": files.save_faces is not None,
        "--save-stages": files.save_stages is not None,
        "--skip-existing": files.skip_existing,
        "--files-from": request.files_from is not None,
        "--include": bool(request.include),
        "--exclude": bool(request.exclude),
        "--shard": request.shard is not None,
        "--watch": request.watch,
        "--log-json": request.log_json,
        "--retry-failed": request.retry_failed,
        "--engine": request.engine != "local",
        "--photo": request.restore.photo,
        "--background": request.restore.background is not None,
    }
    for option, is_given in others.items():
        if is_given:
            raise ConfigError(f"--sheet writes the sheet alone, no restored photos; leave out {option}")
    request.check_report()
    wanted = None if files.format is None else resolve_format(files.format)
    if str(sheet) == "-":
        request.check_stdout("sheet", example="sheet.jpg", json="use --report FILE.json", name="name a file")
        return
    named = WRITTEN_SUFFIXES.get(sheet.suffix.lower())
    if named is None and wanted is None:
        raise ConfigError(
            f"the sheet '{sheet}' needs a name that ends in one of {', '.join(WRITTEN_SUFFIXES)}"
        )
    if named is not None and wanted not in (None, named):
        raise ConfigError(
            f"'{sheet}' is a name for {named}, but the format is to be {wanted}; change one of both"
        )


def _page_path(sheet: Path, number: int) -> Path:
    return sheet if number == 1 else sheet.with_name(f"{sheet.stem}_{number}{sheet.suffix}")


def _pages_there(sheet: Path) -> list[Path]:
    """Return the files that have names of the sheet's pages, the first page's first."""
    if str(sheet) == "-":
        return []
    pattern = re.compile(rf"{re.escape(sheet.stem)}_(\d+){re.escape(sheet.suffix)}")
    further = []
    if sheet.parent.is_dir():
        for path in sheet.parent.iterdir():
            found = pattern.fullmatch(path.name)
            if found is not None and int(found[1]) > 1 and path == _page_path(sheet, int(found[1])):
                further.append((int(found[1]), path))
    return [*([sheet] if sheet.exists() else []), *(path for _, path in sorted(further))]


def _check_free(request: PhotosRequest, sheet: Path) -> None:
    """Raise ImageError before any work where a page would replace a file that is to stay."""
    there = _pages_there(sheet)
    if sheet.is_dir():
        raise ImageError(f"'{sheet}' is a directory; give the sheet a file name")
    if there and not request.files.overwrite:
        raise ImageError(f"'{there[0]}' exists; give --overwrite to replace it, or another name with --sheet")


def _photo_jobs(request: PhotosRequest, sheet: Path, terminal: Terminal) -> list[PhotoJob]:
    """Return the photos; an earlier sheet of the same name in a directory is none of them.

    Raises:
        ConfigError: a page of the sheet would replace a photo.
    """
    plan = plan_jobs(request.inputs, output=None, options=request.files, recursive=request.recursive)
    tell_inputs(plan, terminal)
    pages = _pages_there(sheet)
    jobs = []
    for job in plan.jobs:
        page = next((page for page in pages if exists(job.source) and page.samefile(job.source)), None)
        if page is None:
            jobs.append(job)
        elif page != sheet or job.source in request.inputs:
            raise ConfigError(
                f"the sheet could replace the photo '{job.source}'; give it another name or place with --sheet"
            )
    return jobs


def _show_plan(request: PhotosRequest, jobs: Sequence[PhotoJob], sheet: Path, terminal: Terminal) -> int:
    """Say what would be done."""
    names = _weights_names(request)
    shares = list(request.strengths) or [request.restore.strength]
    sources = [str(job.source) for job in jobs]
    if request.as_json:
        print_json(
            {"dry_run": True, "sheet": str(sheet), "weights": names, "strengths": shares, "inputs": sources}
        )
        return 0
    at = ", ".join(f"{share:g}" for share in shares)
    terminal.say(f"would compare {', '.join(names)} at strength {at} in {sheet}; nothing is written")
    for source in sources:
        terminal.say(source)
    return 0


def _weights_names(request: PhotosRequest) -> list[str]:
    """Return the names of the weights that are compared; `AUTO` where each face chooses.

    Raises:
        WeightsError: some are not here.
    """
    store = WeightsStore(offline=request.restore.offline)
    configs = sheets.sheet_configs(request.restore, store=store)
    chosen = [(config, choose(RESTORE.purpose, config, store).name) for config in configs]
    return [AUTO if chooses_by_face(config) else name for config, name in chosen]


def _compare_all(run: _SheetRun, jobs: Sequence[PhotoJob], *, steps: int) -> Generator[None, None, None]:
    """Put photo after photo on the sheet, a step each, and write each page as it is full."""
    names = _short_names([job.source for job in jobs])
    with run.terminal.steps(steps) as begin:
        for job, name in zip(jobs, names, strict=True):
            begin(name)
            found = _compare_photo(run, job, name, begin)
            if found is not None:
                _write_pages(run, run.maker.add(found.rows))
            yield


def _compare_photo(
    run: _SheetRun, job: PhotoJob, name: str, begin: Callable[[str], None]
) -> sheets.PhotoRows | None:
    """Return the rows of one photo, recorded and told; None where the photo cannot be used, which stops no other."""
    start, asked = time.perf_counter(), run.request.restore
    try:
        image = read_shown(job.source, max_pixels=asked.max_pixels or DEFAULT_MAX_PIXELS, page=asked.page)
        found = run.maker.compare(image, name=name, on_pipeline=lambda weights: begin(f"{name}, {weights}"))
    except WeightsError:
        raise
    except Exception as error:  # any fault of one photo is that photo's outcome, told and counted
        message = describe_error(error)
        run.terminal.warn(f"error: {message if str(job.source) in message else with_name(name, message)}")
        run.photos.append({"input": str(job.source), "error": message, "found": 0, "faces": []})
        return None
    seconds = time.perf_counter() - start
    facts = {"seconds": round(seconds, 3), "notes": reading_notes(image), **found.facts}
    run.photos.append({"input": str(job.source), "error": None, **facts})
    run.cells += len(found.rows) * len(run.maker.columns)
    run.failed_cells += found.failed
    _tell_photo(run, name, found, seconds, notes=facts["notes"])
    return found


def _short_names(sources: Sequence[Path]) -> list[str]:
    """Return what the rows call the photos: their file names where those differ, else their paths."""
    names = [source.name for source in sources]
    return [
        "standard input" if str(source) == "-" else name if names.count(name) == 1 else str(source)
        for source, name in zip(sources, names, strict=True)
    ]


def _tell_photo(
    run: _SheetRun, name: str, found: sheets.PhotoRows, seconds: float, *, notes: list[str]
) -> None:
    """Say what one photo brought: its faces, those that no column restored, and what failed."""
    number, shown = found.facts["found"], len(found.rows)
    faces = f"{count(number, 'face')}, {shown} on the sheet" if number else no_face(found.facts["search"])
    run.terminal.say(f"{name}: {faces}, {seconds:.1f} s")
    asked = run.request.restore
    absent = absent_indices(asked.faces, number, dial=asked.dial)
    run.terminal.say_below([*_cell_lines(run, found.facts["faces"]), *map(absent_words, absent), *notes])
    for message in _failure_words(run, found.facts["faces"]):
        run.terminal.warn(f"error: {name}: {message}")


def _cell_lines(run: _SheetRun, faces: Sequence[dict[str, Any]]) -> list[str]:
    """Return a line for each face that was kept in every column; with -v for each cell."""
    if run.request.verbosity >= 1:
        return [
            f"face {face['index']}, {column.name} at {column.strength:g}: {cell['decision']}, {cell['reason']}"
            for face in faces
            for column, cell in zip(run.maker.columns, face["cells"], strict=True)
        ]
    kept = [face for face in faces if all(cell["decision"] == "kept" for cell in face["cells"])]
    # Where strength 0 is one of several columns, the others tell more.
    told = [min(face["cells"], key=lambda cell: cell["code"] == "strength-0") for face in kept]
    lines = [f"face {face['index']} kept: {cell['reason']}" for face, cell in zip(kept, told, strict=True)]
    return first_lines(lines, "kept")


def _failure_words(run: _SheetRun, faces: Sequence[dict[str, Any]]) -> list[str]:
    """Return what failed on a photo, once for each of the weights."""
    messages = {
        (column.group, cell["reason"]): f"{column.name} failed: {cell['reason']}"
        for face in faces
        for column, cell in zip(run.maker.columns, face["cells"], strict=True)
        if cell["decision"] == "failed"
    }
    return list(messages.values())


def _write_pages(run: _SheetRun, pages: Iterable[NDArray[np.uint8]]) -> None:
    """Write pages as they come.

    Raises:
        ImageError: a page cannot be written, or standard output would have to take a second one.
    """
    to_stdout = str(run.sheet) == "-"
    for page in pages:
        number = len(run.written) + 1
        if to_stdout and number > 1:
            raise ImageError("the sheet has more than one page, and standard output takes one; name a file")
        path = write_image(
            _page_path(run.sheet, number),
            DecodedImage(page, metadata=marked(Metadata(), "sheet"), format="JPEG"),
            format=run.request.files.format,
            quality=run.request.files.quality,
            overwrite=run.request.files.overwrite,
        )
        run.written.append(path)


def _sum_up(run: _SheetRun, *, interrupted: bool, planned: int) -> None:
    """Say where the sheet is and how many faces are on it, and write the reports."""
    faces = sum(len(photo["faces"]) for photo in run.photos)
    counts = f"{count(len(run.photos), 'photo')}, {run.failed} failed; {count(faces, 'face')}"
    cells = f" in {count(len(run.maker.columns), 'column')}"
    cells += f", {count(run.failed_cells, 'cell')} failed" if run.failed_cells else ""
    where = ", ".join(stream_name(path, "standard output") for path in run.written)
    run.terminal.say(f"{counts}{cells} -> {where}" if where else f"{counts}: no sheet is written")
    stale = [path for path in _pages_there(run.sheet) if path not in run.written]
    if run.written and stale:
        names = ", ".join(path.name for path in stale)
        run.terminal.warn(f"left as they are, from a longer sheet of this name: {names}")
    if interrupted:
        run.terminal.warn(f"interrupted; the sheet holds what {len(run.photos)} of {planned} photos gave")
    _write_reports(run, interrupted=interrupted)


def _write_reports(run: _SheetRun, *, interrupted: bool) -> None:
    """Write the facts of every cell to standard output with --json, and then to the report's file."""
    report = {
        "schema": REPORT_SCHEMA,
        "sheet": [str(path) for path in run.written],
        **run.maker.facts,
        "summary": {
            "photos": len(run.photos),
            "failed": run.failed,
            "faces": sum(len(photo["faces"]) for photo in run.photos),
            "cells": run.cells,
            "failed_cells": run.failed_cells,
        },
        "interrupted": interrupted,
        "photos": run.photos,
    }
    if run.request.as_json:
        print_json(report)
    if run.request.report is not None:
        write_report(run.request.report, report)
