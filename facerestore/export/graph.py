"""A restorer's network as a function of tensors alone, which the exporters can record."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from facerestore.archs.gpen import GPENGenerator, fixed_noise
from facerestore.archs.psfr import PSFRGenerator, one_hot
from facerestore.errors import ConfigError, first_line

if TYPE_CHECKING:
    from facerestore.backends.base import TensorRestorer

FACE, LABELS, RESTORED = "face", "parsing_map", "restored"
"""Names of the inputs and of the output of every graph."""

SAMPLE_BATCH = 2
"""Faces in the batch that is recorded: more than one, or torch would take the batch for fixed at one."""

MOST_FACES = 1024
"""What a graph says of its largest batch; a bound is asked for, and nothing depends on it."""


class Graph(nn.Module):
    """B 3 S S -> B 3 S S: the network as its restorer calls it, with all else (such as a fidelity) fixed."""

    def __init__(self, restorer: TensorRestorer) -> None:
        super().__init__()
        self.network = restorer.network
        self._call = restorer.forward

    def forward(self, face: Tensor) -> Tensor:
        """B 3 S S -> B 3 S S."""
        return self._call(face, None)


class NoisyGraph(nn.Module):
    """A GPEN, the noise of layers above its input's size being part of the graph."""

    def __init__(self, network: GPENGenerator) -> None:
        super().__init__()
        self.network = network
        noise = fixed_noise(network.extra_noise_shapes(), network.generator.input.input)
        self._names = [f"noise_{index}" for index in range(len(noise))]
        for name, value in zip(self._names, noise, strict=True):
            self.register_buffer(name, value)

    def forward(self, face: Tensor) -> Tensor:
        """B 3 S S -> B 3 S' S'."""
        y: Tensor = self.network(face, noise=[self.get_buffer(name) for name in self._names])
        return y


class ParsedGraph(nn.Module):
    """A PSFR-GAN, which takes class ids beside the face and makes planes of them itself."""

    def __init__(self, network: PSFRGenerator) -> None:
        super().__init__()
        self.network = network

    def forward(self, face: Tensor, parsing_map: Tensor) -> Tensor:
        """B 3 S S and B S S uint8 class ids -> B 3 S S."""
        y: Tensor = self.network(face, one_hot(parsing_map))
        return y


def graph_of(restorer: TensorRestorer) -> nn.Module:
    """Return the module that is to be recorded.

    Args:
        restorer: with the network as it was trained; see ``facerestore.archs.convolution.published_forms``.

    Raises:
        ConfigError: the network takes parsing maps in a way that only its adapter knows.
    """
    network = restorer.network
    if isinstance(network, GPENGenerator):
        return NoisyGraph(network).eval()
    if isinstance(network, PSFRGenerator):
        return ParsedGraph(network).eval()
    if restorer.needs_parsing:
        raise ConfigError(
            f"backend '{restorer.name}' takes parsing maps, and how its network is given them only its adapter knows;"
            " such a network cannot be exported"
        )
    return Graph(restorer).eval()


def sample_inputs(restorer: TensorRestorer) -> tuple[Tensor, ...]:
    """Return inputs of the right shapes; their values do not matter."""
    size = restorer.input_size
    face = torch.zeros(SAMPLE_BATCH, 3, size, size)
    if not restorer.needs_parsing:
        return (face,)
    return face, torch.zeros(SAMPLE_BATCH, size, size, dtype=torch.uint8)


def input_names(inputs: tuple[Tensor, ...]) -> list[str]:
    """Return the names of a graph's inputs."""
    return [FACE, LABELS][: len(inputs)]


def record_program(graph: nn.Module, inputs: tuple[Tensor, ...]) -> tuple[Any, int]:
    """Return the graph as ``torch.export`` records it, and the batch to which it is fixed; 0 where any will do.

    Raises:
        ConfigError: torch cannot record it.
    """
    from torch.export import Dim, export

    batch = Dim("batch", min=1, max=MOST_FACES)
    with torch.no_grad():
        try:
            return export(graph, inputs, dynamic_shapes=tuple({0: batch} for _ in inputs), strict=False), 0
        except (RuntimeError, ValueError):  # a network that reads its batch size cannot have any
            single = tuple(value[:1] for value in inputs)
        try:
            return export(graph, single, strict=False), 1
        except (RuntimeError, ValueError, NotImplementedError) as error:
            raise _unrecordable(error) from error


def _unrecordable(error: Exception) -> ConfigError:
    return ConfigError(f"torch cannot record this network as a graph: {first_line(error)}")
