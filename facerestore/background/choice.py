"""Which network enlarges the background: by catalog name, by file, or the best that is installed."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from facerestore.background.networks import load_upsampler
from facerestore.errors import WeightsError
from facerestore.weights.choosing import (
    ChosenWeights,
    PassedOver,
    first_sound,
    installed_weights,
    looks_like_path,
)
from facerestore.weights.files import sha256_of

if TYPE_CHECKING:
    import torch

    from facerestore.background.tiles import TiledUpsampler
    from facerestore.weights import WeightsStore

AUTO = "auto"
PURPOSE = "background"
"""Of such weights in the catalog."""


def choose_upsampler(
    choice: str, store: WeightsStore, *, tile: int | None, device: torch.device
) -> TiledUpsampler:
    """Return what enlarges the background.

    Args:
        choice: ``auto``, a catalog name, or a path.
        store: where weights are looked for; nothing is downloaded.
        tile: side of a tile, photo pixels; None chooses one.
        device: where the network runs.

    Raises:
        WeightsError: the weights are not installed, or corrupt, or fit no such network.
        ConfigError: they are for something else.
        BackendError: the network is spandrel's, and spandrel is not installed.
    """
    return open_upsampler(find_weights(choice, store), tile=tile, device=device)


def open_upsampler(chosen: ChosenWeights, *, tile: int | None, device: torch.device) -> TiledUpsampler:
    """Return what enlarges the background with weights of ``find_weights``.

    Args:
        chosen: the weights.
        tile: side of a tile, photo pixels; None chooses one.
        device: where the network runs.

    Raises:
        WeightsError: they are of no such network.
        ConfigError: the network is for something else.
        BackendError: the network is spandrel's, and spandrel is not installed.
    """
    assert chosen.path is not None, "weights of backgrounds are files"
    return load_upsampler(chosen.path, name=chosen.name, tile=tile, device=device)


def find_weights(choice: str, store: WeightsStore) -> ChosenWeights:
    """Return the background's weights; the network is not made yet.

    Args:
        choice: ``auto``, a catalog name, or a path.
        store: where weights are looked for; nothing is downloaded.

    Raises:
        WeightsError: the weights are not installed, or corrupt.
        ConfigError: they are for something else.
    """
    if not looks_like_path(choice):
        return installed_weights(_best(store) if choice == AUTO else choice, store, purpose=PURPOSE)
    path = Path(choice).expanduser()
    if not path.is_file():
        raise WeightsError(
            f"the background's weights file '{path}' does not exist; give a path, or a name of 'facerestore weights"
            " list' whose purpose is background"
        )
    return ChosenWeights(path, None, str(path), sha256_of(path), False, None)


def passed_over_backgrounds(choice: str | None, store: WeightsStore) -> PassedOver:
    """Return the installed networks that ``auto`` does not take since their files cannot be used, and why."""
    return first_sound(store.ranked(PURPOSE), store).passed_over if choice == AUTO else ()


def _best(store: WeightsStore) -> str:
    """Return the catalog name of the best installed network for backgrounds whose file can be used."""
    found = first_sound(store.ranked(PURPOSE), store)
    if found.entry is not None:
        return found.entry.name
    if found.passed_over:
        raise WeightsError(f"no network for backgrounds can be used: {found.passed_over[0][1]}")
    first = min(store.catalog.of(PURPOSE), key=lambda entry: entry.advice_order)
    raise WeightsError(
        f"no network for backgrounds is installed; run 'facerestore weights download {first.name}', or give a file"
        " with --background"
    )
