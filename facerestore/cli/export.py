"""``facerestore export``: write a network as a file that other programs run, and compare it at once."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from facerestore.cli.options import Spoken, command
from facerestore.cli.terminal import Terminal, megabytes, print_json
from facerestore.errors import count
from facerestore.fields import option

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


@dataclass(frozen=True, slots=True, kw_only=True)
class ExportOptions(Spoken):
    """What ``export`` was asked for."""

    name: str = option(argument=True, metavar="BACKEND")
    """A name of 'facerestore backends list', or weights by a name of 'facerestore weights list'."""

    output: Path | None = option(None, flags=("-o", "--output"), metavar="FILE")
    """The file; its ending tells the format: .onnx, .xml or .torchscript. NAME.onnx in this directory, after the
    weights, unless given.
    """

    format: str | None = option(None)
    """onnx, openvino or torchscript; onnx unless -o tells another."""

    weights: str | None = option(None, metavar="NAME|FILE")
    """Export these weights; unless given, those that 'enhance' takes."""

    random: bool = option(False)
    """Export a small network with random weights, to try it out."""

    half: bool = option(False)
    """In float16: half the size. ONNX also computes so, but for styles and norms, where the provider can; a CPU cannot,
    and is slower with it. The comparison then allows 0.02.
    """

    fidelity: float | None = option(None, metavar="0..1")
    """For codeformer: it becomes part of the file. 0.5 unless given."""

    overwrite: bool = option(False)
    """Replace a file that exists."""

    threads: int = option(0, metavar="N")
    """CPU threads of the comparison; 0 for automatic."""

    as_json: bool = option(False, flags=("--json",))
    """Print JSON; text goes to standard error."""


@command({"": "* quiet no_progress"})
def export(asked: ExportOptions) -> None:
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
    from facerestore.engines.device import keep_freed_memory, set_threads
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

    kind = format_of(asked.output, asked.format)
    wanted = Wanted(name=asked.name, weights=asked.weights, random=asked.random, fidelity=asked.fidelity)
    store = WeightsStore(offline=True)
    target = asked.output if asked.output is not None else default_path(wanted, store, format=kind)
    check_target(target, format=kind, half=asked.half, overwrite=asked.overwrite)
    keep_freed_memory()
    set_threads(asked.threads)
    terminal = asked.terminal(stdout_taken=asked.as_json)
    with terminal.steps(len(STEPS) + 1) as begin:
        begin("loading the weights")
        subject = open_export(wanted, store)
        terminal.say(f"exporting {subject.record.weights} ({subject.shipped.name}) to {kind}")
        exported = export_network(
            subject,
            target,
            format=kind,
            half=asked.half,
            overwrite=asked.overwrite,
            threads=asked.threads,
            on_step=begin,
        )
    _tell_exported(exported, terminal)
    if asked.as_json:
        print_json(_export_facts(exported))


def _tell_exported(exported: Exported, terminal: Terminal) -> None:
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


def _export_facts(exported: Exported) -> dict[str, Any]:
    """Return all of it, ready for JSON."""
    return {
        "backend": exported.name,
        "files": [str(path) for path in exported.files],
        "size_bytes": exported.size_bytes,
        "sha256": exported.sha256,
        "record": asdict(exported.record),
        "parity": {**asdict(exported.parity), "passed": exported.parity.passed},
    }
