"""``facerestore backends``: see which restoration networks there are, and check that one keeps the contract."""

from __future__ import annotations

import shutil
import textwrap
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from facerestore.cli.helping import paragraphs, subcommand
from facerestore.cli.terminal import print_json
from facerestore.cli.weights import automatic_choice

if TYPE_CHECKING:
    from facerestore.backends.description import BackendDetails, BackendSummary, BackendWeights
    from facerestore.backends.exported import ExportedFile
    from facerestore.testing.contract import Finding

INDENT = "    "
LEAST_WIDTH = 60
MOST_WIDTH = 110


backends_app = typer.Typer(
    no_args_is_help=True,
    help=paragraphs(
        "See which restoration networks there are, and check that one keeps the contract.",
        "A backend is a kind of network; its weights are files of their own ('facerestore weights'). Other Python "
        "packages may bring more backends: examples/custom_backend shows how to write one. Once its package is "
        "installed, 'facerestore enhance --backend NAME' uses it.",
    ),
    epilog=paragraphs(
        "To begin:",
        "facerestore backends list",
        "facerestore backends info gpen",
        "facerestore backends check lite",
    ),
)

_Name = Annotated[
    str,
    typer.Argument(
        metavar="NAME", help="A name of 'facerestore backends list', or an exported file: onnx:FILE."
    ),
]
_Json = Annotated[bool, typer.Option("--json", help="Print JSON for programs instead of text.")]


@subcommand(backends_app, "list", "facerestore backends list", "facerestore backends list --json")
def list_command(as_json: _Json = False) -> None:
    """List all backends: what each is, which weights of it are here and on what terms, and who brings it.

    A backend of another package that cannot be used is shown as broken, with the reason; the others work all the same.
    The last line says which weights the automatic choice takes now, for which faces.
    """
    from facerestore.backends.description import summarise_backends
    from facerestore.weights import WeightsStore

    store = WeightsStore(offline=True)
    summaries = summarise_backends(store)
    if as_json:
        print_json([_summary_facts(summary) for summary in summaries])
        return
    name_width = max(len(summary.name) for summary in summaries) + 2
    for summary in summaries:
        _print_summary(summary, name_width)
    _print_wrapped(automatic_choice(store), "")


@subcommand(backends_app, "info", "facerestore backends info gpen", "facerestore backends info lite --json")
def info_command(name: _Name, as_json: _Json = False) -> None:
    """Show all about one backend: paper, sizes, cost, weights and terms, and how to get weights.

    Parameters and operations are counted, not quoted: the network is laid out at each published size without weights.
    Of an exported network (onnx:FILE and the like), show what its file says of itself.
    """
    from facerestore.backends.description import describe_backend
    from facerestore.backends.exported import exported_file
    from facerestore.weights import WeightsStore

    if (exported := exported_file(name)) is not None:
        _show_exported(exported, as_json=as_json)
        return
    details = describe_backend(name, WeightsStore(offline=True))
    if as_json:
        print_json(_details_facts(details))
    else:
        _print_details(details)


@subcommand(
    backends_app,
    "check",
    "facerestore backends check lite",
    "facerestore backends check gpen --random",
    "facerestore backends check mine --weights mine.safetensors --device cuda",
    "facerestore backends check onnx:gpen.onnx",
)
def check_command(
    name: _Name,
    weights: Annotated[
        str | None,
        typer.Option(
            metavar="NAME|FILE", help="Check with these weights; unless given, with those 'enhance' takes."
        ),
    ] = None,
    random: Annotated[
        bool,
        typer.Option(
            "--random",
            help="Check the adapter with a small network of random weights, where the backend offers one.",
        ),
    ] = False,
    device: Annotated[str | None, typer.Option(help="auto, cpu, cuda, cuda:N or mps.")] = None,
    provider: Annotated[
        str | None, typer.Option(metavar="NAME", help="What runs an exported network; see 'enhance'.")
    ] = None,
    as_json: _Json = False,
) -> None:
    """Check that a backend keeps the contract: form, value range, colours, repeatability, batches, bad input and more.

    About twenty drawn faces are restored. What cannot be told (the colours of a network with random weights, say) is
    marked ?? and is no fault. Exit code 1 if a clause is broken, 4 if no weights are installed.
    """
    from dataclasses import asdict

    from facerestore.testing.contract import Verdict, iterate_findings

    subject = _open_subject(name, weights=weights, random=random, device=device, provider=provider)
    title = f"{subject.restorer.name}: {subject.label}, on {subject.device}"
    if not as_json:
        typer.echo(title)
    findings: list[Finding] = []
    for found in iterate_findings(subject.restorer, random_weights=subject.random_weights):
        findings.append(found)
        if not as_json:
            _print_finding(found)
    broken = sum(found.verdict is Verdict.FAILED for found in findings)
    if as_json:
        print_json(
            {
                "backend": name,
                "subject": subject.label,
                "device": subject.device,
                "ok": not broken,
                "findings": [asdict(found) | {"verdict": found.verdict.value} for found in findings],
            }
        )
    else:
        typer.echo(_verdict_line(findings, broken))
    raise typer.Exit(1 if broken else 0)


def _open_subject(
    name: str, *, weights: str | None, random: bool, device: str | None, provider: str | None
) -> Any:
    """Return what is to be checked."""
    from facerestore.config import RestoreConfig
    from facerestore.testing.subject import open_example, open_subject
    from facerestore.weights import WeightsStore

    if not random:
        config = RestoreConfig(backend=name, weights=weights, device=device or "auto", provider=provider)
        return open_subject(config, WeightsStore(offline=True))
    if weights is not None:
        raise typer.BadParameter("it excludes --weights; give one of both", param_hint="--random")
    return open_example(name, device=device or "auto")


def _print_summary(summary: BackendSummary, name_width: int) -> None:
    """Print a backend in a few lines."""
    if summary.problem is not None:
        typer.echo(f"{summary.name:<{name_width}}BROKEN, from {summary.package}")
        _print_wrapped(summary.problem)
        return
    parser = "parsing map" if summary.descriptor.needs_parsing else "no parsing map"
    typer.echo(
        f"{summary.name:<{name_width}}{_size_words(summary.face_sizes):<17}{parser:<16}from {summary.package}"
    )
    if summary.descriptor.summary:
        _print_wrapped(summary.descriptor.summary)
    for module in summary.missing:
        _print_wrapped(f"needs the Python package {module}, which is not installed")
    _print_wrapped(_weights_line(summary))


def _weights_line(summary: BackendSummary) -> str:
    """Return which weights are here, or how to get some."""
    if not summary.descriptor.needs_weights:
        return "needs no weights"
    if here := [w for w in summary.weights if w.here]:
        more = _ways_to_weights(summary)[0] if _only_bundled(summary) else ""
        named = ", ".join(f"{w.name} ({_terms_words(w)})" for w in here)
        return f"weights here: {named}" + (f"; larger ones: {more}" if more else "")
    if not summary.weights:
        return "no weights are published; give a file with --weights"
    return f"no weights here; {_ways_to_weights(summary)[0]}"


def _only_bundled(summary: BackendSummary) -> bool:
    """Say whether all weights that are here came with facerestore, and there are others."""
    states = {w.state for w in summary.weights if w.here}
    return states == {"bundled"} and any(not w.here for w in summary.weights)


def _ways_to_weights(summary: BackendSummary) -> list[str]:
    """Return how to get weights of a backend that are not here."""
    absent = [w for w in summary.weights if not w.here]
    lines = [
        f"facerestore weights download {w.name} ({_terms_words(w)})"
        for w in [w for w in absent if w.downloadable][:1]
    ]
    lines += [
        f"facerestore weights import {w.name} FILE ({_terms_words(w)}; no direct address)"
        for w in [w for w in absent if not w.downloadable][:1]
    ]
    return lines or [summary.unpublished or "give a file with --weights"]


def _terms_words(weights: BackendWeights) -> str:
    uses = {"yes": "free to use", "no": "non-commercial", "unclear": "commercial use unclear"}
    return f"{weights.licence}, {uses[weights.commercial_use]}"


def _size_words(sizes: Sequence[int]) -> str:
    if not sizes:
        return "size by weights"
    return f"{sizes[0]} px" if len(sizes) == 1 else f"{sizes[0]} to {sizes[-1]} px"


def _print_details(details: BackendDetails) -> None:
    """Print all that is known of a backend."""
    summary = details.summary
    rows = {
        "backend": summary.name,
        "what": summary.descriptor.summary or "not stated",
        "paper": summary.descriptor.paper or "not stated",
        "from": f"{summary.package} ({summary.location})",
        **summary.descriptor.in_words(),
        "faces": _size_words(summary.face_sizes),
        "options": " ".join(details.options) or "none but those of every backend",
        "check": f"facerestore backends check {summary.name}" + (" --random" if details.has_example else ""),
    }
    if summary.missing:
        rows["missing"] = f"Python package {', '.join(summary.missing)}: its networks cannot be made"
    width = max(map(len, rows)) + 2
    for key, value in rows.items():
        _print_wrapped(value, f"{key:<{width}}", " " * width)
    _print_sizes(details)
    _print_weights(summary)


def _show_exported(file: ExportedFile, *, as_json: bool) -> None:
    """Show what an exported network says of itself."""
    from dataclasses import asdict

    from facerestore.backends.exported import read_record

    facts = asdict(read_record(file))
    facts = {"backend": file.name, "network": facts.pop("backend"), **facts}
    if as_json:
        print_json(facts)
        return
    width = max(map(len, facts)) + 2
    for key, value in facts.items():
        if value is not None:
            typer.echo(f"{key.replace('_', ' '):<{width}}{value}")


def _print_sizes(details: BackendDetails) -> None:
    if not details.sizes:
        return
    typer.echo(f"\n{'network':<12}{'input':>10}{'parameters':>14}{'GFLOPs a face':>16}")
    for size in details.sizes:
        typer.echo(
            f"{f'{size.face_size} px':<12}{f'{size.input_size} px':>10}"
            f"{f'{size.parameters / 1e6:.2f} M':>14}{size.gflops:>16.1f}"
        )
    typer.echo("counted on the network's layout; a multiply-add is two operations")


def _print_weights(summary: BackendSummary) -> None:
    if not summary.descriptor.needs_weights:
        typer.echo("\nneeds no weights")
        return
    if not summary.weights:
        typer.echo("\nno weights in the catalog")
        _print_wrapped(_ways_to_weights(summary)[0])
        return
    width = max(len(w.name) for w in summary.weights) + 2
    typer.echo(f"\n{'weights':<{width}}{'here':<11}{'for':<12}terms")
    for w in summary.weights:
        typer.echo(f"{w.name:<{width}}{w.state if w.here else 'no':<11}{w.purpose:<12}{_terms_words(w)}")
    if any(not w.here for w in summary.weights):
        typer.echo("to get weights:")
        for line in _ways_to_weights(summary):
            _print_wrapped(line)


def _print_finding(found: Finding) -> None:
    from facerestore.testing.contract import Verdict

    mark = {Verdict.PASSED: "ok", Verdict.FAILED: "!!", Verdict.UNCLEAR: "??"}[found.verdict]
    said = found.measured if not found.remedy else f"{found.measured}; {found.remedy}"
    start = f"  {mark}  {found.name:<12}  "
    _print_wrapped(said, start, " " * len(start))


def _verdict_line(findings: Sequence[Finding], broken: int) -> str:
    from facerestore.testing.contract import Verdict

    unclear = sum(found.verdict is Verdict.UNCLEAR for found in findings)
    counts = f"{len(findings) - broken - unclear} passed, {broken} failed, {unclear} could not tell"
    return f"{'what is marked !! breaks the contract' if broken else 'the contract is kept'}: {counts}"


def _print_wrapped(text: str, start: str = INDENT, indent: str = INDENT) -> None:
    """Print a text in lines of the terminal's width, each but the first behind an indent."""
    width = min(max(shutil.get_terminal_size().columns, LEAST_WIDTH), MOST_WIDTH)
    wrapper = textwrap.TextWrapper(width, start, indent, break_on_hyphens=False, break_long_words=False)
    typer.echo(wrapper.fill(text))


def _summary_facts(summary: BackendSummary) -> dict[str, Any]:
    """Return a summary with what the backend says of itself beside the rest, not below."""
    from dataclasses import asdict

    facts = asdict(summary)
    return {**facts.pop("descriptor"), **facts}


def _details_facts(details: BackendDetails) -> dict[str, Any]:
    """Return the details with those of the summary beside them, not below."""
    from dataclasses import asdict

    facts = asdict(details)
    del facts["summary"]
    return {**_summary_facts(details.summary), **facts}
