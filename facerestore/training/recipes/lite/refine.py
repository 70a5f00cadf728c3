"""What a network that refines begins with, one that sees faces alone and is widened, and what it refines."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor
from torch.nn import functional

from facerestore.archs.lite import LiteGenerator
from facerestore.config import RESTORE, RestoreConfig
from facerestore.engines.graph import TORCH
from facerestore.errors import ConfigError
from facerestore.pipeline.choose import with_detail
from facerestore.pipeline.installed import installed_weights
from facerestore.pipeline.load import load_restorer
from facerestore.weights import WeightsStore

SEEING = ("stem.weight", "fine.look.")
DRAWING = ("head.", "fine.draw.")
"""Keys of the layers that see the input, and of those that draw the output."""


def widened(state: Mapping[str, Tensor], own: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the parameters of a network that sees faces alone for one that refines.

    At first it gives the mean of what the former makes of the face, and of what it is to refine.

    Args:
        state: the parameters to begin with; those of a network that refines are returned as they are.
        own: those of the network that refines, newly initialised.
    """
    made = dict(state)
    if state["stem.weight"].shape == own["stem.weight"].shape:
        return made
    for key, value in state.items():
        if key.startswith(SEEING) and key.endswith("weight") and key in own:
            more = own[key].shape[1] - value.shape[1]
            made[key] = functional.pad(value, (0, 0, 0, 0, 0, more))  # the new channels come last
        elif key.startswith(DRAWING):
            made[key] = value / 2
    return made


DEEP = ("encoder.", "decoder.", "down.", "up.", "fine.blocks.")
"""Beginnings of the keys of levels and residual blocks."""


def shortened(state: Mapping[str, Tensor], own: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return parameters without the levels and residual blocks for which a network, whose are ``own``, has no place.

    Each adds a little to what it is given, so that what is left still restores, and learns on from there.
    """
    return {key: value for key, value in state.items() if key in own or not key.startswith(DEEP)}


def restorer_in_use(name: str) -> LiteGenerator:
    """Return the network of weights of the catalog, mixed with those that they came from as they are used.

    Raises:
        WeightsError: the weights are not installed, or corrupt.
        ConfigError: they are for another purpose, or of another kind of network.
    """
    store = WeightsStore()
    chosen = with_detail(installed_weights(name, store, purpose=RESTORE.purpose), RestoreConfig(), store)
    network = getattr(load_restorer(chosen, provider=TORCH), "network", None)
    if not isinstance(network, LiteGenerator) or chosen.base is not None:
        raise ConfigError(
            f"recipe 'lite': recipe.base is '{name}'; give weights of lite that see faces alone"
        )
    return network
