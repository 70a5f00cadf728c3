"""What people are told of a run's inputs, and of each photo: what was found, restored and kept, by which network."""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from facerestore.cli.terminal import Terminal
from facerestore.config import RESTORE
from facerestore.errors import WeightsError, count, no_face

if TYPE_CHECKING:
    from facerestore.batch import BatchPlan, PhotoOutcome

SHOWN_REASONS = 6
"""How many kept faces of a photo are explained one by one before the rest is only counted."""


SHOWN_NAMES = 3
"""How many files that are left out are named."""

BETTER_WEIGHTS = (
    "The bundled weights are small. For better ones: 'facerestore weights list', then for example"
    " 'facerestore weights download gpen.bfr-512' (for non-commercial use)."
)
"""What is said once to who is new."""

TELLING = {
    "no-prior": "heavily blurred or very small: clearer than before, yet not sharp (-v tells why)",
    "too-large": "larger than any network here: detail finer than it gives is lost (-v tells why)",
}
"""Choices that a user should know of even where there was nothing to choose from, and what is said of such faces."""


def tell(outcome: PhotoOutcome, terminal: Terminal, *, done: str = RESTORE.done) -> None:
    """Say what became of one photo: what was found, restored and kept and why, how long it took, where it is.

    Args:
        outcome: what became of it.
        terminal: where to say it.
        done: the word for what was done with faces.
    """
    from facerestore.batch.report import describe_error
    from facerestore.pictures.result import done_words

    name = stream_name(outcome.job.source, "standard input")
    if outcome.error is not None:
        terminal.warn(f"error: {with_name(name, describe_error(outcome.error))}")
        if terminal.verbosity >= 2:
            import traceback

            terminal.warn("".join(traceback.format_exception(outcome.error)).rstrip())
        return
    if outcome.report is None:
        terminal.say(f"{name}: skipped, {outcome.job.target} exists")
        return
    report = outcome.report
    kept = report["found"] - report["restored"]
    faces = (
        f"{count(report['found'], 'face')}, {done_words(report['restored'], report['effects'], done)}, {kept} kept"
        if report["found"]
        else no_face(report.get("search"))
    )
    target = stream_name(outcome.job.target, "standard output")
    terminal.say(f"{name}: {faces}, {outcome.seconds:.1f} s -> {target}")
    if outcome.job.shortened:
        terminal.say("  its name is too long for a result's, which is shortened and ends in a hash")
    terminal.say_below(_detail_lines(report, terminal.verbosity, done))
    for path in outcome.written[1:]:
        terminal.say(f"  also wrote {path}", level=0 if path.name.endswith("_compare.jpg") else 1)


def _detail_lines(report: dict[str, Any], verbosity: int, done: str) -> list[str]:
    """Return the lines below a photo: why faces were kept; with -v every face and the seconds of the stages."""
    faces = [face for face in report["faces"] if verbosity >= 1 or face["decision"] == "kept"]
    told = [f"{face_words(face)} {_decision_word(face, done)}: {face['reason']}" for face in faces]
    lines = told if verbosity >= 1 else first_lines(told, "kept")
    lines += choice_lines(report, verbosity)
    lines += [absent_words(index) for index in report["absent_indices"]]
    if verbosity >= 1 and report.get("advice"):
        lines.append(report["advice"])
    if "clip" in report:
        lines.append(_clip_words(report["clip"]))
    lines += report["notes"]
    background = report.get("background")
    if background is not None and (
        verbosity >= 1 or report["restored"] < report["found"] or not report["found"]
    ):
        lines.append(background["note"])
    if verbosity >= 1:
        lines.append("seconds: " + ", ".join(f"{k} {v:.2f}" for k, v in report["stage_seconds"].items()))
    return lines


def _clip_words(clip: dict[str, Any]) -> str:
    """Return how much of a clip shows faces, what was restored, and how it was written."""
    resumed = f", the first {clip['resumed_at']} of an earlier run" if clip["resumed_at"] else ""
    shown = f"; the faces above are those of frame {clip['shown_frame']}" if clip["with_faces"] else ""
    return (
        f"{count(clip['frames'], 'frame')}{resumed}: {clip['with_faces']} with faces, {clip['restored']} restored;"
        f" encoded with {clip['encoder']}{shown}"
    )


def choice_lines(report: dict[str, Any], verbosity: int) -> list[str]:
    """Return which network each face got, and why.

    Where there is one network to choose from, or all are free for any use, only how many are not served well, unless
    -v asks for all.

    Args:
        report: of a photo, with ``faces`` and, where the choice was automatic, ``auto``.
        verbosity: from 1 on each face is told.
    """
    auto = report.get("auto", {"candidates": []})
    terms = {candidate["name"]: candidate["commercial_use"] for candidate in auto["candidates"]}
    told = [face for face in report["faces"] if face["choice"] is not None]
    if verbosity < 1 and (len(terms) <= 1 or set(terms.values()) == {"yes"}):
        codes = [face["choice"] for face in told]
        return [
            f"{count(codes.count(code), 'face')} {words}" for code, words in TELLING.items() if code in codes
        ]
    lines = [
        f"{face_words(face)} by {face['weights']}{_terms_words(terms.get(face['weights']))}: {face['why']}"
        for face in told
    ]
    return lines if verbosity >= 1 else first_lines(lines, "by their networks")


def first_lines(lines: list[str], what: str) -> list[str]:
    """Return the first lines of a photo, and one on how many more there are of what they tell."""
    more = len(lines) - SHOWN_REASONS
    rest = [f"and {more} more {what}; -v or --report tells all"] if more > 0 else []
    return [*lines[:SHOWN_REASONS], *rest]


def warn_passed_over(passed_over: Iterable[tuple[str, str]], terminal: Terminal) -> None:
    """Say on standard error which installed networks the automatic choice cannot take, and why."""
    for name, lack in passed_over:
        terminal.warn(f"warning: auto passes over {name}: {lack}")


def _terms_words(commercial_use: str | None) -> str:
    """Return what is said of weights that are not free for every use."""
    return {"no": " (non-commercial)", "unclear": " (commercial use unclear)"}.get(commercial_use or "", "")


def face_words(face: dict[str, Any]) -> str:
    """Return which face it is: its index, and its page where a photo has several."""
    return f"face {face['index']}" + (f" on page {face['page']}" if "page" in face else "")


def _decision_word(face: dict[str, Any], done: str) -> str:
    """Return the word for what became of a face, and by how much it was changed."""
    if face.get("effect"):
        from facerestore.types import Effect

        return f"{Effect(face['effect']).words} ({face['change']:.1f} levels)"
    return done if face["decision"] == RESTORE.done else str(face["decision"])


def absent_words(index: int) -> str:
    """Return what is said of a face that was asked for and is not there."""
    return f"there is no face {index}; 'facerestore detect' shows the indices"


def stream_name(path: Path | str, stream: str) -> str:
    """Return what a path is called, and ``stream`` for ``-``."""
    return stream if str(path) == "-" else str(path)


def with_name(name: str, message: str) -> str:
    """Return an error with its photo's name, unless it says the name itself."""
    return message if name in message else f"{name}: {message}"


def tell_inputs(plan: BatchPlan, terminal: Terminal) -> None:
    """Say what in the directories is no photo for this run, and which of them are at fault."""
    from facerestore.batch import kinds_of

    if plan.left_out:
        number, _, names = some_names(plan.left_out).partition(" ")
        terminal.say(
            f"left out: {count(int(number), 'result')} of earlier runs {names}; --include-results takes them"
        )
    if plan.not_read:
        terminal.say(f"left out: {kinds_of(plan.not_read)}")
    if plan.not_selected:
        terminal.say(f"left out by --include and --exclude: {some_names(plan.not_selected)}")
    if plan.not_searched:
        terminal.say(f"not looked into without -r: {some_names(plan.not_searched)}")
    for fault in plan.faults:
        terminal.warn(f"error: {fault}")


def missing_hints(inputs: Sequence[Path]) -> list[str]:
    """Return what may be meant by inputs that are not there: words of one name, addresses, lists, misplaced options."""
    from facerestore.io import RemotePath, located

    hints = []
    for number, path in enumerate(inputs):
        word = str(path)
        if word == "-" or isinstance(place := located(path), RemotePath) or os.path.lexists(place):
            continue
        joined = [" ".join(map(str, inputs[number:end])) for end in range(number + 2, len(inputs) + 1)]
        hints += [
            f"a name with spaces goes into quotes: {shlex.quote(n)}" for n in joined if os.path.lexists(n)
        ]
        if re.match(r"[a-z]+:/", word):
            hints.append(
                f"'{word}' is an address of a kind that is not known here; give one with s3://, gs://, az:// or"
                " http://, or download the picture first"
            )
        elif word.startswith("--"):
            hints.append(f"'{word}' stands behind --, where all is a name; put options before it")
        elif word.startswith("~") and os.path.lexists(home := os.path.expanduser(word)):  # noqa: PTH111
            hints.append(f"~ within quotes is no home; write {home}")
        elif "," in word and all(os.path.lexists(part) for part in word.split(",")):
            hints.append("inputs are separated by spaces, not by commas")
    return hints


def some_names(paths: Sequence[Path]) -> str:
    """Return how many paths there are, and the names of the first."""
    names = [path.name for path in paths[:SHOWN_NAMES]]
    return f"{len(paths)} ({', '.join(names)}{', ...' if len(paths) > SHOWN_NAMES else ''})"


def exit_code(failed: int, photos: int, *, faults: int = 0) -> int:
    """Return 0, or 1 when all photos failed, or 3 when some did or a directory was at fault."""
    if failed == 0 and faults == 0:
        return 0
    return 1 if failed == photos else 3


def first_run() -> bool:
    """Say whether nothing was restored here before, and note that it was.

    Where nothing can be noted, such as in a container whose home is read-only, each run would be the first: none is.
    """
    from facerestore.weights.files import default_home, read_json, write_json

    note = default_home() / "hints.json"
    try:
        if read_json(note) is not None:
            return False
        write_json(note, {"better_weights": "told"})
    except WeightsError:
        return False
    return True
