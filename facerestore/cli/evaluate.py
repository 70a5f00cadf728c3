"""``facerestore evaluate``: measure how well faces are restored, and compare results that were measured alike."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from facerestore.cli.evaluation_files import Results, check_free, write_report
from facerestore.cli.guard_limits import measure_limits
from facerestore.cli.helping import paragraphs, subcommand
from facerestore.cli.options import command
from facerestore.cli.terminal import Terminal
from facerestore.errors import ConfigError, count
from facerestore.fields import option

if TYPE_CHECKING:
    from facerestore.evaluation.cases import CaseFiles, CaseSource
    from facerestore.evaluation.methods import Method, Network
    from facerestore.evaluation.metrics import Setting
    from facerestore.evaluation.result import Evaluation, Failure
    from facerestore.evaluation.run import Order
    from facerestore.weights import WeightsStore

_OUT = "Results"

DEFAULT_SEED = 7  # that of the model cards

LEAST_FACE_PX = 16
"""Smallest face that is judged: as small as 'data degrade' and training go; SSIM needs 11 px."""

EPILOG = """Examples:
facerestore evaluate --hq val --degradation gfpgan --seed 7
facerestore evaluate --hq val --degradation severe --backend lite,gpen.bfr-512,my.pth --classical -o results
facerestore evaluate --lq degraded --hq originals --backend all --restored rival=their_pictures
facerestore evaluate --faces restored --reference real_faces --metrics niqe,fid,kid
facerestore evaluate --hq val --degradation gfpgan --backend lite.clean-256,lite.detail-256 --blind 40 -o results
facerestore evaluate --hq val --degradation gfpgan --manifest manifest.csv --group yaw_proxy=0.05,0.1
facerestore evaluate compare monday/evaluation.json today/evaluation.json
facerestore evaluate limits arcface.ir-se50 FACES"""

evaluate_app = typer.Typer(
    invoke_without_command=True,
    no_args_is_help=True,
    epilog=paragraphs(EPILOG),
    help=(
        "Measure how well faces are restored, as a table with intervals and its whole protocol.\n\n"
        "The faces are aligned crops: pairs (--lq and --hq), originals that a preset degrades (--hq and"
        " --degradation), or faces without originals (--faces). Rows for the input and for bicubic interpolation"
        " always stand in the table. A metric that cannot be had on this machine is listed with the reason and the"
        " command that would bring it; nothing is downloaded. A bad picture stops nothing: it is named, and left out of"
        " every row (exit code 3)."
    ),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class EvaluationRequest(Results):
    """What ``evaluate`` was asked for."""

    lq: Path | None = option(None, metavar="DIR")
    """Degraded faces, of the same names as those of --hq."""

    hq: Path | None = option(None, metavar="DIR")
    """Original faces."""

    degradation: str | None = option(None, metavar="PRESET")
    """Degrade the faces of --hq: gfpgan, severe, web, print, phone and others; the n-th by the seed and n."""

    seed: int = option(DEFAULT_SEED, least=0, metavar="N")
    """Of the degradations."""

    faces: Path | None = option(None, metavar="DIR")
    """Faces without originals, restored or not."""

    reference: Path | None = option(None, metavar="DIR")
    """Real faces that FID and KID compare with; the originals unless given."""

    face_size: int | None = option(None, metavar="PX")
    """Side at which all is judged; the largest that a network gives, else 512. Originals are reduced, and never
    enlarged.
    """

    limit: int | None = option(None, metavar="N")
    """A quick look: only N faces, evenly over the folder."""

    backend: str | None = option(None, metavar="LIST")
    """What restores: backends, names of weights or files, or all (whatever is installed); auto (the weights
    that come first, by themselves) unless --restored or --faces is given.
    """

    weights: str | None = option(None, metavar="LIST")
    """The same, as names of weights or files."""

    parser: str = option("auto", metavar="NAME|FILE")
    """Parser of the backends that need one; see 'enhance'."""

    restored: tuple[str, ...] = option((), metavar="[NAME=]DIR")
    """Pictures that another program made, of the same names as the faces. Repeat it for more."""

    classical: bool = option(False)
    """Add non-local means and unsharp masking, tuned for PSNR on a seeded half of these faces."""

    metrics: str | None = option(None, metavar="LIST")
    """Of psnr, ssim, ms-ssim, lpips, landmarks, identity, identity-distance, same-person, fine-energy, grid-energy,
    niqe, fid, kid, and what packages add; all that can be had unless given.
    """

    blind: int | None = option(None, least=1, metavar="N")
    """Also draw a blind sheet of N faces for the eye into -o: two methods side by side in random order, unnamed
    (blind_1.png and so on), and what is what (blind_key.csv).
    """

    manifest: Path | None = option(None, metavar="FILE.csv")
    """Facts of the faces, for --group."""

    group: tuple[str, ...] = option((), metavar="COLUMN[=EDGE,EDGE]")
    """Also a table by this column: bins between the edges, else thirds of a number, or words. Repeat it for more."""

    device: str | None = option(None)
    """auto, cpu, cuda, cuda:N or mps."""

    threads: int | None = option(None, metavar="N")
    """CPU threads; 0 for automatic."""


@evaluate_app.callback()
@command(
    {
        "Faces": "lq hq degradation seed faces reference face_size limit",
        "Methods": "backend weights parser restored classical",
        "Numbers": "metrics manifest group",
        _OUT: "output blind overwrite as_json",
        "Machine": "device threads",
        "What is said": "quiet no_progress",
    }
)
def evaluate(context: typer.Context, request: EvaluationRequest) -> None:
    """Measure how well faces are restored."""
    if context.invoked_subcommand is None:
        raise typer.Exit(_measure_and_report(request))


@dataclass(frozen=True, slots=True, kw_only=True)
class CompareRequest(Results):
    """What ``evaluate compare`` was asked for."""

    results: tuple[Path, ...] = option(argument=True, metavar="EVALUATION.json...")
    """Two results or more."""

    against: str = option("input", metavar="METHOD")
    """The method that gains are over, face by face."""


@subcommand(evaluate_app, "compare")
@command({"": "against", _OUT: "output overwrite as_json"})
def compare(asked: CompareRequest) -> None:
    """Merge results into one table, or say in what they were not measured alike.

    Methods of both stand side by side on the same faces; results whose faces, degradations, face sizes, networks or
    settings differ are refused, and each difference is named.
    """
    from facerestore.evaluation.comparison import Named, merge
    from facerestore.evaluation.result import read_evaluation

    if len(asked.results) < 2:
        raise ConfigError("one result has nothing to be compared with; give two or more")
    check_free(asked)
    first, *others = [Named(str(path), read_evaluation(path)) for path in asked.results]
    notes: list[str] = []
    for other in others:
        merged, more = merge(first, other)
        first = Named(first.name, merged)
        notes += more
    names = [method.name for method in first.evaluation.methods]
    if asked.against not in names:
        raise ConfigError(f"--against is '{asked.against}'; the methods are {', '.join(names)}")
    write_report(first.evaluation, asked, against=asked.against, notes=notes)


subcommand(evaluate_app, "limits", "facerestore evaluate limits arcface.ir-se50 FACES")(measure_limits)


def _measure_and_report(request: EvaluationRequest) -> int:
    """Measure and report; return the exit code."""
    from facerestore.evaluation.blind import draw_pairs, write_sheet
    from facerestore.evaluation.cases import spread_over
    from facerestore.evaluation.run import evaluate as measure

    terminal = request.terminal(stdout_taken=True)
    check_free(request)
    if request.blind is not None and request.output is None:
        raise ConfigError(f"--blind {request.blind} draws pages; give a directory for them with -o")
    source = _case_source(request)
    files = spread_over(source.files, request.limit)
    order = _evaluation_order(request, source, files, terminal)
    pairs = (
        ()
        if request.blind is None
        else draw_pairs(files, order.methods, count=request.blind, seed=request.seed)
    )
    with terminal.steps(len(files)) as begin:
        found = measure(order, on_face=begin, on_failure=lambda failure: _tell_failure(terminal, failure))
    for name in source.unmatched:
        terminal.warn(f"without a partner: {name}")
    write_report(found, request)
    if request.output is not None:
        _write_pictures(order, found, request, terminal)
        write_sheet(request.output, source, pairs, order.setting.face_size, overwrite=request.overwrite)
        terminal.say(f"{count(len(found.faces), 'face')}, {len(found.failures)} failed -> {request.output}")
    return 3 if found.failures else 0


def _case_source(request: EvaluationRequest) -> CaseSource:
    """Return where the faces come from.

    Raises:
        ConfigError: the options name no source, or several.
    """
    from facerestore.degradation import preset
    from facerestore.evaluation.cases import degraded_source, pair_source, unpaired_source

    match request.lq, request.hq, request.degradation, request.faces:
        case Path() as lq, Path() as hq, None, None:
            return pair_source(lq, hq)
        case None, Path() as hq, str() as name, None:
            return degraded_source(hq, degradation=preset(name), seed=request.seed)
        case None, None, None, Path() as faces:
            return unpaired_source(faces)
    raise ConfigError(
        "give the faces in one of three ways: --lq DIR --hq DIR, --hq DIR --degradation PRESET, or --faces DIR"
    )


def _evaluation_order(
    request: EvaluationRequest, source: CaseSource, files: tuple[CaseFiles, ...], terminal: Terminal
) -> Order:
    """Return what is to be measured, everything loaded."""
    import torch

    from facerestore.engines.device import resolve_device, set_threads
    from facerestore.evaluation.methods import folder_method
    from facerestore.evaluation.metrics import Setting, open_metrics, parse_metrics
    from facerestore.evaluation.run import Order
    from facerestore.weights import WeightsStore

    wanted = parse_metrics(request.metrics)
    groups = _face_groups(request, files)
    store = WeightsStore(offline=True)
    set_threads(request.threads or 0)
    networks = _asked_networks(request, store, terminal)
    face_size = _face_size(request, networks)
    setting = Setting(store, torch.device(resolve_device(request.device or "auto")), face_size)
    metrics = open_metrics(
        wanted,
        setting,
        has_reference=source.has_reference,
        has_reference_set=source.has_reference or request.reference is not None,
    )
    methods: list[Method] = [*networks, *(folder_method(text) for text in request.restored)]
    if request.classical:
        methods.insert(0, _classical_method(request, source, files, setting, terminal))
    return Order(
        source=source,
        files=files,
        methods=tuple(methods),
        metrics=metrics,
        setting=setting,
        reference=request.reference,
        groups=groups,
    )


def _face_groups(request: EvaluationRequest, files: tuple[CaseFiles, ...]) -> dict[str, dict[str, str]]:
    from facerestore.evaluation.groups import group_faces, parse_group

    if not request.group and request.manifest is None:
        return {}
    if request.manifest is None or not request.group:
        raise ConfigError("tables by group need both --manifest FILE.csv and --group COLUMN")
    return group_faces(files, request.manifest, [parse_group(text) for text in request.group])


def _asked_networks(request: EvaluationRequest, store: WeightsStore, terminal: Terminal) -> list[Network]:
    """Return the networks that are asked for; the best installed one where nothing is."""
    from facerestore.config import RestoreConfig
    from facerestore.evaluation.methods import Network
    from facerestore.evaluation.sheet import network_configs, pipelines_of

    if (
        request.backend is None
        and request.weights is None
        and (request.restored or request.faces is not None)
    ):
        return []
    config = RestoreConfig(
        backend=request.backend or "auto",
        weights=request.weights,
        parser=request.parser,
        aligned=True,
        device=request.device or "auto",
        threads=request.threads or 0,
        offline=True,
    )
    pipelines = pipelines_of(network_configs(config, store=store), store=store)
    for pipeline in pipelines:
        terminal.say(f"evaluating {pipeline.description}")
    return [Network(pipeline) for pipeline in pipelines]


def _face_size(request: EvaluationRequest, networks: list[Network]) -> int:
    from facerestore.degradation import REFERENCE_SIZE

    if request.face_size is None:
        return max((network.face_size for network in networks), default=REFERENCE_SIZE)
    if request.face_size < LEAST_FACE_PX:
        raise ConfigError(f"--face-size is {request.face_size}; give {LEAST_FACE_PX} px or more")
    return request.face_size


def _classical_method(
    request: EvaluationRequest,
    source: CaseSource,
    files: tuple[CaseFiles, ...],
    setting: Setting,
    terminal: Terminal,
) -> Method:
    """Return the classical baseline, tuned."""
    from facerestore.evaluation.classical import tune, tuning_half

    with terminal.steps(len(tuning_half(files, seed=request.seed))) as begin:
        return tune(source, files, setting.face_size, seed=request.seed, on_face=begin)


def _tell_failure(terminal: Terminal, failure: Failure) -> None:
    by = "" if failure.method is None else f" ({failure.method})"
    terminal.warn(f"error: {failure.name}{by}: {failure.message}")


def _write_pictures(order: Order, found: Evaluation, request: EvaluationRequest, terminal: Terminal) -> None:
    """Write the picture of best and worst cases of every method beside the input and bicubic interpolation."""
    from facerestore.evaluation.picture import case_picture, ranking_metric
    from facerestore.io import marked, write_image
    from facerestore.types import DecodedImage, Metadata

    metric = ranking_metric(found)
    if metric is None or request.output is None:
        terminal.say("no picture of best and worst cases: nothing that could rank them was measured")
        return
    before = order.all_methods[0]
    for method in order.methods:
        picture = case_picture(found, order.source, method, metric=metric, before=before)
        name = re.sub(r"[^A-Za-z0-9._-]+", "_", method.name)
        write_image(
            request.output / f"cases_{name}.png",
            DecodedImage(picture, metadata=marked(Metadata(), "sheet"), format="PNG"),
            overwrite=request.overwrite,
        )
