"""Which pipelines a sheet compares: lists of backends and weights, and one detector for all of them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from facerestore.backends import backend_names, needs_weights
from facerestore.backends.exported import exported_file
from facerestore.config import RESTORE, RestoreConfig
from facerestore.errors import ConfigError
from facerestore.pipeline.build import build_pipeline
from facerestore.pipeline.candidates import chooses_by_face, usable
from facerestore.pipeline.choose import choose
from facerestore.pipeline.installed import AUTO, PassedOver, best
from facerestore.pipeline.parts import NetworkFacts
from facerestore.pipeline.restore import RestorePipeline
from facerestore.types import FaceParser
from facerestore.weights import WeightsStore
from facerestore.weights.weights_file import looks_like_path

ALL = "all"
"""Stands for every backend that has weights on this machine."""


def sheet_configs(config: RestoreConfig, *, store: WeightsStore) -> list[RestoreConfig]:
    """Return one configuration for each item of the lists ``config.backend`` or ``config.weights``.

    Items are separated by commas. One of ``backend`` is a backend's name, ``auto`` (each face has the installed network
    that suits it), ``all`` (every backend that has weights on this machine), the catalog name of weights, or a file;
    one of ``weights`` is a catalog name or a file. Items that mean the same weights are taken once.

    Raises:
        ConfigError: both are lists, or an item is unknown.
        WeightsError: the weights of an item are not here; the message names the command that fetches them.
    """
    return _distinct(_asked(config, store), store)


def network_configs(config: RestoreConfig, *, store: WeightsStore) -> list[RestoreConfig]:
    """Return configurations as `sheet_configs` does, of one network each: ``auto`` is the weights that come first."""
    asked = _asked(config, store)
    return _distinct([_of_one_network(single, store) for single in asked], store)


def _asked(config: RestoreConfig, store: WeightsStore) -> list[RestoreConfig]:
    """Return what the lists of a configuration ask for, an item each."""
    if config.weights is not None:
        if len(split_list(config.backend)) > 1 or config.backend == ALL:
            raise ConfigError("give a list of backends or a list of weights, not both")
        return [replace(config, weights=item) for item in split_list(config.weights)]
    return [single for item in split_list(config.backend) for single in _meant_by(item, config, store)]


def _of_one_network(config: RestoreConfig, store: WeightsStore) -> RestoreConfig:
    if chooses_by_face(config) and (candidates := usable(config, store).candidates):
        return replace(config, weights=candidates[0].name)
    return config


def _distinct(configs: Iterable[RestoreConfig], store: WeightsStore) -> list[RestoreConfig]:
    """Return the first configuration of each that mean the same weights."""
    distinct: dict[Path | str, RestoreConfig] = {}
    for single in configs:
        if chooses_by_face(single):
            distinct.setdefault(AUTO, single)
            continue
        chosen = choose(RESTORE.purpose, single, store)
        if single.backend == AUTO and chosen.path is not None:
            single = replace(single, weights=chosen.name)
        distinct.setdefault(chosen.name if chosen.path is None else chosen.path.resolve(), single)
    return list(distinct.values())


def sheet_pipelines(config: RestoreConfig, *, store: WeightsStore | None = None) -> list[RestorePipeline]:
    """Return the pipelines that the lists in ``config`` name (see `sheet_configs`), as `pipelines_of` does.

    Raises:
        FaceRestoreError: as `sheet_configs` and ``build_pipeline``.
    """
    store = store if store is not None else WeightsStore(offline=config.offline)
    return pipelines_of(sheet_configs(config, store=store), store=store)


def pipelines_of(configs: Iterable[RestoreConfig], *, store: WeightsStore) -> list[RestorePipeline]:
    """Return the pipelines of configurations, with one detector for all.

    Their networks stay loaded together, so that each photo is read once: about the size of their files in memory, that
    of a parser network once.

    Raises:
        FaceRestoreError: as ``build_pipeline``.
    """
    pipelines: list[RestorePipeline] = []
    parsers: dict[NetworkFacts, FaceParser] = {}
    for single in configs:
        built = build_pipeline(single, store=store)
        parser, told = built.parser, built.facts.parser
        if parser is not None and told is not None:
            parser = parsers.setdefault(told, parser)
        detector = pipelines[0].detector if pipelines else built.detector
        pipelines.append(replace(built, detector=detector, parser=parser))
    return pipelines


def passed_over(config: RestoreConfig, *, store: WeightsStore | None = None) -> PassedOver:
    """Return the installed weights that ``auto`` and ``all`` in ``config`` do not take, and why."""
    store = store if store is not None else WeightsStore(offline=config.offline)
    if config.weights is not None or not {AUTO, ALL} & set(split_list(config.backend)):
        return ()
    return usable(config, store).passed_over


def split_list(text: str) -> list[str]:
    """Return the items of a list separated by commas; a file whose name has commas is one item.

    Raises:
        ConfigError: an item is empty.
    """
    if "," not in text or Path(text).expanduser().is_file():
        return [text]
    items = [item.strip() for item in text.split(",")]
    if not all(items):
        raise ConfigError(f"the list '{text}' has an empty item; give names separated by single commas")
    return items


def _meant_by(item: str, config: RestoreConfig, store: WeightsStore) -> list[RestoreConfig]:
    """Return the configurations that one item of a list of backends stands for."""
    if item == ALL:
        return [
            ready for name in backend_names() if (ready := _config_if_ready(name, config, store)) is not None
        ]
    if item == AUTO or item in backend_names() or exported_file(item) is not None:
        return [replace(config, backend=item)]
    if item in store.catalog.entries or looks_like_path(item):
        return [replace(config, backend=AUTO, weights=item)]
    raise ConfigError(
        f"'{item}' is no backend, weights or file; give {ALL}, one of {', '.join(backend_names())}, a name of"
        " 'facerestore weights list', or a file"
    )


def _config_if_ready(name: str, config: RestoreConfig, store: WeightsStore) -> RestoreConfig | None:
    """Return the configuration of a backend that can be used without fetching anything; None for any other."""
    found = best(RESTORE.purpose, store, backends={name})
    if found.path is None and needs_weights(name):
        return None
    # Named only where the best of the backend cannot be used: what is the backend's own choice stays so.
    own = found.name if found.path is not None and found.passed_over else None
    return replace(config, backend=name, weights=own)
