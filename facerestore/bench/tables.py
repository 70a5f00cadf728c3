"""What was measured, as tables of words for the terminal and for Markdown."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from facerestore.bench.line import LineResult
from facerestore.bench.machine import Machine
from facerestore.bench.pairs import NetworkResult, PairResult
from facerestore.bench.statistics import Ratio, Timing
from facerestore.errors import count
from facerestore.weights.weights_file import looks_like_path

NOTHING = "-"


@dataclass(frozen=True, slots=True)
class Table:
    """Rows of words; the first column is text, the others are numbers.

    Attributes:
        title: what is shown.
        headings: of the columns.
        rows: as many words each as there are headings.
        notes: what the numbers mean, a sentence each.
    """

    title: str
    headings: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    notes: tuple[str, ...] = ()


def machine_words(machine: Machine) -> str:
    """Return the machine in one line."""
    accelerator = "" if machine.accelerator is None else f"; {machine.accelerator}"
    return (
        f"{machine.processor}, {machine.processors} processors, {machine.capability}{accelerator};"
        f" torch {machine.torch}, Python {machine.python}, {machine.system}"
    )


def line_table(result: LineResult) -> Table:
    """Return the stages of the line."""
    rows = [
        (
            s.name,
            seconds(s.timing.median),
            spread(s.timing),
            _share_cell(s.timing, result.total),
            megabytes(s.peak_bytes),
        )
        for s in result.stages
    ]
    rows.append(
        ("all", seconds(result.total.median), spread(result.total), "100%", megabytes(result.peak.bytes))
    )
    notes = [
        f"{result.description}; {threads_words(result.threads)};"
        f" {count(len(result.total.seconds), 'run')} after a warm-up",
        f"peak: {result.peak.of}, to the end of the stage, in the warm-up",
    ]
    if result.given:
        notes.append("the faces are drawn and given; what the detector found is timed and let go")
    return Table(
        title=f"The line with {result.description.split(', on ')[0]}: {result.photo}, {result.faces} restored",
        headings=("stage", "median", "spread", "share", "peak"),
        rows=tuple(rows),
        notes=tuple(notes),
    )


def networks_table(results: Sequence[NetworkResult]) -> Table:
    """Return the networks, one by one."""
    peaks = {result.peak.of for result in results}
    products = sorted(result.product_rate for result in results)
    return Table(
        title="Networks",
        headings=("network", "px", "M par.", "GFLOP", "face", "spread", "GFLOP/s", "of peak", "memory"),
        rows=tuple(_network_row(result) for result in results),
        notes=(
            "face: median time for one; GFLOP: of the published maths for one face, a multiply-add being two",
            f"of peak: GFLOP/s over those of a matrix product in the same process ({products[0]:.0f} to"
            f" {products[-1]:.0f})",
            f"memory: peak {'; '.join(sorted(peaks))}",
            *_process_notes(results),
        ),
    )


def _process_notes(results: Sequence[NetworkResult]) -> list[str]:
    """Return how the processes were set up: once, or where they differ, each."""
    words = [process_words(result) for result in results]
    if len(set(words)) == 1:
        return words[:1]
    return [f"{short_label(result)}: {own}" for result, own in zip(results, words, strict=True)]


def process_words(result: NetworkResult) -> str:
    """Return device, threads, how these wait, and what becomes of freed memory, for people."""
    opened = result.opened
    words = [opened.device, threads_words(opened.threads)]
    words += [opened.waiting] if opened.waiting else []
    words.append("freed memory is kept" if opened.keeps_memory else "the allocator is left alone")
    return "; ".join(words)


def _network_row(result: NetworkResult) -> tuple[str, ...]:
    return (
        short_label(result),
        str(result.opened.size),
        f"{result.opened.parameters / 1e6:.2f}" if result.opened.parameters else NOTHING,
        gflop_cell(result),
        seconds(result.seconds_per_face),
        spread(result.timing),
        NOTHING if result.rate is None else f"{result.rate:.0f}",
        NOTHING if result.share_of_peak is None else f"{result.share_of_peak:.0%}",
        megabytes(result.peak.bytes),
    )


def gflop_cell(result: NetworkResult) -> str:
    """Return the operations for one face."""
    return NOTHING if result.gflop is None else f"{result.gflop / result.side.batch:.3g}"


def short_label(result: NetworkResult) -> str:
    """Return what sets a side apart but for its size, which has a column."""
    runtime, _, path = result.side.network.rpartition(":")
    name = Path(path).name if looks_like_path(path) else path
    return ", ".join([f"{runtime}:{name}" if runtime else name, *result.side.settings])


def pair_table(pair: PairResult) -> Table:
    """Return two sides that were run in turns."""
    table = networks_table([pair.one, pair.other])
    notes = list(table.notes)
    if pair.one.faults is not None and pair.other.faults is not None:
        notes.append(
            f"pages of memory that the system gave in a run: {pair.one.faults:,}, and {pair.other.faults:,}"
        )
    for name, error in pair.errors.items():
        notes.append(f"{name}: the outputs differ by at most {error:.1e} of their standard deviation")
    return Table(
        f"In turns, {count(pair.ratio.pairs, 'pair')}: {ratio_words(pair.ratio)}",
        table.headings,
        table.rows,
        tuple(notes),
    )


def ratio_words(ratio: Ratio) -> str:
    """Return how many times as fast the first side is: the median with its interval."""
    interval = "" if ratio.low is None or ratio.high is None else f" [{ratio.low:.2f}, {ratio.high:.2f}]"
    return f"the first is {ratio.median:.2f}{interval} times as fast, face by face"


def markdown(table: Table) -> str:
    """Return a table as Markdown, numbers to the right."""
    lines = [
        f"### {table.title}",
        "",
        _markdown_line(table.headings),
        _markdown_line(["---", *["---:"] * (len(table.headings) - 1)]),
        *(_markdown_line(row) for row in table.rows),
    ]
    return "\n".join([*lines, "", *(f"- {note}" for note in table.notes)]) + "\n"


def _markdown_line(words: Sequence[str]) -> str:
    return f"| {' | '.join(word.replace('|', '/') for word in words)} |"


def seconds(value: float) -> str:
    """Return a time for people."""
    if value < 0.001:
        return f"{value * 1e3:.2f} ms"
    return (
        f"{value * 1e3:.1f} ms"
        if value < 0.1
        else f"{value * 1e3:.0f} ms"
        if value < 10
        else f"{value:.1f} s"
    )


def spread(timing: Timing) -> str:
    """Return by how much the middle half of the runs departs from the median; nothing for one run."""
    return NOTHING if len(timing.seconds) < 2 else f"±{timing.spread:.0%}"


def megabytes(value: int | None) -> str:
    """Return a size in 10^6 bytes."""
    return NOTHING if value is None else f"{value / 1e6:.0f} MB"


def threads_words(threads: dict[str, int]) -> str:
    """Return how many threads were used."""
    return "threads: " + ", ".join(f"{name} {number}" for name, number in threads.items())


def _share_cell(part: Timing, whole: Timing) -> str:
    return f"{part.median / whole.median:.0%}" if whole.median else NOTHING
