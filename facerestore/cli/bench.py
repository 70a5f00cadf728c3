"""``facerestore bench``: how fast the program is on this machine, and what makes it so."""

from __future__ import annotations

import sys
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from facerestore.cli.helping import paragraphs
from facerestore.cli.terminal import Terminal, is_plain
from facerestore.errors import ConfigError, MalformedError, parse_whole, refusing

if TYPE_CHECKING:
    from rich.console import Console

    from facerestore.bench.report import BenchReport
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

_NETWORK, _PHOTO, _HOW, _OUT = "Networks", "Photo", "How", "What is written"


def bench(
    what: Annotated[
        What, typer.Argument(metavar="all|line|networks", help="What to measure.", show_default=True)
    ] = What.ALL,
    backend: Annotated[
        str | None,
        typer.Option(
            metavar="NAME,...",
            help="Backends, weights by name or file, exported networks, or parsers (parsenet, bisenet); restorer+parser"
            " runs both. Unless given, the line with what 'enhance' takes, and whatever is installed.",
            rich_help_panel=_NETWORK,
        ),
    ] = None,
    random: Annotated[
        bool,
        typer.Option(
            "--random",
            help="Draw the weights at the published shapes; none need be installed. Speed does not depend on weights.",
            rich_help_panel=_NETWORK,
        ),
    ] = False,
    size: Annotated[
        str | None,
        typer.Option(
            metavar="PX,...|all",
            help="With --random: sides of the faces; the published sizes up to 512 unless given.",
            rich_help_panel=_NETWORK,
        ),
    ] = None,
    batch: Annotated[int, typer.Option(metavar="N", help="Faces in one call.", rich_help_panel=_NETWORK)] = 1,
    precision: Annotated[
        str, typer.Option(help="float32, bf16, fp16, or on CUDA tf32.", rich_help_panel=_NETWORK)
    ] = "float32",
    against: Annotated[
        str | None,
        typer.Option(
            metavar="REF",
            help="Run one network in turns with this (see below), and print the ratio.",
            rich_help_panel=_NETWORK,
        ),
    ] = None,
    photo: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="A photo of yours for the line; one is drawn unless given.",
            rich_help_panel=_PHOTO,
        ),
    ] = None,
    megapixels: Annotated[
        float, typer.Option(metavar="N", help="Size of the drawn photo.", rich_help_panel=_PHOTO)
    ] = 12.0,
    faces: Annotated[
        int, typer.Option(metavar="N", help="Faces in the drawn photo.", rich_help_panel=_PHOTO)
    ] = 4,
    detector: Annotated[
        str, typer.Option(help="auto, or a detector of 'facerestore detect'.", rich_help_panel=_PHOTO)
    ] = "auto",
    repeats: Annotated[
        int | None,
        typer.Option(
            metavar="N",
            help="Timed runs, after a warm-up; unless given 3 of the line, 5 of a network and 7 of a pair.",
            rich_help_panel=_HOW,
        ),
    ] = None,
    threads: Annotated[
        int, typer.Option(metavar="N", help="CPU threads; 0 for automatic.", rich_help_panel=_HOW)
    ] = 0,
    device: Annotated[
        str, typer.Option(help="auto, cpu, cuda, cuda:N or mps.", rich_help_panel=_HOW)
    ] = "auto",
    as_json: Annotated[
        Path | None,
        typer.Option(
            "--json", metavar="FILE.json", help="Also write everything to a file.", rich_help_panel=_OUT
        ),
    ] = None,
    quiet: Annotated[
        bool, typer.Option("-q", "--quiet", help="Print no table.", rich_help_panel=_OUT)
    ] = False,
) -> None:
    """Measure this program on this machine: the stages of the line, networks, or two of them in turns.

    Each stage from decoding to encoding is timed on a photo, and each network by itself: median and spread, operations,
    the share of the rate of a matrix product that it reaches, and memory. The networks are those that are installed, or
    with --random any, at their published shapes. Nothing is downloaded. Where others keep the machine busy it is said,
    since timings then mislead.
    """
    from facerestore.bench.report import check_json_name, write_json
    from facerestore.bench.request import BenchRequest, run_request

    if as_json is not None:
        check_json_name(as_json)
    request = BenchRequest(
        what=what.value,
        networks=listed(backend),
        random=random,
        sizes=parse_sizes(size),
        batch=batch,
        precision=precision,
        against=against,
        photo=photo,
        megapixels=megapixels,
        faces=faces,
        detector=detector,
        repeats=repeats,
        threads=threads,
        device=device,
    )
    terminal = Terminal(-1 if quiet else 0)
    with terminal.steps(1) as begin:
        begin("measuring")
        report = run_request(request, tell=terminal.detail)
    if as_json is not None:
        write_json(as_json, report.facts())
    if not quiet:
        _print(report)
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


def _print(report: BenchReport) -> None:
    """Print the machine, then each table."""
    from facerestore.bench.tables import line_table, machine_words, networks_table, pair_table

    screen = _console()
    screen.print(machine_words(report.machine))
    for line in report.lines:
        _print_table(screen, line_table(line))
    if report.networks:
        _print_table(screen, networks_table(report.networks))
    if report.pair is not None:
        _print_table(screen, pair_table(report.pair))


def _console() -> Console:
    """Return a console of at most `WIDTH` columns that takes text as it is."""
    from rich.console import Console

    found = Console(highlight=False, markup=False, emoji=False)
    width = min(found.width, WIDTH) if found.is_terminal else WIDTH
    return Console(highlight=False, markup=False, emoji=False, width=width)


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
