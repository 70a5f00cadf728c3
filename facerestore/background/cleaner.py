"""The network of ours that cleans whole photos, ``lite`` trained for the purpose `PURPOSE`: run without torch.

It gives a picture of the size that it is given. A photo that is to be enlarged is enlarged first, and cleaned at the
size of the result: soft and blocky is what it has learnt to clean.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from facerestore.backends.lite import WHOLE_PHOTOS
from facerestore.background.tiles import Network, round_up
from facerestore.engines import Place
from facerestore.engines.graph import open_graph, runs_graph
from facerestore.errors import CheckpointError, MalformedError, parse_whole, refusing
from facerestore.weights.checkpoint import load_state_dict, load_strictly, on_meta, shapes_of

if TYPE_CHECKING:
    from facerestore.archs.lite import LiteGenerator
    from facerestore.engines import Engine
    from facerestore.weights.weights_file import WeightsFile

PURPOSE = WHOLE_PHOTOS

MULTIPLE = "multiple"
"""Entry of the header: the sides of what the network takes are multiples of this, pixels."""

MOST_MULTIPLE_PX = 512

OVERLAP_PX = 32
"""How far around a pixel the network must see (measured; see ``weights/lite_photo_x1.md``)."""


def is_cleaner(file: WeightsFile) -> bool:
    """Say whether the header of a file says that it holds such a network."""
    return (file.metadata.get("backend"), file.metadata.get("purpose")) == ("lite", PURPOSE)


def load_cleaner(file: WeightsFile, place: Place) -> Network:
    """Return the network of a weights file.

    Args:
        file: of which `is_cleaner` is true.
        place: where it runs.

    Raises:
        CheckpointError: the file is damaged, or of another network.
        ConfigError: the place has a provider that is not here.
        BackendError: what runs it is not installed.
    """
    if runs_graph(file, place):
        return _network(open_graph(file, place), _multiple(file))
    from facerestore.engines.torch_module import TorchEngine

    module = load_cleaner_module(file)
    return _network(TorchEngine(module, device=place.device), module.size_multiple)


def load_cleaner_module(file: WeightsFile) -> LiteGenerator:
    """Return the torch network of a weights file, computed in float32 whatever it is stored in.

    Raises:
        CheckpointError: the file is damaged, or of another network.
        BackendError: torch is not installed.
    """
    state = load_state_dict(file)
    from facerestore.archs.lite import LiteGenerator, config_from_shapes

    with refusing(lambda why: CheckpointError(f"'{file.path}' cleans no photos: {why}; give another file")):
        try:
            config = config_from_shapes(shapes_of(state))
        except (KeyError, ValueError, IndexError) as error:
            raise MalformedError(f"it holds no 'lite' network ({error})") from error
    network = on_meta(LiteGenerator, config)
    load_strictly(network, {key: value.float() for key, value in state.items()}, name="LiteGenerator")
    return network


def _network(engine: Engine, multiple: int) -> Network:
    overlap = round_up(OVERLAP_PX, multiple)
    return Network(engine, scale=1, multiple=multiple, overlap_px=overlap, cleans=True)


def _multiple(file: WeightsFile) -> int:
    with refusing(
        lambda why: CheckpointError(
            f"'{file.path}' does not say what sizes its network takes: {why}; export it again"
        )
    ):
        multiple = parse_whole(file.metadata.get(MULTIPLE, ""), most=MOST_MULTIPLE_PX)
        if not multiple:
            raise MalformedError("multiples of 0")
        return multiple
