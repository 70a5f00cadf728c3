"""Which files are restored and where results go: decided before any work, so that it can be shown and checked."""

from __future__ import annotations

import os
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from glob import glob
from pathlib import Path
from typing import NamedTuple

from facerestore.batch.selecting import Selection, kinds_of, place_of
from facerestore.config import DEFAULT_SUFFIX, TASKS, OutputConfig
from facerestore.errors import ConfigError, ImageError
from facerestore.io import (
    FORMATS,
    OF_RAW,
    RAW,
    SUFFIXES,
    WRITTEN_SUFFIXES,
    RemotePath,
    fitting,
    is_file,
    is_folder,
    is_there,
    kinds_made,
    located,
    resolve_format,
    search_folder,
)
from facerestore.video import can_restore, has_clip_name

STREAM = Path("-")
"""Stands for standard input as a source, and for standard output as a target."""

COMPARE_ENDING = "_compare"
PREVIEW_ENDING = "_preview"


@dataclass(frozen=True, slots=True)
class PhotoJob:
    """One photo to restore.

    Attributes:
        source: the photo, or STREAM.
        target: where the result goes, or STREAM.
        name: the result's path relative to the run, unique in it, without extension; names its side products.
        shortened: the photo's own name was too long for one of a result.
        page: which of the photo's pages it is; None for a photo of one.
    """

    source: Path
    target: Path
    name: Path
    shortened: bool = False
    page: int | None = None


@dataclass(frozen=True, slots=True)
class BatchPlan:
    """All the work of one run.

    Attributes:
        jobs: in the order of the inputs; every target is distinct.
        left_out: files in the given directories that are results of an earlier run, or drawn by one.
        not_read: files in them that are no pictures that are read here.
        not_searched: directories in them, where these are not asked for.
        faults: directories that could not be read, or hold no picture, among others that do.
        not_selected: photos that are not taken by the patterns.
    """

    jobs: tuple[PhotoJob, ...]
    left_out: tuple[Path, ...] = ()
    not_read: tuple[Path, ...] = ()
    not_searched: tuple[Path, ...] = ()
    faults: tuple[ImageError, ...] = ()
    not_selected: tuple[Path, ...] = ()


@dataclass(frozen=True, slots=True)
class _Candidate:
    """A source, the folder of its result, and the folder's place within the run."""

    source: Path
    folder: Path
    relative: Path
    extension: str

    def target(self, suffix: str, infix: str = "") -> Path:
        return self.folder / fitting(self.folder, self.source.stem, f"{infix}{suffix}{self.extension}")


def plan_jobs(
    inputs: Sequence[Path],
    *,
    output: Path | None,
    options: OutputConfig,
    recursive: bool = False,
    ending: str = DEFAULT_SUFFIX,
    aside: Sequence[Path] = (),
    takes: Sequence[str] = (),
    done: str = "",
    selection: Selection = Selection(),  # noqa: B008  # frozen
    known: Callable[[Path], bool] = lambda path: False,
) -> BatchPlan:
    """Return the jobs for files and directories.

    A result goes beside its source as ``<name>_restored``; with ``output`` it goes there: into that very file when
    there is one input file and ``output`` ends like a picture, else into that directory under the source's own name,
    directories mirrored. Two results never share a name (``a.jpg`` and ``a.png`` written as PNG become ``a_jpg.png``
    and ``a_png.png``, further ones get a number), and no result takes the name of any input: it gets the suffix. Where
    a name is too long for the disk, it is shortened and ends in a hash.

    Args:
        inputs: files, directories, patterns such as ``*.jpg``, addresses of them in stores (``s3://bucket/album``), or
            ``-`` for standard input.
        output: a file, a directory, ``-`` for standard output, or None.
        options: format and suffix of the results, and whether comparisons stand beside them.
        recursive: look into the subdirectories of directories.
        ending: what the name of a result beside its source ends in, unless ``options`` say.
        aside: files and directories that hold no photos, though they may lie within the inputs: masks, saved faces.
        takes: kinds of pictures drawn by facerestore (see ``facerestore.io.kinds_made``) that are inputs for this run,
            other than comparisons and the like, which in a directory are left out.
        done: what this run does with faces; photos in a directory that say that it was done to them are left out.
        selection: what is taken of the photos in directories, and what is listed beside the inputs.
        known: says what earlier runs have written, which in a directory is left out.

    Raises:
        ConfigError: the inputs do not go with the output, or a format is unknown.
        ImageError: there is no photo at all.
    """
    inputs, listed = _expanded([located(path) for path in inputs]), selection.listed
    output = None if output is None else located(output)
    if not listed and (STREAM in inputs or output == STREAM or _names_a_file(inputs, output)):
        return BatchPlan((_single_job(inputs, output, options, selection.clips),))
    if output is not None and (
        is_file(output)
        or ((output.suffix.lower() in SUFFIXES or has_clip_name(output)) and not is_folder(output))
    ):
        raise ConfigError(
            f"'{output}' names one file, but there may be several results; give a directory with -o"
        )
    candidates: list[_Candidate] = []
    found = _Found([], [], [], [], [])
    others = aside if output is None else (output, *aside)
    named = [*zip(inputs, _labels(inputs), strict=True), *_listed_places(listed)]
    again = selection.results
    suited = {*takes, *(task.done for task in TASKS.values() if again or task.done != done)}
    for number, (root, label) in enumerate(named):
        for source in _sources(root, others, recursive, found, selection.clips):
            within = source.relative_to(root) if source != root else Path(source.name)
            named_so = not again and (_is_named_result(source, options, ending) or known(source))
            if source != root and (named_so or not kinds_made(source).issubset(suited)):
                found.left_out.append(source)
            elif (source != root or number >= len(inputs)) and not selection.takes(within):
                found.not_selected.append(source)
            else:
                candidates.append(_candidate(source, root, label, output, options, selection.clips))
    if not candidates and found.faults:
        raise found.faults[0]
    jobs = _distinct(
        _without_repeats(candidates), _suffix(options, output, ending), ending, compare=options.compare
    )
    shard = selection.shard
    return BatchPlan(
        tuple(job for job in jobs if shard is None or shard.holds(job.name)),
        left_out=tuple(found.left_out),
        not_read=tuple(found.not_read),
        not_searched=tuple(found.not_searched),
        faults=tuple(found.faults),
        not_selected=tuple(found.not_selected),
    )


class _Found(NamedTuple):
    """What was found in directories beside photos; see ``BatchPlan``."""

    left_out: list[Path]
    not_read: list[Path]
    not_searched: list[Path]
    faults: list[ImageError]
    not_selected: list[Path]


def _expanded(inputs: Sequence[Path]) -> list[Path]:
    """Return the inputs with patterns that no shell has expanded, of which Windows' own expands none, in place."""
    expanded: list[Path] = []
    for path in inputs:
        if not any(mark in str(path) for mark in "*?[") or is_there(path):
            expanded.append(path)
            continue
        # glob() keeps ./ and ..
        found = path.matching() if isinstance(path, RemotePath) else sorted(glob(str(path), recursive=True))  # noqa: PTH207
        expanded += [Path(match) if isinstance(match, str) else match for match in found] or [path]
    return expanded


def _single_job(
    inputs: Sequence[Path], output: Path | None, options: OutputConfig, clips: Callable[[Path], bool]
) -> PhotoJob:
    """Return the only job of a run that writes one named file or stream."""
    if len(inputs) != 1 or is_folder(inputs[0]):
        raise ConfigError(
            "'-' goes with exactly one input file; give the photos one by one, or a directory with -o"
        )
    source = inputs[0]
    target = STREAM if output is None else output
    if target != STREAM and (is_folder(target) or not target.suffix):
        raise ConfigError(
            f"the result from standard input needs a name; give -o {target / 'result.png'}, or -o -"
        )
    if isinstance(target, RemotePath):
        target.check_writable()
    if target != STREAM and not clips(source):
        _check_name(target, options)
    return PhotoJob(source, target, Path("stdin" if source == STREAM else source.stem))


def _check_name(target: Path, options: OutputConfig) -> None:
    """Raise ConfigError when the name of a result says no format, or another than the one that is asked for."""
    named = SUFFIXES.get(target.suffix.lower())
    named = None if named == RAW else named
    wanted = None if options.format is None else resolve_format(options.format)
    if named is None and wanted is None:
        raise ConfigError(
            f"'{target}' ends in no picture format; end it in one of {', '.join(WRITTEN_SUFFIXES)}, or make that"
            " directory first if it is to be one"
        )
    if named is not None and wanted not in (None, named):
        raise ConfigError(
            f"'{target}' is a name for {named}, but the format is to be {wanted}; change one of both"
        )


def _names_a_file(inputs: Sequence[Path], output: Path | None) -> bool:
    """Say whether ``output`` is the file of a single result rather than a directory."""
    if output is None or len(inputs) != 1 or any(is_folder(path) for path in (inputs[0], output)):
        return False
    return bool(output.suffix)


def _labels(inputs: Sequence[Path]) -> list[Path]:
    """Return the subdirectory of the output that each input takes: distinct names of directories, none for files."""
    if len(inputs) == 1:
        return [Path()]
    taken: set[str] = set()
    labels = []
    for root in inputs:
        name = Path(os.path.realpath(root)).name if is_folder(root) else ""
        label, number = name, 2
        while label and label.casefold() in taken:
            label, number = f"{name}-{number}", number + 1
        taken.add(label.casefold())
        labels.append(Path(label))
    return labels


def _listed_places(listed: Sequence[Path]) -> Iterator[tuple[Path, Path]]:
    """Yield each listed path and the subdirectory of the output that it takes, which does not depend on the others."""
    for path in listed:
        place = place_of(path)
        yield path, place if is_folder(path) else place.parent


def _sources(
    root: Path, others: Sequence[Path], recursive: bool, found: _Found, clips: Callable[[Path], bool]
) -> Iterator[Path]:
    """Yield the photos of one input, in a directory but for those in ``others``; what else is there goes to ``found``.

    A file stands for itself, also when it does not exist (reading it says so).
    """
    if not is_folder(root):
        yield root
        return
    content = search_folder(root, recursive=recursive)
    homes = [_real(other) for other in others]
    within = [home for home in homes if _real(root) in home.parents]

    def is_aside(path: Path) -> bool:
        return any(_real(path).is_relative_to(home) for home in within)

    more = {path for path in content.others if clips(path) and can_restore(path)}
    yield from (path for path in sorted([*content.images, *more]) if not is_aside(path))
    found.not_read.extend(path for path in content.others if path not in more and not is_aside(path))
    found.not_searched.extend(path for path in content.not_searched if not is_aside(path))
    found.faults.extend(content.faults)
    if not content.images and not more and not content.faults:
        hint = "; add -r to look into its subdirectories" if content.not_searched else ""
        holds = f" (it holds {kinds_of(content.others)})" if content.others else ""
        found.faults.append(ImageError(f"no picture in directory '{root}'{holds}{hint}"))


def _real(path: Path) -> Path:
    """Return where a path leads, links resolved as far as they can be: one that leads to itself leads nowhere."""
    return Path(os.path.realpath(path))


def _is_named_result(source: Path, options: OutputConfig, ending: str) -> bool:
    """Say whether a file of a directory has the name of a result of an earlier run."""
    stem = source.stem.removesuffix(COMPARE_ENDING)
    return any(stem.endswith(end) for end in (DEFAULT_SUFFIX, PREVIEW_ENDING, ending, options.suffix) if end)


def _candidate(
    source: Path,
    root: Path,
    label: Path,
    output: Path | None,
    options: OutputConfig,
    clips: Callable[[Path], bool],
) -> _Candidate:
    relative = label / (source.parent.relative_to(root) if source != root else Path())
    folder = source.parent if output is None else output / relative
    if isinstance(folder, RemotePath):
        folder.check_writable()
    extension, made = source.suffix, None
    if options.format is not None:
        made = resolve_format(options.format)
    elif SUFFIXES.get(extension.lower()) == RAW:
        made = OF_RAW
    elif has_clip_name(source):
        made = "PNG"
    if made is not None and not clips(source):  # which may look into the file
        extension = FORMATS[made].suffix
    return _Candidate(source, folder, relative, extension)


def _suffix(options: OutputConfig, output: Path | None, ending: str) -> str:
    if options.suffix is not None:
        return options.suffix
    if options.preview:
        return PREVIEW_ENDING
    return ending if output is None else ""


def _without_repeats(candidates: Sequence[_Candidate]) -> list[_Candidate]:
    """Return the candidates with each source once, as when a directory and a file in it are both given."""
    seen: dict[str, list[Path]] = {}
    kept = []
    for candidate in candidates:
        # Names that differ in case or the form of accents alone are one photo on some file systems and two on others.
        namesakes = seen.setdefault(_key(candidate.source), [])
        if not any(_same_file(candidate.source, other) for other in namesakes):
            namesakes.append(candidate.source)
            kept.append(candidate)
    return kept


def _same_file(one: Path, other: Path) -> bool:
    """Say whether two paths of one key are one file; of missing ones, the paths decide."""
    try:
        return one.samefile(other)
    except OSError:
        return (_real(one.parent), one.name) == (_real(other.parent), other.name)


def _distinct(
    candidates: Sequence[_Candidate], suffix: str, ending: str, *, compare: bool
) -> Iterator[PhotoJob]:
    """Yield one job per candidate; no target or comparison is shared, and none is the name of an input."""
    inputs = {_key(candidate.source) for candidate in candidates}
    suffixes = [ending if _key(c.target(suffix)) in inputs else suffix for c in candidates]
    plain = [_key(c.target(s)) for c, s in zip(candidates, suffixes, strict=True)]
    wanted = Counter(plain)
    taken, names = set(inputs), set[str]()
    for candidate, own_suffix, key in zip(candidates, suffixes, plain, strict=True):
        kind = f"_{candidate.source.suffix[1:]}"
        infix, number = ("" if wanted[key] == 1 else kind), 2
        while taken & (keys := _written(candidate.target(own_suffix, infix), compare=compare)):
            infix, number = f"{kind}-{number}", number + 1
        target = candidate.target(own_suffix, infix)
        taken |= keys
        shortened = not target.stem.startswith(candidate.source.stem)
        yield PhotoJob(candidate.source, target, _unique(candidate.relative / target.stem, names), shortened)


def compare_path(target: Path) -> Path:
    """Return where the before/after picture of the result ``target`` goes."""
    return target.with_name(fitting(target.parent, target.stem, f"{COMPARE_ENDING}.jpg"))


def _written(target: Path, *, compare: bool) -> set[str]:
    """Return the keys of the files that a job writes beside each other."""
    return {_key(target), _key(compare_path(target))} if compare else {_key(target)}


def _unique(name: Path, names: set[str]) -> Path:
    """Return ``name``, numbered where it is in ``names`` already, and note it there."""
    result, number = name, 2
    while str(result).casefold() in names:
        result, number = name.with_name(f"{name.name}-{number}"), number + 1
    names.add(str(result).casefold())
    return result


def _key(path: Path) -> str:
    """Return what identifies a file on every system, those that ignore case or the form of accents included."""
    return unicodedata.normalize("NFC", str(_real(path.parent) / path.name)).casefold()
