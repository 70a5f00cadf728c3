"""From a configuration to a working pipeline: which weights, which detector, which device."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from threading import Lock
from typing import TYPE_CHECKING, Concatenate, ParamSpec, Protocol, TypeVar, cast

from facerestore.backends.calling import with_fidelity, with_precision
from facerestore.backends.exported import ExportedRestorer
from facerestore.config import RESTORE, RestoreConfig
from facerestore.engines.device import (
    Device,
    keep_freed_memory,
    resolve_device,
    return_freed_memory,
    set_threads,
)
from facerestore.errors import ConfigError, WeightsError
from facerestore.io import DEFAULT_MAX_PIXELS, PictureSource, as_decoded
from facerestore.pipeline.candidates import chooses_by_face, usable
from facerestore.pipeline.choose import choose, no_weights
from facerestore.pipeline.grain import with_grain
from facerestore.pipeline.installed import (
    AUTO,
    BACKGROUND,
    DAMAGE,
    DETECT,
    EYES,
    IDENTITY,
    LANDMARKS,
    PARSE,
    ChosenWeights,
    PassedOver,
)
from facerestore.pipeline.load import (
    ParserLater,
    build_damage_finder,
    build_detector,
    build_guard,
    build_parser,
    build_upsampler,
    load_restorer,
)
from facerestore.pipeline.one_photo import Asked, Keywords, OnePhoto
from facerestore.pipeline.parts import NetworkFacts, PipelineFacts
from facerestore.pipeline.per_face import FirstRestorer, Lines, facts_of, per_face
from facerestore.pipeline.restore import Procedure, RestorePipeline
from facerestore.weights import WeightsStore

if TYPE_CHECKING:
    from collections.abc import Callable

    import torch

    from facerestore.backends.restorer import Restorer
    from facerestore.pictures.result import RestoreResult
    from facerestore.pipeline.repair import Repair
    from facerestore.types import FaceDetector, FaceParser

Made = TypeVar("Made")
Own = ParamSpec("Own")


class MakeParser(Protocol):
    """Makes a parser, as ``build_parser`` does."""

    def __call__(
        self, chosen: ChosenWeights, /, config: RestoreConfig, *, device: torch.device | str
    ) -> FaceParser | None:
        """Return the parser that was chosen; None where there is none to be."""
        ...


class MakeDetector(Protocol):
    """Makes a detector, as ``build_detector`` does."""

    def __call__(
        self, chosen: ChosenWeights, /, config: RestoreConfig, store: WeightsStore, device: torch.device | str
    ) -> FaceDetector:
        """Return the detector that was chosen."""
        ...


def build_pipeline(
    config: RestoreConfig | None = None, *, store: WeightsStore | None = None
) -> RestorePipeline:
    """Return a pipeline for ``config``, ready for any number of photos and threads.

    Where neither backend nor weights are named, each face has the installed network that serves it (see
    ``facerestore.pipeline.routing``), loaded when a face first needs it; else the network is loaded now. The pipeline's
    ``description`` says which. Nothing is downloaded. Two settings reach the whole process: ``threads`` above 0 goes to
    torch and OpenCV, and on the CPU glibc is told to keep freed memory (see ``device.keep_freed_memory``).

    Args:
        config: what the user chose; defaults when None.
        store: where weights are looked for; the user's own when None.

    Raises:
        WeightsError: the weights are not installed, or are corrupt.
        CheckpointError: they fit no backend.
        ConfigError: the device, detector or backend is unknown, the weights are of another backend, or an option would
            do nothing without another.
    """
    config = config if config is not None else RestoreConfig()
    if config.damage_finder != AUTO and not config.repair:
        raise ConfigError(
            f"damage_finder is '{config.damage_finder}', but no damage is looked for; give repair too, or leave it out"
        )
    store = store if store is not None else WeightsStore(offline=config.offline)
    pipeline = _with_dial(config, store) if config.dial else _undialled(config, store)
    return_freed_memory()
    return pipeline


def _undialled(config: RestoreConfig, store: WeightsStore) -> RestorePipeline:
    return (_assemble_auto if chooses_by_face(config) else assemble)(config, store=store)


def _with_dial(config: RestoreConfig, store: WeightsStore) -> RestorePipeline:
    """Return the pipeline in which single faces have settings of their own."""
    from facerestore.pipeline.dials import dialled, undialled

    if config.official:
        raise ConfigError(
            f"official pipelines know no single faces, and dial is '{config.dial}'; leave one out"
        )
    common = undialled(config)
    lines: dict[float | None, RestorePipeline] = {}

    def line_for(single: RestoreConfig) -> RestorePipeline:
        if single.detail not in lines:
            lines[single.detail] = _undialled(replace(common, detail=single.detail), store)
        return lines[single.detail]

    return dialled(line_for(config), config, line_for)


def _assemble_auto(config: RestoreConfig, *, store: WeightsStore) -> RestorePipeline:
    """Return the pipeline that chooses a network for each face; with one to choose from it is loaded now."""
    found = usable(config, store)
    if not found.candidates:
        raise WeightsError(no_weights(AUTO, store, RESTORE))
    device = _prepared_device(config)
    finding = choose(DETECT, config, store)
    shared_detector, shared_parser = _shared(build_detector), _shared(build_parser)

    def build(name: str) -> RestorePipeline:
        single = replace(config, weights=name, repair=False, guard=False, min_identity=None)
        alone = replace(single, background=None, photo=False, tile=None)
        return assemble(alone, store=store, make_detector=shared_detector, make_parser=shared_parser)

    lines = Lines(found, build)
    if device.type == "cpu":
        lines.begin_usual()
    detector = None if config.aligned else shared_detector(finding, config, store, device)
    if config.provider is not None:  # whoever names one is told at once where it is not there
        lines.get(found.candidates[0].name)
    behind = choose(BACKGROUND, config, store)
    if len(found.candidates) == 1:
        first = lines.get(found.candidates[0].name)
        parser, facts = first.parser, first.facts
    else:
        parsing = choose(PARSE, config, store)
        parser = _common_parser(parsing, partial(shared_parser, parsing, config, device=device), device)
        facts = replace(
            facts_of(found),
            device=str(device),
            parser=_network_facts(parsing),
            passed_over=_passed_over(finding, parsing),
        )
    knowing, seeing = choose(IDENTITY, config, store), choose(EYES, config, store)
    passed_over = (*facts.passed_over, *_passed_over(behind, knowing, seeing))
    return RestorePipeline(
        detector,
        FirstRestorer(lines),
        config=config,
        parser=parser,
        facts=replace(
            facts,
            background=_network_facts(behind),
            identity=_network_facts(knowing),
            passed_over=passed_over,
        ),
        guard=build_guard(knowing, seeing, config, device=device),
        grain=with_grain if config.grain else None,
        repair=_build_repair(config, store, detector, device),
        background=build_upsampler(behind, config, device=device),
        procedure=per_face(lines),
    )


def _shared(
    make: Callable[Concatenate[ChosenWeights, Own], Made],
) -> Callable[Concatenate[ChosenWeights, Own], Made]:
    """Return what makes each choice once, for all lines and threads that take it."""
    made: dict[str, Made] = {}
    lock = Lock()

    def get(chosen: ChosenWeights, /, *args: Own.args, **kwargs: Own.kwargs) -> Made:
        with lock:
            if chosen.name not in made:
                made[chosen.name] = make(chosen, *args, **kwargs)
            return made[chosen.name]

    return get


def _common_parser(
    chosen: ChosenWeights, get: Callable[[], FaceParser | None], device: Device
) -> FaceParser | None:
    """Return the parser of lines with several networks; one of the catalog is left to the thread that loads those."""
    if chosen.path is None or chosen.backend is None or device.type != "cpu":
        return get()
    return ParserLater(chosen.backend, cast("Callable[[], FaceParser]", get))


def _build_repair(
    config: RestoreConfig, store: WeightsStore, detector: FaceDetector | None, device: torch.device | str
) -> Repair | None:
    """Return what fills the damage of faces before they are restored; None where it is not wanted."""
    if not config.repair:
        return None
    from facerestore.pipeline.repair import Repair, filling
    from facerestore.pipeline.tasks.inpaint import inpainting

    source = build_damage_finder(choose(DAMAGE, config, store), config, device=device)
    # It is not asked for where the photos are aligned, and there is none.
    line = assemble(
        filling(config),
        inpainting(source),
        store=store,
        make_detector=lambda *_: cast("FaceDetector", detector),
    )
    return Repair(line, source)


def _prepared_device(config: RestoreConfig) -> Device:
    """Return the device, after the settings that reach the whole process; raises ConfigError where it is unknown."""
    device = resolve_device(config.device)
    if device.type == "cpu":
        keep_freed_memory()
    set_threads(config.threads)
    return device


def assemble(
    config: RestoreConfig | None = None,
    procedure: Procedure = Procedure(),  # noqa: B008  # frozen
    *,
    store: WeightsStore | None = None,
    make_detector: MakeDetector = build_detector,
    make_parser: MakeParser = build_parser,
) -> RestorePipeline:
    """Return a pipeline with one network, as ``build_pipeline`` does.

    Args:
        config: what the user chose; defaults when None.
        procedure: what it does; that of another task than restoring takes the weights of its own purpose.
        store: where weights are looked for; the user's own when None.
        make_detector: makes the detector that was chosen; lines that are made together share theirs.
        make_parser: makes the parser, likewise.

    Raises:
        WeightsError: the weights are not installed, or are corrupt.
        CheckpointError: they fit no backend.
        ConfigError: the device, detector or backend is unknown, or the weights are of another backend or task.
    """
    config = config if config is not None else RestoreConfig()
    store = store if store is not None else WeightsStore(offline=config.offline)
    device = _prepared_device(config)
    task = procedure.task
    if config.repair and (task is not RESTORE or config.official):
        what = "official pipelines repair" if config.official else f"'facerestore {task.command}' repairs"
        raise ConfigError(
            f"{what} nothing; leave repair out, or give the photo to 'facerestore inpaint' first"
        )
    chosen = choose(task.purpose, config, store)
    restorer = load_restorer(
        chosen, device=device, task=task, provider=config.provider, threads=config.threads
    )
    if config.fidelity is not None:
        restorer = with_fidelity(restorer, config.fidelity)
    # Published pictures were made in float32, and so are those that are compared with them.
    wanted = "float32" if config.official and config.precision == AUTO else config.precision
    restorer = with_precision(restorer, wanted, device)
    if config.official and task != RESTORE:
        raise ConfigError(f"'facerestore {task.command}' has no official pipeline; leave official out")
    if config.official:
        from facerestore.pipeline.official import official_program

        program = official_program(restorer.name)
        procedure, config = program.procedure, program.completed(config)
    finding = choose(DETECT, config, store)
    detector = None if config.aligned else make_detector(finding, config, store, device)
    own = LANDMARKS if restorer.descriptor.drawn_maps else restorer.descriptor.parser_weights
    preferred = own or procedure.parser_weights
    needing = _needing_parser(procedure, config, restorer)
    parsing = choose(PARSE, config, store, needed_by=needing, preferred=preferred)
    if config.dial:
        raise ConfigError(f"'facerestore {task.command}' takes no dial; leave it out")
    if config.background is not None and task is not RESTORE:
        raise ConfigError(f"'facerestore {task.command}' takes no background; leave it out")
    behind = choose(BACKGROUND, config, store)
    if task is not RESTORE or config.official:  # another face than that in the photo may be wanted
        config = replace(config, guard=False, min_identity=None, grain=False)
    knowing, seeing = choose(IDENTITY, config, store), choose(EYES, config, store)
    facts = PipelineFacts(
        weights=None if chosen.path is None else chosen.name,
        sha256=chosen.sha256,
        bundled=chosen.bundled,
        commercial_use=chosen.commercial_use,
        device=restorer.place if isinstance(restorer, ExportedRestorer) else str(device),
        precision=restorer.descriptor.precision,
        origin=restorer.record.origin if isinstance(restorer, ExportedRestorer) else None,
        parser=_network_facts(parsing),
        background=_network_facts(behind),
        identity=_network_facts(knowing),
        passed_over=_passed_over(finding, parsing, behind, knowing, seeing),
    )
    return RestorePipeline(
        detector,
        restorer,
        config=config,
        parser=make_parser(parsing, config, device=device),
        facts=facts,
        background=build_upsampler(behind, config, device=device),
        guard=build_guard(knowing, seeing, config, device=device),
        grain=with_grain if config.grain else None,
        repair=_build_repair(config, store, detector, device),
        procedure=procedure,
    )


def _passed_over(*choices: ChosenWeights) -> PassedOver:
    """Return the weights that stand for ``auto`` in several choices and cannot be used, and why."""
    return tuple(one for chosen in choices for one in chosen.passed_over)


def _needing_parser(procedure: Procedure, config: RestoreConfig, restorer: Restorer) -> str | None:
    """Return what cannot do without parsing maps, in the words of messages; None where nothing is."""
    if procedure.needs_parser(config):
        return f"the official {restorer.name} test pipeline"
    return f"backend '{restorer.name}'" if restorer.needs_parsing else None


def _network_facts(chosen: ChosenWeights) -> NetworkFacts | None:
    """Return where a network comes from; None for none, and for maps that are drawn."""
    if chosen.path is None:
        return None
    return NetworkFacts(weights=chosen.name, sha256=chosen.sha256, commercial_use=chosen.commercial_use)


@OnePhoto(Keywords)
def restore(source: PictureSource, config: RestoreConfig, asked: Asked) -> RestoreResult:
    """Restore the faces of one photo.

    Loads the networks anew at each call; for many photos make one pipeline with ``build_pipeline`` and call its
    ``run``.

    Args:
        source: a path, the bytes of a picture file, a Pillow image, or an (H, W), (H, W, 3) or (H, W, 4) array of
            uint8 or uint16.
        config: what is chosen; each field of ``RestoreConfig`` can be given as a keyword too, such as
            ``strength=0.5``, and wins over it.
        asked: ``channels``, the order of the colours of an array, ``rgb`` or ``bgr``, and ``on_progress`` and
            ``cancel`` as for ``RestorePipeline.run``; keywords too.

    Returns:
        The photo as ``image``, each face with its decision as ``faces``, and all facts as ``report``.

    Raises:
        FaceRestoreError: the source, an option, the weights or a network is at fault; see its subclasses.
    """
    image = as_decoded(
        source, channels=asked.channels, max_pixels=config.max_pixels or DEFAULT_MAX_PIXELS, page=config.page
    )
    return build_pipeline(config).run(image, on_progress=asked.on_progress, cancel=asked.cancel)
