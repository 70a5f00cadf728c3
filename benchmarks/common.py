"""What the benchmarks share: their command line, and the JSON, Markdown and pictures that they write."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.plots import Plot, write_plots
from facerestore import __version__
from facerestore.bench.machine import Machine, OthersWatch, busy_words, describe_machine
from facerestore.bench.memory import Peak, page_faults, peak, reset_peak
from facerestore.bench.pairs import in_turns, median_faults, others_share, run_ratio
from facerestore.bench.report import SCHEMA, ratio_facts, timing_facts, write_json
from facerestore.bench.runner import BenchJob, TimedRun
from facerestore.bench.spawn import waiting_words
from facerestore.bench.statistics import Ratio, Timing
from facerestore.bench.tables import Table, machine_words, markdown, megabytes, seconds, spread
from facerestore.errors import FaceRestoreError, count
from facerestore.io import write_encoded


@dataclass(frozen=True, slots=True)
class Options:
    """What a benchmark was asked for.

    Attributes:
        out: folder of the results.
        quick: tiny sizes, to try the program; the numbers mean nothing.
        repeats: pairs of runs; None for each benchmark's own.
        threads: CPU threads; 0 for automatic.
        device: where networks run; pipelines and batches run on the CPU.
    """

    out: Path
    quick: bool = False
    repeats: int | None = None
    threads: int = 0
    device: str = "cpu"


@dataclass(frozen=True, slots=True)
class Results:
    """What a benchmark found.

    Attributes:
        name: of the benchmark, and of its files.
        title: for people.
        machine: where it ran, with the load before.
        tables: for people.
        facts: for programs, ready for JSON.
        plots: for people; may be none.
        failures: what could not be measured, and why; the rest was.
        others: the largest share of the processors that others took meanwhile; None where it cannot be told.
    """

    name: str
    title: str
    machine: Machine
    tables: Sequence[Table]
    facts: Mapping[str, Any]
    plots: Sequence[Plot] = ()
    others: float | None = None
    failures: Sequence[str] = ()


Benchmark = Callable[[Options], Results]


def main(benchmark: Benchmark, description: str) -> int:
    """Run one benchmark as a program: read the command line, write its files, and say where they are."""
    options = options_of(command_line(description).parse_args())
    try:
        results = benchmark(options)
        written = write_results(results, options)
    except FaceRestoreError as error:
        sys.stderr.write(f"error: {error}\n")
        return 1
    sys.stdout.write("".join(f"{path}\n" for path in written))
    return 1 if results.failures else 0


def command_line(description: str) -> argparse.ArgumentParser:
    """Return the command line that all benchmarks share."""
    parser = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("out", type=Path, help="folder of the results; made where it is missing")
    parser.add_argument("--quick", action="store_true", help="tiny sizes, to try the program")
    parser.add_argument("--repeats", type=int, help="pairs of runs")
    parser.add_argument("--threads", type=int, default=0, help="CPU threads; 0 for automatic")
    parser.add_argument(
        "--device", default="cpu", help="where networks run: cpu, cuda or cuda:N; cpu unless given"
    )
    return parser


def options_of(given: argparse.Namespace) -> Options:
    """Return what stands on the command line."""
    return Options(given.out, given.quick, given.repeats, given.threads, given.device)


def say(text: str) -> None:
    """Tell whoever waits what is being done, with the time of day."""
    sys.stderr.write(f"{time.strftime('%H:%M:%S')} {text}\n")


def option_facts(options: Options) -> dict[str, Any]:
    """Return what results depend on, ready for JSON."""
    return {key: value for key, value in asdict(options).items() if key != "out"}


def write_results(results: Results, options: Options) -> list[Path]:
    """Write NAME.json, NAME.md and, where there are plots, NAME.png; existing ones are replaced.

    Raises:
        ImageError: a file cannot be written.
    """
    warning = busy_words(results.machine.load_before, results.others)
    facts = {
        "schema": SCHEMA,
        "facerestore": __version__,
        "benchmark": results.name,
        "options": option_facts(options),
        "machine": asdict(results.machine),
        "warnings": [] if warning is None else [warning],
        "failures": list(results.failures),
        **results.facts,
    }
    parts = [f"## {results.title}\n", f"{machine_words(results.machine)}\n"]
    parts += [] if warning is None else [f"**Careful: {warning}.**\n"]
    parts += [f"![{results.title}]({results.name}.png)\n"] if results.plots else []
    parts += ["**Sizes are tiny, to try the program: the numbers mean nothing.**\n"] if options.quick else []
    parts += [markdown(table) for table in results.tables]
    parts += [f"**Not measured:** {failure}\n" for failure in results.failures]
    text = options.out / f"{results.name}.md"
    write_json(text.with_suffix(".json"), facts)
    write_encoded(text, "\n".join(parts).encode(), overwrite=True)
    pictures = [write_plots(text.with_suffix(".png"), results.plots)] if results.plots else []
    return [text.with_suffix(".json"), text, *pictures]


class TimedJob:
    """A job that is a call; the memory of its process counts from when the job is made."""

    def __init__(self, call: Callable[[], object]) -> None:
        self._call, self._reset = call, reset_peak()

    def run(self) -> TimedRun:
        """Make the call once, timed."""
        watch, before = OthersWatch(), page_faults()
        start = time.perf_counter()
        self._call()
        return TimedRun(time.perf_counter() - start, watch.share(), page_faults() - before)

    def peak(self) -> Peak:
        """Return the most memory of the process."""
        return peak(reset=self._reset)

    def waiting(self) -> str:
        """Return how threads were told to wait."""
        return waiting_words()

    def close(self) -> None:
        """Do nothing: the process ends by itself."""


@dataclass(frozen=True, slots=True)
class Turns:
    """Two jobs that ran in turns.

    Attributes:
        ours: what facerestore does.
        theirs: the plain form.
        ratio: how many times as fast ours is.
        peaks: most memory of each.
        waiting: how the threads of each were told to wait.
        faults: pages of memory that the system gave each in a run, the median; None where it does not tell.
        others: share of the processors that others took; None where it cannot be told.
        words: what was compared, for the table.
        extra: what else was found out, for programs.
    """

    words: str
    ours: Timing
    theirs: Timing
    ratio: Ratio
    peaks: tuple[Peak, Peak]
    waiting: tuple[str, str]
    faults: tuple[int | None, int | None]
    others: float | None
    extra: Mapping[str, Any] = field(default_factory=dict)

    @property
    def row(self) -> tuple[str, ...]:
        """What a table shows of it."""
        return (
            self.words,
            f"{seconds(self.theirs.median)} {spread(self.theirs)}",
            f"{seconds(self.ours.median)} {spread(self.ours)}",
            ratio_cell(self.ratio),
            megabytes(self.peaks[1].bytes),
            megabytes(self.peaks[0].bytes),
        )

    @property
    def facts(self) -> dict[str, Any]:
        """Everything, ready for JSON."""
        return {
            "what": self.words,
            "ours": self._side(0, self.ours),
            "theirs": self._side(1, self.theirs),
            "times_as_fast": ratio_facts(self.ratio),
            "others": self.others,
            **self.extra,
        }

    def _side(self, index: int, timing: Timing) -> dict[str, Any]:
        return {
            "seconds": timing_facts(timing),
            "peak": asdict(self.peaks[index]),
            "waiting": self.waiting[index],
            "page_faults": self.faults[index],
        }


TURNS_HEADINGS = ("", "plain form", "facerestore", "times as fast", "memory plain", "memory ours")


def ratio_cell(ratio: Ratio) -> str:
    """Return a ratio with its interval."""
    interval = "" if ratio.low is None or ratio.high is None else f" [{ratio.low:.2f}, {ratio.high:.2f}]"
    return f"{ratio.median:.2f}{interval}"


def compare_jobs(
    ours: BenchJob,
    theirs: BenchJob,
    *,
    repeats: int,
    words: str,
    extra: Mapping[str, Any] | None = None,
) -> Turns:
    """Run two jobs in turns, end their processes, and return what was measured."""
    say(f"{words}: {count(repeats, 'pair')}")
    try:
        runs = in_turns(ours, theirs, repeats=repeats, label=words)
        peaks, waiting = (ours.peak(), theirs.peak()), (ours.waiting(), theirs.waiting())
    finally:
        ours.close()
        theirs.close()
    first, second = (Timing(tuple(run.seconds for run in own)) for own in runs)
    return Turns(
        words=words,
        ours=first,
        theirs=second,
        ratio=run_ratio(runs),
        peaks=peaks,
        waiting=waiting,
        faults=(median_faults(runs[0]), median_faults(runs[1])),
        others=others_share([*runs[0], *runs[1]]),
        extra=extra or {},
    )


def turns_results(
    name: str, title: str, machine: Machine, turns: Sequence[Turns], notes: Sequence[str]
) -> Results:
    """Return the results of a benchmark that consists of pairs."""
    known = [own.others for own in turns if own.others is not None]
    notes = [*notes, *_process_notes(turns)]
    table = Table(title, TURNS_HEADINGS, tuple(own.row for own in turns), tuple(notes))
    facts = {"pairs": [own.facts for own in turns]}
    return Results(name, title, machine, [table], facts, others=max(known, default=None))


def _process_notes(turns: Sequence[Turns]) -> list[str]:
    """Return how the processes of both forms were set up, as they told it themselves."""
    notes = []
    for name, index in {"plain form": 1, "facerestore": 0}.items():
        waits = dict.fromkeys(own.waiting[index] for own in turns)
        pages = " and ".join(f"{own.faults[index]:,}" for own in turns if own.faults[index] is not None)
        asked = f"; {pages} pages of memory from the system in a run" if pages else ""
        notes.append(f"{name}: threads wait by {' or '.join(waits)}{asked}")
    return notes


def start() -> Machine:
    """Look at the machine before anything is measured."""
    return describe_machine()
