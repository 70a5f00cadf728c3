"""``facerestore evaluate``: measure how well faces are restored, and compare results that were measured alike."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from facerestore.cli import options
from facerestore.cli.evaluating import (
    JSON_FILE,
    MARKDOWN_FILE,
    Request,
    check_results_free,
    execute,
    report,
)
from facerestore.cli.terminal import Terminal
from facerestore.errors import ConfigError

_FACES, _METHODS, _NUMBERS, _OUT = "Faces", "Methods", "Numbers", "Results"

EPILOG = """Examples:

facerestore evaluate --hq val --degradation gfpgan --seed 7

facerestore evaluate --hq val --degradation severe --backend lite,gpen.bfr-512,my.pth --classical -o results

facerestore evaluate --lq degraded --hq originals --backend all --restored rival=their_pictures

facerestore evaluate --faces restored --reference real_faces --metrics niqe,fid,kid

facerestore evaluate --hq val --degradation gfpgan --manifest manifest.csv --group yaw_proxy=0.05,0.1

facerestore evaluate compare monday/evaluation.json today/evaluation.json"""

DEFAULT_SEED = 7  # that of the model cards

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

_Lq = Annotated[
    Path | None,
    typer.Option(
        metavar="DIR", help="Degraded faces, of the same names as those of --hq.", rich_help_panel=_FACES
    ),
]
_Hq = Annotated[Path | None, typer.Option(metavar="DIR", help="Original faces.", rich_help_panel=_FACES)]
_Degradation = Annotated[
    str | None,
    typer.Option(
        metavar="PRESET",
        help="Degrade the faces of --hq: gfpgan, severe, web, print, phone and others; the n-th by the seed and n.",
        rich_help_panel=_FACES,
    ),
]
_Seed = Annotated[int, typer.Option(metavar="N", min=0, help="Of the degradations.", rich_help_panel=_FACES)]
_Faces = Annotated[
    Path | None,
    typer.Option(metavar="DIR", help="Faces without originals, restored or not.", rich_help_panel=_FACES),
]
_Reference = Annotated[
    Path | None,
    typer.Option(
        metavar="DIR",
        help="Real faces that FID and KID compare with; the originals unless given.",
        rich_help_panel=_FACES,
    ),
]
_FaceSize = Annotated[
    int | None,
    typer.Option(
        metavar="PX",
        help="Side at which all is judged; the largest that a network gives, else 512. Originals are reduced, and never"
        " enlarged.",
        rich_help_panel=_FACES,
    ),
]
_Limit = Annotated[
    int | None,
    typer.Option(
        metavar="N", help="A quick look: only N faces, evenly over the folder.", rich_help_panel=_FACES
    ),
]
_Backend = Annotated[
    str | None,
    typer.Option(
        metavar="LIST",
        help="What restores: backends, names of weights or files, or all (whatever is installed); auto unless"
        " --restored or --faces is given.",
        rich_help_panel=_METHODS,
    ),
]
_Weights = Annotated[
    str | None,
    typer.Option(metavar="LIST", help="The same, as names of weights or files.", rich_help_panel=_METHODS),
]
_Parser = Annotated[
    str,
    typer.Option(
        metavar="NAME|FILE",
        help="Parser of the backends that need one; see 'enhance'.",
        rich_help_panel=_METHODS,
    ),
]
_Restored = Annotated[
    list[str] | None,
    typer.Option(
        metavar="[NAME=]DIR",
        help="Pictures that another program made, of the same names as the faces. Repeat it for more.",
        rich_help_panel=_METHODS,
    ),
]
_Classical = Annotated[
    bool,
    typer.Option(
        "--classical",
        help="Add non-local means and unsharp masking, tuned for PSNR on a seeded half of these faces.",
        rich_help_panel=_METHODS,
    ),
]
_Metrics = Annotated[
    str | None,
    typer.Option(
        metavar="LIST",
        help="Of psnr, ssim, ms-ssim, lpips, landmarks, identity, niqe, fid, kid; all that can be had unless given.",
        rich_help_panel=_NUMBERS,
    ),
]
_Manifest = Annotated[
    Path | None,
    typer.Option(metavar="FILE.csv", help="Facts of the faces, for --group.", rich_help_panel=_NUMBERS),
]
_Group = Annotated[
    list[str] | None,
    typer.Option(
        metavar="COLUMN[=EDGE,EDGE]",
        help="Also a table by this column: bins between the edges, else thirds of a number, or words. Repeat it for"
        " more.",
        rich_help_panel=_NUMBERS,
    ),
]
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
def evaluate(
    context: typer.Context,
    lq: _Lq = None,
    hq: _Hq = None,
    degradation: _Degradation = None,
    seed: _Seed = DEFAULT_SEED,
    faces: _Faces = None,
    reference: _Reference = None,
    face_size: _FaceSize = None,
    limit: _Limit = None,
    backend: _Backend = None,
    weights: _Weights = None,
    parser: _Parser = "auto",
    restored: _Restored = None,
    classical: _Classical = False,
    metrics: _Metrics = None,
    manifest: _Manifest = None,
    group: _Group = None,
    output: _Output = None,
    overwrite: _Overwrite = False,
    device: options.Device = None,
    threads: options.Threads = None,
    as_json: _AsJson = False,
    quiet: options.Quiet = False,
    no_progress: options.NoProgress = False,
) -> None:
    """Measure how well faces are restored."""
    if context.invoked_subcommand is not None:
        return
    request = Request(
        lq, hq, degradation, seed, faces, reference, face_size, limit, backend, weights, parser,
        tuple(restored or ()), classical, metrics, manifest, tuple(group or ()), output, overwrite,
        device or "auto", threads or 0, as_json,
    )  # fmt: skip
    terminal = Terminal(-1 if quiet else 0, stdout_taken=True, progress=not no_progress)
    raise typer.Exit(execute(request, terminal))


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
