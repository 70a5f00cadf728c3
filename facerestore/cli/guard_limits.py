"""``facerestore evaluate limits``: measure by how much degradation alone changes who a face is, for the guard."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from pathlib import Path

import typer

from facerestore.cli.options import Spoken, command
from facerestore.cli.terminal import print_json
from facerestore.errors import ConfigError
from facerestore.fields import option


@dataclass(frozen=True, slots=True, kw_only=True)
class LimitsRequest(Spoken):
    """What ``evaluate limits`` was asked for."""

    network: str = option(argument=True, metavar="NAME")
    """Installed weights whose purpose is identity, such as arcface.ir-se50."""

    faces: Path = option(argument=True, metavar="FACES")
    """Directory of aligned, undamaged portraits of many people, of 256 px or more; 90 are enough."""

    seed: int = option(7, least=0, metavar="N")
    """Of the degradations."""

    device: str = option("auto")
    """auto, cpu, cuda, cuda:N or mps."""

    as_json: bool = option(False, flags=("--json",))
    """Print JSON instead of a table."""


@command({"": "seed device", "What is said": "as_json quiet no_progress"})
def measure_limits(request: LimitsRequest) -> None:
    """Measure how alike degradation alone leaves faces, by an identity network, and have the guard go by it.

    Each portrait is degraded by gfpgan and by severe; by how wide the input's edges are, the limit is the likeness to
    it that 95% of the undamaged originals have. The guard of 'enhance' then asks as much of restored faces. dlib's
    limits come with the program; ArcFace is taken, before dlib, once it was measured. 'weights remove NAME' ends that.
    """
    from facerestore.engines import Place
    from facerestore.engines.device import resolve_device
    from facerestore.evaluation.cases import pictures_by_name
    from facerestore.evaluation.guard_limits import DEGRADATIONS, limits_of_network
    from facerestore.pipeline.guard import LIMITS
    from facerestore.pipeline.identity_limits import write_limits
    from facerestore.pipeline.installed import IDENTITY, installed_weights
    from facerestore.quality.identity import ARCFACE, DLIB, load_identity
    from facerestore.weights import WeightsStore

    terminal, store = request.terminal(stdout_taken=True), WeightsStore()
    chosen = installed_weights(request.network, store, purpose=IDENTITY)
    if chosen.path is None or chosen.backend not in (DLIB, ARCFACE) or chosen.sha256 is None:
        raise ConfigError(f"the guard cannot run weights '{request.network}'; it knows {DLIB} and {ARCFACE}")
    device = resolve_device(request.device)
    network = load_identity(chosen.path, chosen.backend, Place(str(device)))
    with terminal.steps(len(DEGRADATIONS) * len(pictures_by_name(request.faces))) as begin:
        found = limits_of_network(
            network, request.faces, sha256=chosen.sha256, seed=request.seed, on_face=begin
        )
    write_limits(store, request.network, found)
    terminal.say(f"the guard asks this of {request.network} from now on")
    if request.as_json:
        print_json(asdict(found))
        return
    typer.echo("| edges of the input up to, px of 256 | inputs | least likeness |\n|--:|--:|--:|")
    for limits, least, inputs in zip(LIMITS, found.least, found.faces, strict=True):
        width = f"{limits.most_blur_px:g}" if math.isfinite(limits.most_blur_px) else "wider"
        typer.echo(f"| {width} | {inputs} | {least:.2f} |")
