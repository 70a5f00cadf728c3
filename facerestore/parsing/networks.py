"""Parser networks: a small one of ours, ParseNet and BiSeNet, recognised by their keys and loaded strictly."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Self

from facerestore.engines import Place
from facerestore.engines.graph import open_graph, runs_graph
from facerestore.errors import CheckpointError
from facerestore.face_parts import CLASS_NAMES
from facerestore.parsing.network_parser import INPUT_SIZE, GraphParser, NetworkParser, TorchParser
from facerestore.weights.checkpoint import (
    count_indices,
    load_state_dict,
    load_strictly,
    on_meta,
    open_weights,
    shapes_of,
    trained_size,
)

if TYPE_CHECKING:
    import torch

    from facerestore.archs.bisenet import BiSeNetConfig
    from facerestore.archs.parsenet import ParseNetConfig
    from facerestore.weights.weights_file import WeightsSource

KEYS_SHOWN = 5
"""How many keys of an unknown file a message shows, to recognise the network by."""

# Of ImageNet's images in [0, 1]; what networks that start from its weights are fed with.
IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_DEVIATION = (0.229, 0.224, 0.225)

BISENET_CLASSES: tuple[str, ...] = (
    "background",
    "skin",
    "left_brow",
    "right_brow",
    "left_eye",
    "right_eye",
    "eyeglasses",
    "left_ear",
    "right_ear",
    "earring",
    "nose",
    "mouth",
    "upper_lip",
    "lower_lip",
    "neck",
    "necklace",
    "cloth",
    "hair",
    "hat",
)
"""The classes in the order of face-parsing.PyTorch, whose BiSeNet facexlib publishes (its issues 12 and 55)."""


class PartsParser(TorchParser):
    """Labels faces with our small :class:`facerestore.archs.parts.PartsNet`, fed with RGB in [-1, 1]."""

    name = "parse"
    mean = (0.5, 0.5, 0.5)
    deviation = (0.5, 0.5, 0.5)

    def inference_form(self, network: torch.nn.Module) -> Any:
        """Return the network as it was trained, its features with channels last."""
        import torch

        return network.to(memory_format=torch.channels_last)

    @classmethod
    def detect(cls, state_dict: Mapping[str, torch.Tensor]) -> bool:
        """Say whether the keys are those of the small parser of ours."""
        return _has_prefixes(state_dict, "stem.", "encoder.", "decoder.", "label.")

    @classmethod
    def build(cls, state_dict: Mapping[str, torch.Tensor], *, device: torch.device | str = "cpu") -> Self:
        """Return a parser with these parameters; see `TorchParser.build`."""
        from facerestore.archs.parts import PartsNet, parts_config

        try:
            config = parts_config(shapes_of(state_dict))
        except (KeyError, ValueError, IndexError) as error:
            raise CheckpointError(f"no 'parse' network: {error}; the file is cut short or foreign") from error
        network = on_meta(PartsNet, config)
        load_strictly(network, {key: value.float() for key, value in state_dict.items()}, name="PartsNet")
        _check_classes(config.classes)
        return cls(network, device=device)


class ParseNetParser(TorchParser):
    """Labels faces with :class:`facerestore.archs.parsenet.ParseNet`, fed with RGB in [-1, 1]."""

    name = "parsenet"
    mean = (0.5, 0.5, 0.5)
    deviation = (0.5, 0.5, 0.5)

    def inference_form(self, network: torch.nn.Module) -> Any:
        """Return the network with its norms folded into its convolutions and what branches share done once."""
        from facerestore.archs.parsenet import ParseNet, fuse_parsenet

        fused = fuse_parsenet(network, side=INPUT_SIZE) if isinstance(network, ParseNet) else network
        return super().inference_form(fused)

    @classmethod
    def detect(cls, state_dict: Mapping[str, torch.Tensor]) -> bool:
        """Say whether the keys are those of a ParseNet."""
        return _has_prefixes(state_dict, "encoder.", "body.", "decoder.", "out_mask_conv.")

    @classmethod
    def build(cls, state_dict: Mapping[str, torch.Tensor], *, device: torch.device | str = "cpu") -> Self:
        """Return a parser with these parameters; see `TorchParser.build`."""
        from facerestore.archs.parsenet import ParseNet

        config = parsenet_config(state_dict)
        network = on_meta(ParseNet, config)
        load_strictly(network, state_dict, name="ParseNet")
        _check_classes(config.classes)
        return cls(network, device=device)


class BiSeNetParser(TorchParser):
    """Labels faces with :class:`facerestore.archs.bisenet.BiSeNet`; its classes are put into our order."""

    name = "bisenet"
    mean = IMAGENET_MEAN
    deviation = IMAGENET_DEVIATION
    classes = BISENET_CLASSES

    def inference_form(self, network: torch.nn.Module) -> Any:
        """Return the network with its norms folded into its convolutions."""
        from facerestore.archs.bisenet import BiSeNet, for_inference

        return super().inference_form(for_inference(network) if isinstance(network, BiSeNet) else network)

    @classmethod
    def detect(cls, state_dict: Mapping[str, torch.Tensor]) -> bool:
        """Say whether the keys are those of a BiSeNet with a ResNet-18."""
        return _has_prefixes(state_dict, "cp.resnet.", "cp.arm16.", "ffm.", "conv_out.")

    @classmethod
    def build(cls, state_dict: Mapping[str, torch.Tensor], *, device: torch.device | str = "cpu") -> Self:
        """Return a parser with these parameters; see `TorchParser.build`."""
        from facerestore.archs.bisenet import BiSeNet

        config = bisenet_config(state_dict)
        network = on_meta(BiSeNet, config)
        load_strictly(network, state_dict, name="BiSeNet")
        _check_classes(config.classes)
        return cls(network, device=device)


PARSERS: tuple[type[TorchParser], ...] = (PartsParser, ParseNetParser, BiSeNetParser)
"""The networks that are known."""


def load_parser(
    source: WeightsSource, *, device: torch.device | str = "cpu", place: Place | None = None
) -> NetworkParser:
    """Return a parser with the parameters of a weights file; its keys tell which network it is.

    Args:
        source: safetensors or PyTorch file; read without running code.
        device: where torch runs the network.
        place: where an engine runs a file that holds a graph; None for torch.

    Raises:
        CheckpointError: the file is unsafe, corrupt or of no parser, or does not fit; the first missing, unexpected
            and misshapen keys are named.
        ConfigError: the place has a provider that is not here, or that this file is not for.
    """
    file = open_weights(source)
    if place is not None and file.metadata.get("arch") == PartsParser.name and runs_graph(file, place):
        size = trained_size(file.metadata, default=INPUT_SIZE)
        return GraphParser(PartsParser.name, open_graph(file, place), input_size=size)
    state_dict = load_state_dict(file)
    try:
        parser = _class_of(state_dict).build(state_dict, device=device)
        parser.input_size = trained_size(file.metadata, default=INPUT_SIZE)
    except CheckpointError as error:
        raise CheckpointError(f"'{file.path}': {error}") from error
    return parser


def parsenet_config(state_dict: Mapping[str, torch.Tensor]) -> ParseNetConfig:
    """Return the widths of a ParseNet, read from the shapes of its tensors.

    Where such tensors are missing, the published widths are returned, and loading reports what is missing.
    """
    from facerestore.archs.parsenet import ParseNetConfig

    shapes = shapes_of(state_dict)
    try:
        return ParseNetConfig(
            encoder=(
                shapes["encoder.0.conv2d.weight"][0],
                *(
                    shapes[f"encoder.{i}.conv2.conv2d.weight"][0]
                    for i in range(1, count_indices(shapes, r"encoder\.(\d+)\..*"))
                ),
            ),
            body_blocks=count_indices(shapes, r"body\.(\d+)\..*"),
            decoder=tuple(
                shapes[f"decoder.{i}.conv2.conv2d.weight"][0]
                for i in range(count_indices(shapes, r"decoder\.(\d+)\..*"))
            ),
            classes=shapes["out_mask_conv.conv2d.weight"][0],
        )
    except (KeyError, IndexError):
        return ParseNetConfig()


def bisenet_config(state_dict: Mapping[str, torch.Tensor]) -> BiSeNetConfig:
    """Return the widths of a BiSeNet, read from the shapes of its tensors.

    Where such tensors are missing, the published widths are returned, and loading reports what is missing.
    """
    from facerestore.archs.bisenet import BiSeNetConfig

    shapes = shapes_of(state_dict)
    try:
        first, second, third, fourth = (
            shapes[f"cp.resnet.layer{stage}.0.conv1.weight"][0] for stage in (1, 2, 3, 4)
        )
        return BiSeNetConfig(
            stages=(first, second, third, fourth),
            context=shapes["cp.arm16.conv.conv.weight"][0],
            head=shapes["conv_out16.conv.conv.weight"][0],
            squeeze=shapes["ffm.conv1.weight"][0],
            classes=shapes["conv_out.conv_out.weight"][0],
        )
    except (KeyError, IndexError):
        return BiSeNetConfig()


def _class_of(state_dict: Mapping[str, torch.Tensor]) -> type[TorchParser]:
    for parser in PARSERS:
        if parser.detect(state_dict):
            return parser
    first = ", ".join(f"'{key}'" for key in list(state_dict)[:KEYS_SHOWN])
    raise CheckpointError(
        f"these {len(state_dict)} keys ({first}, ...) are of no face parser that is known, which are"
        f" {' and '.join(parser.name for parser in PARSERS)}; see 'facerestore weights list'"
    )


def _has_prefixes(state_dict: Mapping[str, torch.Tensor], *prefixes: str) -> bool:
    """Say whether for each prefix some key starts with it: a file that lacks a few keys is still recognised."""
    return all(any(key.startswith(prefix) for key in state_dict) for prefix in prefixes)


def _check_classes(count: int) -> None:
    if count != len(CLASS_NAMES):
        raise CheckpointError(
            f"the network tells {count} classes apart, not the {len(CLASS_NAMES)} of CelebAMask-HQ;"
            " which part each of them is cannot be known"
        )
