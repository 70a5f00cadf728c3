"""``facerestore export``: write a network as a file that other programs run, and compare it at once."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from facerestore.cli.terminal import Terminal, megabytes, print_json
from facerestore.errors import count

if TYPE_CHECKING:
    from facerestore.export import Exported

EPILOG = """Examples:

facerestore export lite

facerestore export gpen.bfr-512 -o gpen.onnx

facerestore export lite --format openvino

facerestore export gpen --weights mine.safetensors -o mine.torchscript

facerestore export codeformer --fidelity 0.8 --half

facerestore export psfr --random

What comes of it is a backend:

facerestore enhance photo.jpg --backend onnx:gpen.onnx

facerestore enhance photo.jpg --backend onnx:gpen.onnx --provider cuda

facerestore enhance photo.jpg --backend openvino:lite.clean-256.xml

facerestore backends info onnx:gpen.onnx

Packages: pip install "facerestore\\[onnx]" or "facerestore\\[openvino]"; TorchScript needs none."""


def export(
    name: Annotated[
        str,
        typer.Argument(
            metavar="BACKEND",
            help="A name of 'facerestore backends list', or weights by a name of 'facerestore weights list'.",
        ),
    ],
    output: Annotated[
        Path | None,
        typer.Option(
            "-o",
            "--output",
            metavar="FILE",
            help="The file; its ending tells the format: .onnx, .xml or .torchscript. NAME.onnx in this directory,"
            " after the weights, unless given.",
        ),
    ] = None,
    format: Annotated[
        str | None, typer.Option(help="onnx, openvino or torchscript; onnx unless -o tells another.")
    ] = None,
    weights: Annotated[
        str | None,
        typer.Option(
            metavar="NAME|FILE", help="Export these weights; unless given, those that 'enhance' takes."
        ),
    ] = None,
    random: Annotated[
        bool, typer.Option("--random", help="Export a small network with random weights, to try it out.")
    ] = False,
    half: Annotated[
        bool,
        typer.Option(
            "--half",
            help="In float16: half the size. ONNX also computes so, but for styles and norms, where the provider can;"
            " a CPU cannot, and is slower with it. The comparison then allows 0.02.",
        ),
    ] = False,
    fidelity: Annotated[
        float | None,
        typer.Option(metavar="0..1", help="For codeformer: it becomes part of the file. 0.5 unless given."),
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace a file that exists.")] = False,
    threads: Annotated[
        int, typer.Option(metavar="N", help="CPU threads of the comparison; 0 for automatic.")
    ] = 0,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON; text goes to standard error.")] = False,
    quiet: Annotated[bool, typer.Option("-q", "--quiet", help="Print errors only.")] = False,
    no_progress: Annotated[bool, typer.Option("--no-progress", help="Show no progress bar.")] = False,
) -> None:
    """Write a network as a file that other programs run: ONNX, OpenVINO or TorchScript; and compare it at once.

    The file is loaded again and given four fixed faces. Where any value that it gives departs from the network's own by
    more than 0.001 of the output's standard deviation, that is a failure: no file is left, and the exit code is 1. The
    seconds that either takes for a face, in turn on this CPU, are told too.

    The face size is fixed, any number of faces may be given at once, parameters are inside (OpenVINO has them in a .bin
    beside the .xml). Input and output are float32 B 3 S S RGB; psfr takes a second input, a map of CelebAMask-HQ class
    ids, uint8 B S S. The file tells its face size and value range, and carries licence and source of the weights: what
    is not for commercial use stays so.

    A file of another program can be a backend too, if the same is stated beside it, in FILE.toml; trying it says what
    is missing. TorchScript files hold code that torch runs: take only your own, or those of people you trust.
    """
    from facerestore.device import keep_freed_memory, set_threads
    from facerestore.export import (
        STEPS,
        Wanted,
        check_target,
        default_path,
        export_network,
        format_of,
        open_export,
    )
    from facerestore.weights import WeightsStore

    kind = format_of(output, format)
    wanted = Wanted(name=name, weights=weights, random=random, fidelity=fidelity)
    store = WeightsStore(offline=True)
    target = output if output is not None else default_path(wanted, store, format=kind)
    check_target(target, format=kind, half=half, overwrite=overwrite)
    keep_freed_memory()
    set_threads(threads)
    terminal = Terminal(-1 if quiet else 0, as_json, not no_progress)
    with terminal.steps(len(STEPS) + 1) as begin:
        begin("loading the weights")
        subject = open_export(wanted, store)
        terminal.say(f"exporting {subject.record.weights} ({subject.shipped.name}) to {kind}")
        exported = export_network(
            subject, target, format=kind, half=half, overwrite=overwrite, threads=threads, on_step=begin
        )
    _tell(exported, terminal)
    if as_json:
        print_json(_facts(exported))


def _tell(exported: Exported, terminal: Terminal) -> None:
    """Say what was written, how close it is and how to use it."""
    record, parity = exported.record, exported.parity
    batch = "any number of faces at once" if record.max_batch == 0 else "one face at once"
    files = " and ".join(str(path) for path in exported.files)
    terminal.say(
        f"wrote {files}, {megabytes(exported.size_bytes)}: {record.input_size} px faces, {record.precision}, {batch};"
        f" {record.exporter}"
    )
    terminal.say(f"terms: {record.origin}; source {record.source}")
    terminal.say(f"parity: {parity.told}")
    own, other = parity.seconds
    terminal.say(
        f"seconds a face, median of calls in turn: {own:.3f} in torch on the cpu, {other:.3f} on {parity.place},"
        f" {own / other:.2f} times as fast; {count(parity.threads, 'thread')}"
    )
    terminal.say(f"to use it: facerestore enhance photo.jpg --backend {exported.name}")


def _facts(exported: Exported) -> dict[str, Any]:
    """Return all of it, ready for JSON."""
    from dataclasses import asdict

    return {
        "backend": exported.name,
        "files": [str(path) for path in exported.files],
        "size_bytes": exported.size_bytes,
        "sha256": exported.sha256,
        "record": asdict(exported.record),
        "parity": {**asdict(exported.parity), "passed": exported.parity.passed},
    }
