"""What a command that restores photos is given: which photos there are, and where each result goes."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from facerestore.batch import STREAM, BatchPlan, Selection, known_results, parse_shard, plan_jobs, read_list
from facerestore.cli.request import PhotosRequest
from facerestore.config import RESTORE, SYNTHESIZE
from facerestore.errors import ConfigError, ImageError, refusing
from facerestore.io import RemotePath, located
from facerestore.video import is_clip


def planned_photos(request: PhotosRequest) -> BatchPlan:
    """Return the jobs of a run; of directories that are watched, those that there are by now.

    Raises:
        FaceRestoreError: the inputs do not go together, or there is no photo at all.
    """
    if not request.watch:
        return _plan_of(request)
    if request.files_from is not None or not any(path.is_dir() for path in request.inputs):
        raise ConfigError("--watch is for directories that grow; give one as the input, and no --files-from")
    try:
        return _plan_of(request)
    except ImageError:  # there is no photo yet
        return BatchPlan(())


def _plan_of(request: PhotosRequest) -> BatchPlan:
    if request.restore.offline:
        _check_local([*request.inputs, *filter(None, (request.output, request.files_from))])
    return plan_jobs(
        request.inputs,
        output=request.output,
        options=request.files,
        recursive=request.recursive,
        ending=request.task.ending,
        aside=_folders_aside(request),
        takes=_drawn_inputs(request),
        done=request.task.done,
        selection=_selection(request),
        known=known_results(),
    )


def _check_local(paths: Sequence[Path]) -> None:
    """Raise ConfigError where a path is the address of a store."""
    for path in map(located, paths):
        if isinstance(path, RemotePath):
            raise ConfigError(
                f"'{path}' is in a store, and --offline forbids the network; leave out one of both"
            )


def _selection(request: PhotosRequest) -> Selection:
    """Return what is taken of the photos that there are.

    Raises:
        ConfigError: nothing is given to restore, or the list cannot be read.
    """
    listed: tuple[Path, ...] = ()
    if request.files_from is not None:
        path, piped = request.files_from, str(request.files_from) == "-"
        if piped and STREAM in request.inputs:
            raise ConfigError(
                "standard input cannot be both a photo and --files-from; give a file for one of them"
            )
        with refusing(
            lambda why: ConfigError(f"--files-from '{path}' cannot be read: {why}; give a list of paths")
        ):
            listed = read_list(sys.stdin.buffer.read() if piped else located(path).read_bytes())
    if not listed and not request.inputs:
        empty = "" if request.files_from is None else f"; '{request.files_from}' lists none"
        raise ConfigError(
            f"no photo is given{empty}; name photos or directories, or give a list with --files-from"
        )
    return Selection(
        listed=listed,
        include=request.include,
        exclude=request.exclude,
        shard=None if request.shard is None else parse_shard(request.shard),
        # A page that is asked for is a photo.
        clips=is_clip if request.task is RESTORE and request.restore.page is None else lambda path: False,
        results=request.include_results,
    )


def _folders_aside(request: PhotosRequest) -> list[Path]:
    """Return what may lie among the photos and holds none: what is saved beside results, and masks."""
    files = request.files
    saved = (files.save_faces, files.save_stages, files.save_damaged, files.html)
    return [*(Path(folder) for folder in saved if folder is not None), *request.aside]


def _drawn_inputs(request: PhotosRequest) -> list[str]:
    """Return the kinds of drawn pictures that are inputs for what is asked."""
    return [*(["map"] if request.task is SYNTHESIZE else []), *(["face"] if request.restore.aligned else [])]
