"""Which parser is used: the one that is asked for, or the best that is installed."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from facerestore.errors import ConfigError, WeightsError
from facerestore.parsing.landmarks import LandmarkParser
from facerestore.parsing.networks import ParseNetParser, load_parser
from facerestore.parsing.pasting import FacePasting
from facerestore.weights.choosing import PassedOver, first_sound, installed_weights, looks_like_path
from facerestore.weights.files import sha256_of

if TYPE_CHECKING:
    import torch

    from facerestore.config import RestoreConfig
    from facerestore.types import FaceParser
    from facerestore.weights import WeightsEntry, WeightsStore

AUTO, NONE, LANDMARKS = "auto", "none", LandmarkParser.name
"""What a parser may be called beside names and files of weights."""

PURPOSE = "parse"


class ChosenParser(NamedTuple):
    """A parser that is to be used: the file of a network and what reports say of it; no file for ``landmarks``."""

    path: Path | None
    name: str
    sha256: str | None = None
    commercial_use: str | None = None

    def load(self, *, device: torch.device | str = "cpu") -> FaceParser:
        """Return the parser, its network on ``device``.

        Raises:
            CheckpointError: the file is no parser's, or does not fit.
        """
        return LandmarkParser() if self.path is None else load_parser(self.path, device=device)


def choose_parser(
    config: RestoreConfig,
    store: WeightsStore,
    *,
    needed_by: str | None = None,
    preferred: str | None = None,
    drawn: bool = False,
) -> ChosenParser | None:
    """Return the parser that ``config`` asks for; None where there is none to be.

    ``auto`` takes the best network that is installed and can be used, if anything is made of its maps. Without one,
    strengths by region use ``landmarks``; a network that needs maps gets no such stand-in, since it was not trained on
    them.

    Args:
        config: its parser, mask and region.
        store: where weights are looked for.
        needed_by: what cannot do without parsing maps, in the words of messages, such as ``backend 'psfr'``.
        preferred: catalog name of the weights that ``auto`` takes first.
        drawn: what needs maps was trained on maps drawn from the five landmarks; ``auto`` takes such maps.

    Raises:
        WeightsError: the weights are not installed, or corrupt.
        ConfigError: the name is of weights that are no parser's, or ``none`` where a parser is needed.
    """
    name = config.parser
    if name == NONE:
        if needed_by is not None:
            raise ConfigError(f"{needed_by} needs a face parser; leave out the parser 'none'")
        return None
    if name == AUTO and needed_by is not None and drawn:
        return ChosenParser(None, LANDMARKS)
    return _automatic(config, store, needed_by, preferred) if name == AUTO else named_parser(name, store)


def named_parser(name: str, store: WeightsStore) -> ChosenParser:
    """Return the parser of a name: ``landmarks``, a catalog name, or the path of a weights file.

    Raises:
        WeightsError: the weights are not installed, or corrupt.
        ConfigError: the name is of weights that are no parser's.
    """
    if name == LANDMARKS:
        return ChosenParser(None, LANDMARKS)
    return _from_file(Path(name).expanduser()) if looks_like_path(name) else _from_catalog(name, store)


def best_parser(
    store: WeightsStore, *, preferred: str | None = None, raw: bool = False
) -> WeightsEntry | None:
    """Return the catalog entry of the best installed parser network, or None.

    Args:
        store: where weights are looked for.
        preferred: catalog name that comes first where it is installed.
        raw: maps go into another network, which was trained on those of a ParseNet.
    """
    return next(iter(_in_order(store, preferred, raw=raw)), None)


def passed_over_parsers(
    config: RestoreConfig, store: WeightsStore, *, needed_by: str | None = None, preferred: str | None = None
) -> PassedOver:
    """Return the installed parsers that `choose_parser` does not take since their files cannot be used, and why."""
    if config.parser != AUTO or not _asks_for_maps(config, needed_by):
        return ()
    return first_sound(_in_order(store, preferred, raw=needed_by is not None), store).passed_over


def _in_order(store: WeightsStore, preferred: str | None, *, raw: bool) -> list[WeightsEntry]:
    """Return the installed parsers, the one to take first."""
    ranked = store.ranked(PURPOSE, backends={ParseNetParser.name} if raw else None)
    first = [] if preferred is None or store.locate(preferred) is None else [store.entry(preferred)]
    return [*first, *(entry for entry in ranked if entry not in first)]


def _asks_for_maps(config: RestoreConfig, needed_by: str | None) -> bool:
    pasting = FacePasting.asked(config)
    return needed_by is not None or pasting.classes is not None or bool(pasting.regions)


def _automatic(
    config: RestoreConfig, store: WeightsStore, needed_by: str | None, preferred: str | None
) -> ChosenParser | None:
    pasting = FacePasting.asked(config)
    if not _asks_for_maps(config, needed_by):
        return None
    found = first_sound(_in_order(store, preferred, raw=needed_by is not None), store)
    if found.entry is not None:
        return _from_catalog(found.entry.name, store)
    if needed_by is not None and found.passed_over:
        raise WeightsError(
            f"{needed_by} needs a face parser, and none can be used: {found.passed_over[0][1]}"
        )
    if needed_by is not None:
        first = preferred or _first_known(store)
        raise WeightsError(
            f"{needed_by} needs a face parser, and no ParseNet is installed;"
            f" run 'facerestore weights download {first}', or name a parser with --parser"
        )
    return ChosenParser(None, LANDMARKS) if pasting.regions and not pasting.needs_parser else None


def _first_known(store: WeightsStore) -> str:
    """Return the catalog name of the best ParseNet, installed or not."""
    ranked = [
        e
        for e in store.catalog.entries.values()
        if e.purpose == PURPOSE and e.quality_rank and e.backend == ParseNetParser.name
    ]
    return min(ranked, key=lambda e: e.quality_rank or 0).name if ranked else "NAME"


def _from_catalog(name: str, store: WeightsStore) -> ChosenParser:
    found = installed_weights(name, store, purpose=PURPOSE)
    return ChosenParser(found.path, name, found.sha256, found.commercial_use)


def _from_file(path: Path) -> ChosenParser:
    if not path.is_file():
        raise WeightsError(
            f"parser file '{path}' does not exist; give a path, 'auto', 'none', 'landmarks', or a name of"
            " 'facerestore weights list'"
        )
    return ChosenParser(path, str(path), sha256_of(path))
