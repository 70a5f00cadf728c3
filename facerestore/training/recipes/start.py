"""Loading the weights that a run starts from."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TypeAlias

from torch import Tensor, nn

from facerestore.pipeline.installed import installed_weights
from facerestore.weights import WeightsStore
from facerestore.weights.checkpoint import check_fit, load_state_dict, open_weights, shapes_of
from facerestore.weights.mixing import DETAIL_OF
from facerestore.weights.weights_file import WeightsFile, looks_like_path

State: TypeAlias = Mapping[str, Tensor]
"""Parameters by name."""


def take_up(
    network: nn.Module,
    name: str,
    *,
    purpose: str,
    grown: str = "",
    fitted: Callable[[State, State], State] = lambda state, own: state,
) -> None:
    """Load the parameters of a file into a network.

    Args:
        network: takes them.
        name: of the catalog, or a file; nothing is done for an empty one.
        purpose: what weights of the catalog must be for.
        grown: prefix of the keys of a part that the file may lack as a whole: it then stays as it was initialised.
        fitted: makes of the file's parameters and the network's own those that it takes.

    Raises:
        WeightsError: the weights are not installed, or corrupt.
        ConfigError: they are for another purpose.
        CheckpointError: the file cannot be read, or is of another network.
    """
    if not name:
        return
    store = WeightsStore()
    if not looks_like_path(name):
        installed_weights(name, store, purpose=purpose)
    file = begun_with(name)
    own, state = network.state_dict(), load_state_dict(file)
    if (rest := file.metadata.get(DETAIL_OF)) is not None:
        state = load_state_dict(store.require(rest)) | state
    if grown and not any(key.startswith(grown) for key in state):
        state.update({key: value for key, value in own.items() if key.startswith(grown)})
    fill(network, fitted(state, own), name=f"the network of this run (to start from '{name}')")


def begun_with(name: str) -> WeightsFile:
    """Look at the file of weights that are begun with.

    Args:
        name: theirs in the catalog, or a file.

    Raises:
        WeightsError: they are not installed, or corrupt.
        CheckpointError: the file cannot be read.
    """
    return open_weights(Path(name) if looks_like_path(name) else WeightsStore().require(name))


def fill(network: nn.Module, state: Mapping[str, Tensor], *, name: str) -> None:
    """Copy parameters and buffers into a network, which ``name`` stands for in messages.

    Raises:
        CheckpointError: keys or shapes differ.
    """
    check_fit(shapes_of(network.state_dict()), state, name=name)
    network.load_state_dict(dict(state))
