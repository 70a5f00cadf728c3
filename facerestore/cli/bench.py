"""``facerestore bench``: how fast the program is on this machine, and what makes it so."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from facerestore.cli.helping import paragraphs
from facerestore.cli.options import command
from facerestore.cli.terminal import Terminal, console, is_plain
from facerestore.errors import ConfigError, MalformedError, parse_whole, refusing
from facerestore.fields import names_of, option

if TYPE_CHECKING:
    from rich.console import Console

    from facerestore.bench.report import BenchReport
    from facerestore.bench.request import BenchRequest
    from facerestore.bench.tables import Table

WIDTH = 100
"""Columns of a table at most."""


class What(StrEnum):
    """What is measured."""

    ALL = "all"
    LINE = "line"
    NETWORKS = "networks"


EPILOG = paragraphs(
    "What --against takes: words separated by commas, each of which changes one thing of the other side; all else is"
    " the same on both.",
    "reference: the plain published maths with the same weights, in place of the shipped form (bisenet, gpen, lite,"
    " parsenet, psfr).",
    "eager: our network as it is trained, before it is made quick for inference; of any backend.",
    "A backend, weights, a file or an exported network: another network, such as lite or onnx:gpen.onnx.",
    "random or installed: other weights, drawn or installed.",
    "threads=N, device=NAME, precision=float32|bf16|fp16|tf32, batch=N, size=PX, provider=NAME: another setting.",
    "The two run in turns, each in a process of its own; the ratio is that of the times for one face, pair by pair.",
    "Examples:",
    "facerestore bench",
    "facerestore bench line --photo photo.jpg --threads 1",
    "facerestore bench line --megapixels 48 --faces 20 --json line.json",
    "facerestore bench line --random --backend lite,gpen+bisenet --size all",
    "facerestore bench networks --random --backend gpen,psfr+parsenet --size 512",
    "facerestore bench --random --backend gpen --size 512 --against reference",
    "facerestore bench --backend gpen.bfr-512 --batch 4 --against reference,batch=1",
    "facerestore bench --against threads=1",
    "facerestore bench --backend onnx:gpen.onnx --against gpen.bfr-512",
    "facerestore bench --backend gpen --device cuda --precision fp16 --against precision=float32",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class BenchOptions:
    """What ``bench`` was asked for, as it was written."""

    what: What = option(What.ALL, argument=True, metavar="all|line|networks")
    """What to measure."""

    backend: str | None = option(None, metavar="NAME,...")
    """Backends, weights by name or file, exported networks, or parsers (parsenet, bisenet); restorer+parser runs both.
    Unless given, the line with what 'enhance' takes, and whatever is installed.
    """

    random: bool = option(False)
    """Draw the weights at the published shapes; none need be installed. Speed does not depend on weights."""

    size: str | None = option(None, metavar="PX,...|all")
    """With --random: sides of the faces; the published sizes up to 512 unless given."""

    batch: int = option(1, metavar="N")
    """Faces in one call."""

    precision: str = option("float32")
    """float32, bf16, fp16, or on CUDA tf32."""

    against: str | None = option(None, metavar="REF")
    """Run one network in turns with this (see below), and print the ratio."""

    photo: Path | None = option(None, metavar="FILE")
    """A photo of yours for the line; one is drawn unless given."""

    megapixels: float = option(12.0, metavar="N")
    """Size of the drawn photo."""

    faces: int = option(4, metavar="N")
    """Faces in the drawn photo."""

    detector: str = option("auto")
    """auto, or a detector of 'facerestore detect'."""

    repeats: int | None = option(None, metavar="N")
    """Timed runs, after a warm-up; unless given 3 of the line, 5 of a network and 7 of a pair."""

    threads: int = option(0, metavar="N")
    """CPU threads; 0 for automatic."""

    device: str = option("auto")
    """auto, cpu, cuda, cuda:N or mps."""

    as_json: Path | None = option(None, flags=("--json",), metavar="FILE.json")
    """Also write everything to a file."""

    quiet: bool = option(False, flags=("-q", "--quiet"))
    """Print no table."""

    def request(self) -> BenchRequest:
        """Return what is to be measured; raises ConfigError where options exclude each other or a value is unfit."""
        from facerestore.bench.request import BenchRequest

        own = {name: getattr(self, name) for name in names_of(BenchRequest) if hasattr(self, name)}
        own["what"] = self.what.value
        return BenchRequest(**own, networks=listed(self.backend), sizes=parse_sizes(self.size))


@command(
    {
        "Networks": "backend random size batch precision against",
        "Photo": "photo megapixels faces detector",
        "How": "repeats threads device",
        "What is written": "as_json quiet",
    },
    changes={"what": {"show_default": True}},
)
def bench(options: BenchOptions) -> None:
    """Measure this program on this machine: the stages of the line, networks, or two of them in turns.

    Each stage from decoding to encoding is timed on a photo, and each network by itself: median and spread, operations,
    the share of the rate of a matrix product that it reaches, and memory. The networks are those that are installed, or
    with --random any, at their published shapes. Nothing is downloaded. Where others keep the machine busy it is said,
    since timings then mislead.
    """
    from facerestore.bench.report import check_json_name, write_json
    from facerestore.bench.request import run_request

    if options.as_json is not None:
        check_json_name(options.as_json)
    request = options.request()
    terminal = Terminal(-1 if options.quiet else 0)
    with terminal.steps(1) as begin:
        begin("measuring")
        report = run_request(request, tell=terminal.detail)
    if options.as_json is not None:
        write_json(options.as_json, report.facts())
    if not options.quiet:
        _print_report(report)
    for warning in report.warnings:
        terminal.warn(f"warning: {warning}")
    for failure in report.failures:
        terminal.warn(f"error: not measured: {failure}")
    if report.failures:
        raise typer.Exit(3 if report.lines or report.networks else 1)


def listed(text: str | None) -> tuple[str, ...]:
    """Return the words of a list such as ``gpen,lite``; none for None."""
    return () if text is None else tuple(word.strip() for word in text.split(","))


def parse_sizes(text: str | None) -> tuple[int, ...] | None:
    """Return the sizes of a list such as ``256,512``; none for ``all``, and None where nothing was said.

    Raises:
        ConfigError: an item is no positive whole number.
    """
    if text is None:
        return None
    if text == "all":
        return ()
    with refusing(
        lambda why: ConfigError(f"--size is '{text[:80]}'; give pixels such as 256,512, or all: {why}")
    ):
        sizes = tuple(parse_whole(word) for word in listed(text))
        if 0 in sizes:
            raise MalformedError("0 is no size")
    return sizes


def _print_report(report: BenchReport) -> None:
    """Print the machine, then each table."""
    from facerestore.bench.tables import line_table, machine_words, networks_table, pair_table

    screen = console(least=WIDTH, most=WIDTH)
    screen.print(machine_words(report.machine))
    for line in report.lines:
        _print_table(screen, line_table(line))
    if report.networks:
        _print_table(screen, networks_table(report.networks))
    if report.pair is not None:
        _print_table(screen, pair_table(report.pair))


def _print_table(screen: Console, table: Table) -> None:
    from rich import box
    from rich.padding import Padding
    from rich.table import Table as RichTable

    drawn = RichTable(box=box.ASCII2 if is_plain(sys.stdout) else box.SIMPLE, pad_edge=False)
    for index, heading in enumerate(table.headings):
        drawn.add_column(heading, justify="right" if index else "left", overflow="fold", no_wrap=index > 0)
    for row in table.rows:
        drawn.add_row(*row)
    screen.print(f"\n{table.title}")
    screen.print(drawn)
    for note in table.notes:
        screen.print(Padding(note, (0, 0, 0, 2)))
