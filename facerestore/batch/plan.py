"""Which files are restored and where results go: decided before any work, so that it can be shown and checked."""

from __future__ import annotations

import unicodedata
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from facerestore.config import DEFAULT_SUFFIX, OutputConfig
from facerestore.errors import ConfigError, ImageError
from facerestore.io import FORMATS, SUFFIXES, find_images, resolve_format

STREAM = Path("-")
"""Stands for standard input as a source, and for standard output as a target."""

COMPARE_ENDING = "_compare"


@dataclass(frozen=True, slots=True)
class Job:
    """One photo to restore.

    Attributes:
        source: the photo, or STREAM.
        target: where the result goes, or STREAM.
        name: the result's path relative to the run, unique in it, without extension; names its side products.
    """

    source: Path
    target: Path
    name: Path


@dataclass(frozen=True, slots=True)
class Plan:
    """All the work of one run.

    Attributes:
        jobs: in the order of the inputs; every target is distinct.
        left_out: files in the given directories that are results of an earlier run.
    """

    jobs: tuple[Job, ...]
    left_out: tuple[Path, ...] = ()


@dataclass(frozen=True, slots=True)
class _Candidate:
    """A source, the folder of its result, and the folder's place within the run."""

    source: Path
    folder: Path
    relative: Path
    extension: str

    def target(self, suffix: str, infix: str = "") -> Path:
        return self.folder / f"{self.source.stem}{infix}{suffix}{self.extension}"


def plan_jobs(
    inputs: Sequence[Path],
    *,
    output: Path | None,
    options: OutputConfig,
    recursive: bool = False,
    ending: str = DEFAULT_SUFFIX,
    aside: Sequence[Path] = (),
) -> Plan:
    """Return the jobs for files and directories.

    A result goes beside its source as ``<name>_restored``; with ``output`` it goes there: into that very file when
    there is one input file and ``output`` ends like a picture, else into that directory under the source's own name,
    directories mirrored. Two results never share a name (``a.jpg`` and ``a.png`` written as PNG become ``a_jpg.png``
    and ``a_png.png``, further ones get a number), and no result takes the name of any input: it gets the suffix.

    Args:
        inputs: files, directories, or ``-`` for standard input.
        output: a file, a directory, ``-`` for standard output, or None.
        options: format and suffix of the results, and whether comparisons stand beside them.
        recursive: look into the subdirectories of directories.
        ending: what the name of a result beside its source ends in, unless ``options`` say.
        aside: files and directories that hold no photos, though they may lie within the inputs: masks, saved faces.

    Raises:
        ConfigError: the inputs do not go with the output, or a format is unknown.
        ImageError: a directory holds no picture.
    """
    if STREAM in inputs or output == STREAM or _names_a_file(inputs, output):
        return Plan((_single_job(inputs, output, options),))
    if output is not None and (
        output.is_file() or (output.suffix.lower() in SUFFIXES and not output.is_dir())
    ):
        raise ConfigError(
            f"'{output}' names one file, but there may be several results; give a directory with -o"
        )
    candidates: list[_Candidate] = []
    left_out: list[Path] = []
    others = aside if output is None else (output, *aside)
    for root, label in zip(inputs, _labels(inputs), strict=True):
        for source in _sources(root, others, recursive):
            if root.is_dir() and _is_result(source, options, ending):
                left_out.append(source)
            else:
                candidates.append(_candidate(source, root, label, output, options))
    jobs = _distinct(
        _without_repeats(candidates), _suffix(options, output, ending), ending, compare=options.compare
    )
    return Plan(tuple(jobs), tuple(left_out))


def _single_job(inputs: Sequence[Path], output: Path | None, options: OutputConfig) -> Job:
    """Return the only job of a run that writes one named file or stream."""
    if len(inputs) != 1 or inputs[0].is_dir():
        raise ConfigError(
            "'-' goes with exactly one input file; give the photos one by one, or a directory with -o"
        )
    source = inputs[0]
    target = STREAM if output is None else output
    if target != STREAM and (target.is_dir() or not target.suffix):
        raise ConfigError(
            f"the result from standard input needs a name; give -o {target / 'result.png'}, or -o -"
        )
    if target != STREAM:
        _check_name(target, options)
    return Job(source, target, Path("stdin" if source == STREAM else source.stem))


def _check_name(target: Path, options: OutputConfig) -> None:
    """Raise ConfigError when the name of a result says no format, or another than the one that is asked for."""
    named = SUFFIXES.get(target.suffix.lower())
    wanted = None if options.format is None else resolve_format(options.format)
    if named is None and wanted is None:
        raise ConfigError(
            f"'{target}' ends in no picture format; end it in one of {', '.join(SUFFIXES)}, or make that directory"
            " first if it is to be one"
        )
    if named is not None and wanted not in (None, named):
        raise ConfigError(
            f"'{target}' is a name for {named}, but the format is to be {wanted}; change one of both"
        )


def _names_a_file(inputs: Sequence[Path], output: Path | None) -> bool:
    """Say whether ``output`` is the file of a single result rather than a directory."""
    if output is None or len(inputs) != 1 or inputs[0].is_dir() or output.is_dir():
        return False
    return bool(output.suffix)


def _labels(inputs: Sequence[Path]) -> list[Path]:
    """Return the subdirectory of the output that each input takes: distinct names of directories, none for files."""
    if len(inputs) == 1:
        return [Path()]
    taken: set[str] = set()
    labels = []
    for root in inputs:
        name = root.resolve().name if root.is_dir() else ""
        label, number = name, 2
        while label and label.casefold() in taken:
            label, number = f"{name}-{number}", number + 1
        taken.add(label.casefold())
        labels.append(Path(label))
    return labels


def _sources(root: Path, others: Sequence[Path], recursive: bool) -> Iterator[Path]:
    """Yield the photos of one input, in a directory but for those in ``others``.

    A file stands for itself, also when it does not exist (reading it says so).
    """
    if not root.is_dir():
        yield root
        return
    found = find_images(root, recursive=recursive)
    if not found:
        hint = "" if recursive else "; add -r to look into its subdirectories"
        raise ImageError(f"no picture in directory '{root}'{hint}")
    within = [home for other in others if root.resolve() in (home := other.resolve()).parents]
    for source in found:
        if not any(source.resolve().is_relative_to(home) for home in within):
            yield source


def _is_result(source: Path, options: OutputConfig, ending: str) -> bool:
    """Say whether a file of a directory is taken for the result of an earlier run, by its name."""
    stem = source.stem.removesuffix(COMPARE_ENDING)
    return any(stem.endswith(end) for end in (DEFAULT_SUFFIX, ending, options.suffix) if end)


def _candidate(
    source: Path, root: Path, label: Path, output: Path | None, options: OutputConfig
) -> _Candidate:
    relative = label / (source.parent.relative_to(root) if root.is_dir() else Path())
    folder = source.parent if output is None else output / relative
    extension = source.suffix if options.format is None else FORMATS[resolve_format(options.format)].suffix
    return _Candidate(source, folder, relative, extension)


def _suffix(options: OutputConfig, output: Path | None, ending: str) -> str:
    if options.suffix is not None:
        return options.suffix
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
        return (one.parent.resolve(), one.name) == (other.parent.resolve(), other.name)


def _distinct(candidates: Sequence[_Candidate], suffix: str, ending: str, *, compare: bool) -> Iterator[Job]:
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
        yield Job(candidate.source, target, _unique(candidate.relative / target.stem, names))


def compare_path(target: Path) -> Path:
    """Return where the before/after picture of the result ``target`` goes."""
    return target.with_name(f"{target.stem}{COMPARE_ENDING}.jpg")


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
    return unicodedata.normalize("NFC", str(path.parent.resolve() / path.name)).casefold()
