"""From a word such as ``gpen`` to parameters: those that are installed, or random ones at a published shape."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from facerestore.backends import backend_class, backend_names, identify, needs_weights
from facerestore.backends.base import TensorRestorer, fixed_randomness
from facerestore.backends.description import has_example
from facerestore.backends.exported import exported_file
from facerestore.config import RESTORE, RestoreConfig
from facerestore.errors import ConfigError
from facerestore.parsing.network_parser import INPUT_SIZE, TorchParser
from facerestore.parsing.networks import PARSERS
from facerestore.pipeline.choose import choose
from facerestore.pipeline.installed import AUTO, PARSE, ChosenWeights, ranked
from facerestore.weights.checkpoint import load_state_dict
from facerestore.weights.weights_file import looks_like_path

if TYPE_CHECKING:
    import torch

    from facerestore.weights import WeightsStore

WOKEN_DEVIATION = 0.1
"""Standard deviation of what is drawn for parameters that start at zero, which would hide what stands before them."""

EXAMPLE_PARSER_SIZE = 32
"""Side of the faces of a parser's small example, pixels."""


@dataclass(frozen=True, slots=True)
class Source:
    """Parameters, and whose they are.

    Attributes:
        name: of the backend or parser.
        label: what the parameters are, for people.
        state_dict: the parameters; None for a backend that needs none.
        size: side of the faces of a parser, pixels; None where the parameters tell.
        chosen: what is loaded where there are no parameters to hold: an exported network, or one without any.
    """

    name: str
    label: str
    state_dict: Mapping[str, torch.Tensor] | None
    size: int | None = None
    chosen: ChosenWeights | None = None


def parser_class(name: str) -> type[TorchParser] | None:
    """Return the parser network of a name; None for other names."""
    return next((found for found in PARSERS if found.name == name), None)


def drawable_names() -> list[str]:
    """Return the networks that can be drawn: backends, then parsers."""
    return [*(name for name in backend_names() if needs_weights(name)), *(parser.name for parser in PARSERS)]


def published_sizes(name: str) -> list[int]:
    """Return the sides of faces at which a network can be drawn: the published ones, and last that of its example.

    Raises:
        ConfigError: no backend or parser has this name.
        BackendError: the backend is broken.
    """
    if parser_class(name) is not None:
        return [INPUT_SIZE, EXAMPLE_PARSER_SIZE]
    found = backend_class(name)
    published = [restorer.face_size for restorer in found.published()]
    if has_example(found):
        example = found.build(found.example_state_dict()).face_size
        published += [example] if example not in published else []
    return published


def find_source(word: str, *, random: bool, size: int | None, store: WeightsStore) -> Source:
    """Return the parameters that a word of a side names.

    Args:
        word: a backend, a parser, catalog weights, a file, or ``auto`` for the weights that ``enhance`` takes.
        random: draw them.
        size: which size is drawn, pixels; None for the smallest published one.
        store: where weights are looked for.

    Raises:
        WeightsError: they are not installed, or unfit.
        ConfigError: nothing has this name, or it cannot be drawn, or not at this size.
    """
    if random:
        return _drawn_source(word, size)
    entry = store.catalog.entries.get(word)
    if parser_class(word) is not None or (entry is not None and entry.purpose == PARSE):
        return _installed_parser(word, store)
    if exported_file(word) is not None or (word in backend_names() and not needs_weights(word)):
        return Source(word, word, None, chosen=choose(RESTORE.purpose, RestoreConfig(backend=word), store))
    config = RestoreConfig(backend=word) if word in (AUTO, *backend_names()) else RestoreConfig(weights=word)
    chosen = choose(RESTORE.purpose, config, store)
    if chosen.source is None:  # told apart above
        raise ConfigError(f"'{word}' has no weights to measure")
    state_dict = load_state_dict(chosen.source)
    own = next((parser for parser in PARSERS if parser.detect(state_dict)), None)
    if own is not None and looks_like_path(word):
        return Source(own.name, word, state_dict)
    return Source(chosen.backend or identify(state_dict), chosen.name, state_dict)


def _installed_parser(word: str, store: WeightsStore) -> Source:
    """Return the parameters of an installed parser, by its own name or that of its network."""
    name = word
    if parser_class(word) is not None:
        found = ranked(PARSE, store, backends={word} if word == "parsenet" else None)
        if not found or found[0].backend != word:
            raise ConfigError(f"no weights of the parser '{word}' are installed; give --random, or a file")
        name = found[0].name
    chosen = choose(PARSE, RestoreConfig(parser=name), store)
    if chosen.source is None:
        raise ConfigError(f"the parser '{word}' is no network")
    state_dict = load_state_dict(chosen.source)
    kind = next((parser for parser in PARSERS if parser.detect(state_dict)), None)
    if kind is None:
        raise ConfigError(f"'{word}' is of no parser that is known")
    return Source(kind.name, chosen.name, state_dict)


def _drawn_source(word: str, size: int | None) -> Source:
    """Return random parameters, the same at every call and in every process."""
    if parser_class(word) is not None:
        return _drawn_parser(word, INPUT_SIZE if size is None else size)
    if word not in backend_names():
        raise ConfigError(
            f"'{word}' cannot be drawn; random weights need one of {', '.join(drawable_names())}"
        )
    found = backend_class(word)
    for restorer in found.published():
        if isinstance(restorer, TensorRestorer) and size in (None, restorer.face_size):
            return Source(word, "random weights", _random_like(restorer.network))
    if has_example(found):
        state_dict = found.example_state_dict()
        if size in (None, found.build(state_dict).face_size):
            return Source(word, "random weights of the small example", state_dict)
    sizes = ", ".join(f"{own} px" for own in published_sizes(word))
    raise ConfigError(
        f"backend '{word}' cannot be drawn at {size} px; " + (f"give {sizes}" if sizes else "give weights")
    )


def _drawn_parser(word: str, size: int) -> Source:
    from facerestore.archs.bisenet import BiSeNet, BiSeNetConfig
    from facerestore.archs.parsenet import ParseNet, ParseNetConfig
    from facerestore.archs.parts import PartsConfig, PartsNet

    tiny = size == EXAMPLE_PARSER_SIZE
    with fixed_randomness():
        network: torch.nn.Module
        if word == "parse":
            network = PartsNet(PartsConfig(widths=(4, 6), blocks=(1, 1)) if tiny else PartsConfig())
        elif word == "parsenet":
            network = ParseNet(ParseNetConfig((4, 6, 8), 1, (6, 4)) if tiny else ParseNetConfig())
        else:
            network = BiSeNet(BiSeNetConfig((4, 6, 8, 10), 6, 4, 4) if tiny else BiSeNetConfig())
        return Source(word, "random weights", _woken_parameters(network), size)


def _random_like(network: torch.nn.Module) -> Mapping[str, torch.Tensor]:
    """Return random parameters for a network of the meta device, as its own class draws them."""
    config = getattr(network, "config", None)
    if config is None:
        raise ConfigError(
            f"{type(network).__name__} cannot be drawn: it has no configuration; give weights, or --size of the example"
        )
    with fixed_randomness():
        return _woken_parameters(type(network)(config))


def _woken_parameters(network: torch.nn.Module) -> Mapping[str, torch.Tensor]:
    """Return the parameters of a network, those that start at zero drawn."""
    import torch

    with torch.no_grad():
        for parameter in network.parameters():
            if not bool(parameter.any()):
                parameter.normal_(std=WOKEN_DEVIATION)
    return network.state_dict()
