"""The networks of a side, ready to run: a restorer or a parser, as shipped or in its reference form."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Any, Protocol, cast

import numpy as np

from facerestore.backends import backend_class
from facerestore.backends.base import TensorRestorer, faces_to_tensor, tensor_to_faces
from facerestore.backends.calling import restore_faces
from facerestore.backends.engine_restorer import EngineRestorer
from facerestore.backends.restorer import Restorer
from facerestore.bench.sides import Side
from facerestore.bench.sources import EXAMPLE_PARSER_SIZE, Source, find_source, parser_class
from facerestore.engines.graph import TORCH
from facerestore.errors import ConfigError
from facerestore.imaging.pixels import resize_face
from facerestore.parsing.network_parser import INPUT_SIZE, TorchParser
from facerestore.pipeline.load import load_restorer
from facerestore.testing.drawn_faces import trial_faces, trial_map
from facerestore.types import AlignedFace, FaceImage, ParsingMap

if TYPE_CHECKING:
    import torch
    from numpy.typing import NDArray

    from facerestore.weights import WeightsStore


HALF_PRECISIONS = ("bf16", "fp16")


class Part(Protocol):
    """One network on one device; a restorer or a parser.

    Attributes:
        name: of its backend or parser.
        size: side of the faces that it gives, pixels.
        parameters: how many numbers its weights hold; 0 where they cannot be counted.
        parses: it gives parsing maps.
    """

    name: str
    size: int
    parameters: int
    parses: bool

    def run(self, faces: Sequence[AlignedFace], maps: Sequence[ParsingMap] | None) -> Sequence[NDArray[Any]]:
        """Return what the line takes from it for faces: images, or maps."""

    def gflop(self) -> float | None:
        """Return the operations of the published maths for one face, in 10^9; None where they cannot be counted.

        A multiply-add is two operations.
        """

    def output(self, faces: Sequence[AlignedFace], maps: Sequence[ParsingMap]) -> NDArray[np.float32]:
        """Return the numbers of the network itself, neither clipped nor made labels of."""


def open_parts(side: Side, *, device: torch.device, store: WeightsStore) -> list[Part]:
    """Return the networks of a side in the order in which they run: a parser comes before its restorer.

    Raises:
        WeightsError: weights are not installed, or unfit.
        ConfigError: a network or size is unknown, or has no reference form.
        BackendError: a backend is broken.
    """
    words = side.words
    size_of = {word: side.size if index == 0 else None for index, word in enumerate(words)}
    parts = [
        _open_part(
            find_source(w, random=side.random, size=_own_size(w, size_of[w], side), store=store), side, device
        )
        for w in words
    ]
    if sum(part.parses for part in parts) > 1 or sum(not part.parses for part in parts) > 1:
        raise ConfigError(
            f"'{side.network}' is no restorer with its parser; give one of each, such as psfr+parsenet"
        )
    return sorted(parts, key=lambda part: not part.parses)


def _own_size(word: str, size: int | None, side: Side) -> int | None:
    """Return the size of one network: a parser beside a small example is a small example too."""
    if (
        size is None
        and parser_class(word) is not None
        and side.size is not None
        and side.size < INPUT_SIZE // 2
    ):
        return EXAMPLE_PARSER_SIZE
    return size


def _open_part(source: Source, side: Side, device: torch.device) -> Part:
    parser = parser_class(source.name)
    if parser is not None:
        return ParserPart(source, parser, side, device)
    if side.form == "reference":
        return ReferencePart(source, device)
    return ShippedPart(source, _open_restorer(source, side, device))


class ShippedPart:
    """A restorer as facerestore runs it."""

    parses = False

    def __init__(self, source: Source, restorer: Restorer) -> None:
        self.name, self._source, self.restorer = source.name, source, restorer
        self.parameters = 0 if source.state_dict is None else _parameter_count(source.state_dict)
        self.size = self.restorer.face_size
        self._input_size = self.restorer.input_size

    def run(self, faces: Sequence[AlignedFace], maps: Sequence[ParsingMap] | None) -> Sequence[FaceImage]:
        """Return the restored faces."""
        return restore_faces(self.restorer, faces, maps if self.restorer.needs_parsing else None)

    def gflop(self) -> float | None:
        """Return the operations for one face, in 10^9: of the published maths, or where no reference has it, as run.

        None for what is no torch module.
        """
        if self._source.state_dict is not None and self.name in reference_names():
            return reference_gflop(self._source, self._input_size)
        faces, maps = trial_faces(self.size)[:1], [trial_map(self.size)]
        return counted_gflop(lambda: self.output(faces, maps)) or None

    def output(self, faces: Sequence[AlignedFace], maps: Sequence[ParsingMap]) -> NDArray[np.float32]:
        """Return (N, 3, S, S) in the network's own range, or (N, S, S, 3) images of one that is no torch module."""
        restorer = self.restorer
        if isinstance(restorer, EngineRestorer):
            crops = [resize_face(face.lq, restorer.input_size) for face in faces]
            given = faces_to_tensor(crops, restorer.network_range).numpy()
            return restorer.run(given, restorer.fitted(maps))
        if not isinstance(restorer, TensorRestorer):
            return np.stack(self.run(faces, maps))
        return np.asarray(self._forward(faces, maps).float().cpu().numpy(), dtype=np.float32)

    def _forward(self, faces: Sequence[AlignedFace], maps: Sequence[ParsingMap] | None) -> torch.Tensor:
        import torch

        restorer = cast(TensorRestorer, self.restorer)
        crops = [resize_face(face.lq, restorer.input_size) for face in faces]
        with torch.inference_mode():
            x = faces_to_tensor(crops, restorer.network_range).to(restorer.device)
            return restorer.forward(x, maps if restorer.needs_parsing else None)


def _building_form(side: Side) -> AbstractContextManager[None]:
    """Return the context in which networks are built in the form of a side."""
    from facerestore.archs.convolution import published_forms

    return published_forms() if side.form == "eager" else nullcontext()


def _open_restorer(source: Source, side: Side, device: torch.device) -> Restorer:
    """Return the restorer of a source in the form and precision of a side."""
    restorer: Restorer
    provider = side.provider if side.form == "shipped" else TORCH
    with _building_form(side):
        if source.chosen is not None:
            restorer = load_restorer(source.chosen, device=device, provider=provider, threads=side.threads)
        else:
            restorer = backend_class(source.name).build(source.state_dict or {}, device=device)
    if side.precision in HALF_PRECISIONS and isinstance(restorer, TensorRestorer | EngineRestorer):
        restorer = restorer.with_precision(side.precision)
    return restorer


class ReferencePart(ShippedPart):
    """A restorer in its reference form; its shipped form is never built."""

    def __init__(self, source: Source, device: torch.device) -> None:
        if source.state_dict is None:
            raise ConfigError(f"backend '{source.name}' has no weights, and so no reference form")
        published = _published_network(source.name, source.state_dict, device)
        if not isinstance(published, TensorRestorer):
            raise ConfigError(f"'{source.name}' restores no faces")
        published.network = _reference_form(published)
        super().__init__(source, published)
        self._range = published.network_range

    def run(self, faces: Sequence[AlignedFace], maps: Sequence[ParsingMap] | None) -> Sequence[FaceImage]:
        """Return the restored faces, without what our own restoring checks."""
        return tensor_to_faces(self._forward(faces, maps), self._range)


class ParserPart:
    """A parser network in either form."""

    parses = True

    def __init__(self, source: Source, found: type[TorchParser], side: Side, device: torch.device) -> None:
        if source.state_dict is None:
            raise ConfigError(f"the parser '{source.name}' has no weights")
        self.name, self._source = source.name, source
        with _building_form(side):
            self.parser = found.build(source.state_dict, device=device)
        if source.size is not None:
            self.parser.input_size = source.size
        self.size = self.parser.input_size
        self.parameters = _parameter_count(source.state_dict)
        if side.form == "reference":
            self.parser.network = _Logits(reference_network(source.name, source.state_dict, device))  # type: ignore[assignment]

    def run(self, faces: Sequence[AlignedFace], maps: Sequence[ParsingMap] | None) -> Sequence[ParsingMap]:
        """Return the maps of faces."""
        return self.parser.parse(faces)

    def gflop(self) -> float:
        """Return the operations for one face, in 10^9."""
        return reference_gflop(self._source, self.size)

    def output(self, faces: Sequence[AlignedFace], maps: Sequence[ParsingMap]) -> NDArray[np.float32]:
        """Return (N, classes, S, S) logits."""
        import torch

        crops = [resize_face(face.lq, self.size) for face in faces]
        mean, deviation = np.array([self.parser.mean, self.parser.deviation], dtype=np.float32)
        normalised = (np.stack(crops) - mean) / deviation
        with torch.inference_mode():
            x = torch.from_numpy(np.ascontiguousarray(normalised.transpose(0, 3, 1, 2))).to(
                self.parser.device
            )
            return np.asarray(self.parser.network.logits(x).float().cpu().numpy(), dtype=np.float32)


class _Logits:
    """A network that is asked for its logits."""

    def __init__(self, network: torch.nn.Module) -> None:
        self.logits = network


def reference_network(
    name: str, state_dict: Mapping[str, torch.Tensor], device: torch.device
) -> torch.nn.Module:
    """Return the reference form of a network with these parameters, in float32.

    Raises:
        ConfigError: it has none.
    """
    return _reference_form(_published_network(name, state_dict, device))


def _reference_form(published: TensorRestorer | TorchParser) -> torch.nn.Module:
    from facerestore.archs.reference import ReferenceNetwork

    return ReferenceNetwork(published.network).eval()


def _published_network(
    name: str, state_dict: Mapping[str, torch.Tensor], device: torch.device
) -> TensorRestorer | TorchParser:
    """Return what holds a network as it was published; raises ConfigError where it has no reference form."""
    from facerestore.archs.convolution import published_forms

    if name not in reference_names():
        raise ConfigError(
            f"'{name}' has no reference form; those that have one are {', '.join(reference_names())}"
        )
    with published_forms():
        built = (parser_class(name) or backend_class(name)).build(state_dict, device=device)
    if not isinstance(built, TensorRestorer | TorchParser):
        raise ConfigError(f"'{name}' is made of no torch network")
    return built


def reference_names() -> list[str]:
    """Return the networks that have a reference form."""
    from facerestore.archs.reference import REFERENCES

    return list(REFERENCES)


def reference_gflop(source: Source, input_size: int) -> float:
    """Return the operations of a reference form for one face, in 10^9, counted on shapes alone.

    Raises:
        ConfigError: the network has no parameters.
    """
    import torch

    if source.state_dict is None:
        raise ConfigError(f"'{source.name}' has no parameters to count with")
    meta = torch.device("meta")
    network = reference_network(source.name, source.state_dict, meta)
    inputs = [torch.empty(1, 3, input_size, input_size, device=meta)]
    if source.name == "psfr":
        from facerestore.archs.psfr import CLASSES

        inputs.append(torch.empty(1, CLASSES, input_size, input_size, device=meta))
    return counted_gflop(lambda: network(*inputs))


def counted_gflop(run: Callable[[], object]) -> float:
    """Return the operations of a call, in 10^9, as torch's counter sees them: products and convolutions."""
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        run()
    return float(counter.get_total_flops()) / 1e9


def _parameter_count(state_dict: Mapping[str, torch.Tensor]) -> int:
    return sum(value.numel() for value in state_dict.values())
