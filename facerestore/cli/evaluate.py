"""``facerestore evaluate``: measure how well faces are restored, and compare results that were measured alike."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from facerestore.cli.evaluating import (
    JSON_FILE,
    MARKDOWN_FILE,
    EvaluationRequest,
    check_results_free,
    execute,
    report,
)
from facerestore.cli.options import command
from facerestore.errors import ConfigError

_OUT = "Results"

EPILOG = """Examples:

facerestore evaluate --hq val --degradation gfpgan --seed 7

facerestore evaluate --hq val --degradation severe --backend lite,gpen.bfr-512,my.pth --classical -o results

facerestore evaluate --lq degraded --hq originals --backend all --restored rival=their_pictures

facerestore evaluate --faces restored --reference real_faces --metrics niqe,fid,kid

facerestore evaluate --hq val --degradation gfpgan --manifest manifest.csv --group yaw_proxy=0.05,0.1

facerestore evaluate compare monday/evaluation.json today/evaluation.json"""

evaluate_app = typer.Typer(
    invoke_without_command=True,
    no_args_is_help=True,
    epilog=EPILOG,
    help=(
        "Measure how well faces are restored, as a table with intervals and its whole protocol.\n\n"
        "The faces are aligned crops: pairs (--lq and --hq), originals that a preset degrades (--hq and"
        " --degradation), or faces without originals (--faces). Rows for the input and for bicubic interpolation"
        " always stand in the table. A metric that cannot be had on this machine is listed with the reason and the"
        " command that would bring it; nothing is downloaded. A bad picture stops nothing: it is named, and left out of"
        " every row (exit code 3)."
    ),
)

_Output = Annotated[
    Path | None,
    typer.Option(
        "-o",
        "--output",
        metavar="DIR",
        help=f"Write {MARKDOWN_FILE}, {JSON_FILE} (with every face's values) and cases_METHOD.png (best and worst).",
        rich_help_panel=_OUT,
    ),
]
_Overwrite = Annotated[
    bool, typer.Option("--overwrite", help="Replace results that exist.", rich_help_panel=_OUT)
]
_AsJson = Annotated[
    bool, typer.Option("--json", help="Print JSON instead of Markdown.", rich_help_panel=_OUT)
]


@evaluate_app.callback()
@command(
    {
        "Faces": "lq hq degradation seed faces reference face_size limit",
        "Methods": "backend weights parser restored classical",
        "Numbers": "metrics manifest group",
        _OUT: "output overwrite as_json",
        "Machine": "device threads",
        "What is said": "quiet no_progress",
    }
)
def evaluate(context: typer.Context, request: EvaluationRequest) -> None:
    """Measure how well faces are restored."""
    if context.invoked_subcommand is None:
        raise typer.Exit(execute(request))


@evaluate_app.command("compare")
def compare(
    results: Annotated[list[Path], typer.Argument(metavar="EVALUATION.json...", help="Two results or more.")],
    against: Annotated[
        str, typer.Option(metavar="METHOD", help="The method that gains are over, face by face.")
    ] = "input",
    output: _Output = None,
    overwrite: _Overwrite = False,
    as_json: _AsJson = False,
) -> None:
    """Merge results into one table, or say in what they were not measured alike.

    Methods of both stand side by side on the same faces; results whose faces, degradations, face sizes, networks or
    settings differ are refused, and each difference is named.
    """
    from facerestore.evaluation.comparison import Named, merge
    from facerestore.evaluation.result import read_evaluation

    if len(results) < 2:
        raise ConfigError("one result has nothing to be compared with; give two or more")
    check_results_free(output, overwrite)
    first, *others = [Named(str(path), read_evaluation(path)) for path in results]
    notes: list[str] = []
    for other in others:
        merged, more = merge(first, other)
        first = Named(first.name, merged)
        notes += more
    names = [method.name for method in first.evaluation.methods]
    if against not in names:
        raise ConfigError(f"--against is '{against}'; the methods are {', '.join(names)}")
    report(first.evaluation, output, overwrite, as_json, against=against, notes=notes)
