"""Which weights serve a purpose: those that are named, or the best that are installed and can be used.

No network is loaded, and nothing is downloaded. Where each face is to have a network of its own choice,
`facerestore.pipeline.candidates` says which there are.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from facerestore.backends import backend_names, backend_sources, needs_weights
from facerestore.backends.exported import exported_file, read_record, refuse_exported
from facerestore.backends.rims import TELEA
from facerestore.config import INPAINT, RESTORE, TASKS, Task
from facerestore.detection import DETECTORS
from facerestore.errors import ConfigError, WeightsError
from facerestore.parsing import FacePasting, ParseNetParser
from facerestore.pipeline.installed import (
    AUTO,
    BACKGROUND,
    DAMAGE,
    DETECT,
    EYES,
    IDENTITY,
    LANDMARKS,
    NONE,
    PARSE,
    ChosenWeights,
    best,
    installed_weights,
    named_weights,
    ranked,
)
from facerestore.weights.files import sha256_of
from facerestore.weights.mixing import DETAIL_OF, REFINES, Mix
from facerestore.weights.weights_file import WeightsFile, looks_like_path

if TYPE_CHECKING:
    from facerestore.backends.exported import ExportedFile
    from facerestore.config import RestoreConfig
    from facerestore.weights import WeightsEntry, WeightsStore


def choose(
    purpose: str,
    config: RestoreConfig,
    store: WeightsStore,
    *,
    needed_by: str | None = None,
    preferred: str | None = None,
) -> ChosenWeights:
    """Return the weights that ``config`` asks for.

    Args:
        purpose: of a task, such as ``restore``; or `PARSE`, `DETECT`, `BACKGROUND`, `IDENTITY`, `DAMAGE` or
            `EYES`.
        config: names weights, or leaves them open.
        store: where weights are looked for.
        needed_by: what cannot do without parsing maps, in the words of messages, such as ``backend 'psfr'``.
        preferred: the parser that ``auto`` takes first: a catalog name, or `LANDMARKS` for a network that needs maps
            and was trained on drawn ones.

    Raises:
        WeightsError: the weights are not installed, or corrupt.
        ConfigError: the name is unknown, or of weights for something else; or ``none`` where a parser is needed.
        BackendError: the backend is another package's, and broken.
    """
    if purpose == DETECT:
        return _detector(config, store)
    if purpose == PARSE:
        return _parser(config, store, needed_by, preferred)
    if purpose == BACKGROUND:
        return _background(config.background, store)
    if purpose == IDENTITY:
        return _identity(config, store)
    if purpose == DAMAGE:
        return _damage_finder(config, store)
    if purpose == EYES:
        return best(EYES, store) if config.guard else ChosenWeights()
    return _restorer(config, store, TASKS[purpose])


def _identity(config: RestoreConfig, store: WeightsStore) -> ChosenWeights:
    """Return what the guard knows faces by: the best network whose limits were measured."""
    from facerestore.pipeline.identity_limits import measured_backends, read_limits

    found = best(IDENTITY, store, backends=measured_backends(store) if config.guard else ())
    limits = None if found.path is None else read_limits(store, found.name)
    if config.min_identity is not None and found.path is None:
        why = found.passed_over[0][1] if found.passed_over else "no identity network is installed"
        remedy = 'run pip install "facerestore[identity]" or leave it out'
        raise ConfigError(f"min_identity is {config.min_identity}, but {why}; {remedy}")
    return found if limits is None else replace(found, identities=limits.least)


def _damage_finder(config: RestoreConfig, store: WeightsStore) -> ChosenWeights:
    """Return what finds damage in faces: the network that is named, or the best that is installed."""
    if config.damage_finder != AUTO:
        return named_weights(config.damage_finder, store, DAMAGE)
    found = best(DAMAGE, store)
    if found.path is None:
        why = found.passed_over[0][1] if found.passed_over else "none is installed"
        raise WeightsError(
            f"no network that finds damage can be used: {why}; train one with 'facerestore train damage' and give it"
            " with --damage-finder FILE, or say what is damaged with 'facerestore inpaint --mask FILE'"
        )
    return found


def with_detail(chosen: ChosenWeights, config: RestoreConfig, store: WeightsStore) -> ChosenWeights:
    """Return weights as ``config.detail`` asks for them: those that draw detail, mixed with what they came from.

    Those that refine others come with those, which have the same detail.

    Raises:
        ConfigError: no weights that draw detail are known for these.
        WeightsError: they, or what they were trained from, are not installed, or corrupt.
    """
    entries = store.catalog.entries
    entry = entries.get(chosen.name) or store.catalog.copied(chosen.sha256)
    bases = {own.detail_of for own in entries.values()}
    if _refined_by(chosen, entry) is None or drawn_from(chosen, store) or chosen.name in bases:
        chosen = _mixed(chosen, entry, config.detail, store)
    if (name := _refined_by(chosen, entries.get(chosen.name))) is None:
        return chosen
    refined = installed_weights(name, store, purpose=RESTORE.purpose)
    return replace(chosen, base=with_detail(refined, config, store))


def _mixed(
    chosen: ChosenWeights, entry: WeightsEntry | None, wanted: float | None, store: WeightsStore
) -> ChosenWeights:
    """Return weights with the share of detail that is wanted; None leaves it to the catalog."""
    base, share = drawn_from(chosen, store), 1.0 if entry is None else entry.detail
    if base is None:
        if not wanted:
            return chosen
        entries = store.catalog.entries
        drawing = next((own for own in entries.values() if own.detail_of == chosen.name), None)
        if drawing is None:
            known = dict.fromkeys(own.detail_of for own in entries.values() if own.detail_of)
            raise ConfigError(
                f"weights '{chosen.name}' have no detail to be drawn, and detail {wanted:g} was given; leave it out, or"
                f" choose one of {', '.join(known)}"
            )
        chosen, base = installed_weights(drawing.name, store, purpose=drawing.purpose), chosen.name
    share = share if wanted is None else wanted
    if share == 0:
        return installed_weights(base, store, purpose=store.entry(base).purpose)
    return replace(chosen, mix=Mix(store.require(base), share))


def _refined_by(chosen: ChosenWeights, entry: WeightsEntry | None) -> str | None:
    """Return the catalog name of what weights refine, as the catalog says or a file of one's own; None for nothing."""
    if isinstance(chosen.source, WeightsFile):
        return chosen.source.metadata.get(REFINES)
    return None if entry is None else entry.refines


def drawn_from(chosen: ChosenWeights, store: WeightsStore) -> str | None:
    """Return the catalog name of what weights were trained from to draw detail, likewise; None for no such weights."""
    if isinstance(chosen.source, WeightsFile):
        return chosen.source.metadata.get(DETAIL_OF)
    entry = store.catalog.entries.get(chosen.name)
    return None if entry is None else entry.detail_of


def no_weights(backend: str, store: WeightsStore, task: Task) -> str:
    """Return the message that no weights for a task are here, with the command that fetches some."""
    entries = sorted(store.catalog.of(task.purpose), key=lambda entry: entry.advice_order)
    known = [e.name for e in entries if backend in (AUTO, e.backend) and store.fetchable(e.name)]
    remedy = f"run 'facerestore weights download {known[0]}'" if known else "give a file with --weights"
    wanted = "for any backend" if backend == AUTO else f"for backend '{backend}'"
    wanted += "" if task == RESTORE else f" to {task.verb} faces"
    return f"no weights {wanted} are installed; {remedy}"


def _restorer(config: RestoreConfig, store: WeightsStore, task: Task) -> ChosenWeights:
    """Return the weights of a task, an exported network, or the backend that needs none."""
    backend, weights = config.backend, config.weights
    if (file := exported_file(backend)) is not None:
        return _exported(file, config)
    if task is INPAINT and _without_network(config, store):
        return ChosenWeights(name=TELEA, backend=TELEA)
    if backend not in (AUTO, *(source.name for source in backend_sources())):
        raise ConfigError(
            f"unknown backend '{backend}'; choose {AUTO} or one of {', '.join(backend_names())}"
        )
    if backend != AUTO and not needs_weights(backend):
        if weights is not None:
            raise ConfigError(f"backend '{backend}' takes no weights; leave out '{weights}'")
        return ChosenWeights(name=backend, backend=backend)
    if weights is None:
        found = installed_weights(_best_restorer(backend, store, task), store, purpose=task.purpose)
        return with_detail(found, config, store)
    if weights == TELEA:
        raise ConfigError(
            f"'{TELEA}' fills damage without a network; give it to 'facerestore {INPAINT.command}'"
        )
    if looks_like_path(weights):
        refuse_exported(Path(weights).expanduser())
    chosen = with_detail(named_weights(weights, store, task.purpose), config, store)
    if chosen.backend is None:
        return replace(chosen, backend=None if backend == AUTO else backend)
    if backend not in (AUTO, chosen.backend):
        raise ConfigError(
            f"weights '{chosen.name}' are for backend '{chosen.backend}', not '{backend}'; leave out one of both"
        )
    return chosen


def _without_network(config: RestoreConfig, store: WeightsStore) -> bool:
    """Say whether holes are filled from their rims alone: that is asked for, or there is no network for it."""
    if config.weights is not None:
        return config.weights == TELEA
    return config.backend == AUTO and not ranked(INPAINT.purpose, store, backends=backend_names())


def _exported(file: ExportedFile, config: RestoreConfig) -> ChosenWeights:
    """Return an exported network on the terms of the weights that it was made from."""
    if config.weights is not None:
        raise ConfigError(f"'{config.backend}' holds its weights itself; leave out '{config.weights}'")
    record = read_record(file)
    return ChosenWeights(
        name=file.name,
        backend=file.runtime,
        source=file.path,
        sha256=sha256_of(file.path),
        commercial_use=record.commercial_use,
        record=record,
    )


def _best_restorer(backend: str, store: WeightsStore, task: Task) -> str:
    """Return the catalog name of the best installed weights for a task, of one backend or of any."""
    found = ranked(task.purpose, store, backends=backend_names() if backend == AUTO else {backend})
    if found:
        return found[0].name
    raise WeightsError(store.catalog.unpublished.get(backend) or no_weights(backend, store, task))


def _parser(
    config: RestoreConfig, store: WeightsStore, needed_by: str | None, preferred: str | None
) -> ChosenWeights:
    """Return the parser of faces.

    ``auto`` takes the best network that can be used, if anything is made of its maps.
    """
    name, pasting = config.parser, FacePasting.asked(config)
    if name == NONE and needed_by is not None:
        raise ConfigError(f"{needed_by} needs a face parser; leave out the parser 'none'")
    if name in (NONE, LANDMARKS):
        return ChosenWeights(name=name)
    if name != AUTO:
        return named_weights(name, store, PARSE)
    # A mask hides the border of a crop in its photo; where the photo is the crop there is none.
    unmasked = config.aligned or pasting.classes is None
    if needed_by is None and unmasked and not pasting.needs_parser and not pasting.regions:
        return ChosenWeights()
    # Maps that go into another network are those of a ParseNet, on which it was trained.
    kinds = None if needed_by is None else {ParseNetParser.name}
    found = best(PARSE, store, backends=kinds, preferred=preferred)
    if needed_by is not None and preferred == LANDMARKS:
        return ChosenWeights(name=LANDMARKS, passed_over=found.passed_over)
    if found.path is not None or needed_by is None:
        return found
    if found.passed_over:
        raise WeightsError(
            f"{needed_by} needs a face parser, and none can be used: {found.passed_over[0][1]}"
        )
    raise WeightsError(
        f"{needed_by} needs a face parser, and no ParseNet is installed; run 'facerestore weights download"
        f" {preferred or _best_parsenet(store)}', or name a parser with --parser"
    )


def _best_parsenet(store: WeightsStore) -> str:
    """Return the catalog name of the best ParseNet, installed or not."""
    known = [e for e in store.catalog.of(PARSE) if e.quality_rank and e.backend == ParseNetParser.name]
    return min(known, key=lambda e: e.quality_rank or 0).name if known else "NAME"


def _detector(config: RestoreConfig, store: WeightsStore) -> ChosenWeights:
    """Return the detector, by its own name; one that is named is looked for when it is made."""
    if config.aligned:
        return ChosenWeights()
    if config.detector != AUTO:
        return ChosenWeights(name=config.detector)
    found, names = best(DETECT, store), {weights: name for name, weights in DETECTORS.items()}
    return ChosenWeights(name=names.get(found.name, "embedded"), passed_over=found.passed_over)


def _background(name: str | None, store: WeightsStore) -> ChosenWeights:
    """Return what enlarges the rest of the photo; `NONE` where nothing is to."""
    if name is None:
        return ChosenWeights()
    if name != AUTO:
        return named_weights(name, store, BACKGROUND)
    found = best(BACKGROUND, store)
    if found.path is not None:
        return found
    if found.passed_over:
        raise WeightsError(f"no network for backgrounds can be used: {found.passed_over[0][1]}")
    raise WeightsError(
        "no network for backgrounds is here, and the bundled one is missing; install facerestore anew, or give a file"
        " with --background"
    )
