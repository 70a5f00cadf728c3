"""Parser networks: ParseNet and BiSeNet, recognised by their keys, loaded strictly, and run on aligned faces."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from facerestore.checkpoint import (
    count_indices,
    load_state_dict,
    load_strictly,
    on_meta,
    read_metadata,
    shapes_of,
)
from facerestore.errors import BackendError, CheckpointError
from facerestore.face_image import resize_face, resize_map
from facerestore.face_parts import CLASS_NAMES
from facerestore.lanes import lane_to
from facerestore.outside import MalformedError, parse_whole, refusing
from facerestore.types import AlignedFace, FaceImage, ParsingMap
from facerestore.wording import count

if TYPE_CHECKING:
    import torch

    from facerestore.archs.bisenet import BiSeNet, BiSeNetConfig
    from facerestore.archs.parsenet import ParseNet, ParseNetConfig

INPUT_SIZE = 512
"""Side of the faces that all published parsers were trained on, pixels."""

SIZE_ENTRY = "face_size"
"""What a parser of ours says in its file's header: the side of the faces that it was trained on, pixels."""

ACCELERATOR_BATCH = 4
"""Faces in one call on an accelerator, where each takes 1 GB in ParseNet (measured); a CPU gains nothing by more."""

MOST_SIDE_PX = 8192
"""Of the faces that a parser may be trained on: a damaged header is not taken for a demand of memory."""

KEYS_SHOWN = 5
"""How many keys of an unknown file a message shows: enough to recognise the network by."""

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


class NetworkParser(ABC):
    """A parser made of one torch module; subclasses say how to recognise it, feed it and read its classes.

    Instances hold no state between calls and may be shared by threads.

    Attributes:
        name: ``parsenet`` or ``bisenet``.
        mean: subtracted from RGB in [0, 1], by channel.
        deviation: what is left is divided by, by channel.
        classes: names of the network's classes, in its own order.
        network: the torch module, in eval mode, on ``device``.
        device: where it runs.
        max_batch: most faces in one call.
        input_size: side to which faces are resized for the network, pixels.
    """

    name: str
    mean: ClassVar[tuple[float, float, float]]
    deviation: ClassVar[tuple[float, float, float]]
    classes: ClassVar[tuple[str, ...]] = CLASS_NAMES

    def __init__(
        self, network: ParseNet | BiSeNet, *, device: torch.device | str = "cpu", max_batch: int | None = None
    ) -> None:
        """Move the network to ``device`` and make it ready for inference.

        Args:
            network: its ``logits`` maps (N, 3, S, S) to (N, 19, S, S).
            device: a torch device that exists on this machine.
            max_batch: most faces in one call; None chooses by device.

        Raises:
            BackendError: ``max_batch`` is below 1.
        """
        import torch

        from facerestore.archs.convolution import takes_published_forms
        from facerestore.archs.replay import colours_last

        self.device = torch.device(device)
        by_device = 1 if self.device.type == "cpu" else ACCELERATOR_BATCH
        self.max_batch = by_device if max_batch is None else max_batch
        if self.max_batch < 1:
            raise BackendError(f"max_batch is {max_batch}; give 1 or more, or None to choose by device")
        self.input_size = INPUT_SIZE
        self.network = network.eval().requires_grad_(False).to(self.device)
        if not takes_published_forms():
            self.network = self.inference_form(self.network).eval()
        self._lane = lane_to(self.device)
        if self.device.type == "cuda":
            self.network = colours_last(self.network)
        self._ids = np.array([CLASS_NAMES.index(name) for name in self.classes], dtype=np.uint8)

    @property
    def overlaps(self) -> bool:
        """Whether a second thread may hand over faces while one fetches its maps: so on CUDA, see ``lanes``."""
        return self._lane.overlaps

    def inference_form(self, network: torch.nn.Module) -> Any:
        """Return the network that `parse` runs: the same sums, its wide convolutions by Winograd's method."""
        from facerestore.archs.convolution import quicken

        return quicken(network)

    @classmethod
    @abstractmethod
    def detect(cls, state_dict: Mapping[str, torch.Tensor]) -> bool:
        """Say whether a state dict belongs to this network, from key names alone."""

    @classmethod
    @abstractmethod
    def build(cls, state_dict: Mapping[str, torch.Tensor], *, device: torch.device | str = "cpu") -> Self:
        """Return a parser with these parameters on ``device``, computed in float32 whatever they are stored in.

        Raises:
            CheckpointError: keys are missing, unexpected, or have the wrong shape, or there are not 19 classes.
        """

    def parse(self, faces: Sequence[AlignedFace]) -> list[ParsingMap]:
        """Return one (S, S) uint8 map of CelebAMask-HQ ids per face, S the size of its ``lq``.

        Faces are resized to ``input_size`` for the network (by area when reducing, cubic when enlarging); each pixel
        takes the likeliest class, and maps go back to the size of the crop by nearest, since labels cannot be blended.

        Raises:
            BackendError: a crop is not square, or the network failed or gave values that are not finite.
        """
        maps: list[ParsingMap] = []
        for start in range(0, len(faces), self.max_batch):
            maps += self._parse_batch(faces[start : start + self.max_batch])
        return maps

    def _parse_batch(self, faces: Sequence[AlignedFace]) -> list[ParsingMap]:
        labels = self._ids[self._labels([_fitted(face.lq, self.name, self.input_size) for face in faces])]
        return [resize_map(own, face.lq.shape[0]) for own, face in zip(labels, faces, strict=True)]

    def _labels(self, crops: Sequence[FaceImage]) -> NDArray[np.uint8]:
        """Return the network's own class of each pixel, (N, S, S)."""
        import torch

        mean, deviation = np.array([self.mean, self.deviation], dtype=np.float32)
        normalised = (np.stack(crops) - mean) / deviation
        try:
            with torch.inference_mode():
                x = self._lane.upload(
                    torch.from_numpy(np.ascontiguousarray(normalised.transpose(0, 3, 1, 2)))
                )
                logits = self.network.logits(x)
                low, high = torch.aminmax(logits)
                finite = self._lane.download(torch.isfinite(low) & torch.isfinite(high))  # NaN is both
                labels = self._lane.download(likeliest(logits))
                found = labels().numpy() if bool(finite()) else None
        except RuntimeError as error:
            raise BackendError(
                f"parser '{self.name}' failed on {self.device} with {count(len(crops), 'face')}: {error};"
                " see 'facerestore doctor', or use --device cpu"
            ) from error
        if found is None:
            raise BackendError(
                f"parser '{self.name}' gave values that are not finite; verify its weights with"
                " 'facerestore weights verify', or use --device cpu"
            )
        return np.asarray(found, dtype=np.uint8)


def likeliest(logits: torch.Tensor) -> torch.Tensor:
    """Return the class of each pixel whose logit is largest, the first of equals: ``argmax(dim=1)``, but quicker.

    Args:
        logits: (N, C, H, W), finite, C below 256.

    Returns:
        (N, H, W) uint8.
    """
    import torch

    top, classes = logits.amax(dim=1), logits.shape[1]
    found = torch.zeros_like(top, dtype=torch.uint8)
    for index in range(classes):
        found = torch.maximum(found, (logits[:, index] == top).to(torch.uint8) * (classes - index))
    return classes - found


class ParseNetParser(NetworkParser):
    """Labels faces with :class:`facerestore.archs.parsenet.ParseNet`, fed with RGB in [-1, 1]."""

    name = "parsenet"
    mean = (0.5, 0.5, 0.5)
    deviation = (0.5, 0.5, 0.5)

    def inference_form(self, network: torch.nn.Module) -> Any:
        """Return the network with its norms folded into its convolutions and what branches share done once."""
        from facerestore.archs.parsenet import ParseNet
        from facerestore.archs.parsenet_fused import fuse_parsenet

        fused = fuse_parsenet(network, side=INPUT_SIZE) if isinstance(network, ParseNet) else network
        return super().inference_form(fused)

    @classmethod
    def detect(cls, state_dict: Mapping[str, torch.Tensor]) -> bool:
        """Say whether the keys are those of a ParseNet."""
        return _have(state_dict, "encoder.", "body.", "decoder.", "out_mask_conv.")

    @classmethod
    def build(cls, state_dict: Mapping[str, torch.Tensor], *, device: torch.device | str = "cpu") -> Self:
        """Return a parser with these parameters; see `NetworkParser.build`."""
        from facerestore.archs.parsenet import ParseNet

        config = parsenet_config(state_dict)
        network = on_meta(ParseNet, config)
        load_strictly(network, state_dict, name="ParseNet")
        _check_classes(config.classes)
        return cls(network, device=device)


class BiSeNetParser(NetworkParser):
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
        return _have(state_dict, "cp.resnet.", "cp.arm16.", "ffm.", "conv_out.")

    @classmethod
    def build(cls, state_dict: Mapping[str, torch.Tensor], *, device: torch.device | str = "cpu") -> Self:
        """Return a parser with these parameters; see `NetworkParser.build`."""
        from facerestore.archs.bisenet import BiSeNet

        config = bisenet_config(state_dict)
        network = on_meta(BiSeNet, config)
        load_strictly(network, state_dict, name="BiSeNet")
        _check_classes(config.classes)
        return cls(network, device=device)


PARSERS: tuple[type[NetworkParser], ...] = (ParseNetParser, BiSeNetParser)
"""The networks that are known."""


def load_parser(path: Path, *, device: torch.device | str = "cpu") -> NetworkParser:
    """Return a parser with the parameters of a weights file; which network it is, its keys tell.

    Args:
        path: safetensors or PyTorch file; read without running code.
        device: where the network runs.

    Raises:
        CheckpointError: the file is unsafe, corrupt or of no parser, or does not fit; the first missing, unexpected
            and misshapen keys are named.
    """
    state_dict = load_state_dict(path)
    try:
        parser = _recognised(state_dict).build(state_dict, device=device)
        parser.input_size = _trained_size(path)
    except CheckpointError as error:
        raise CheckpointError(f"'{path}': {error}") from error
    return parser


def _trained_size(path: Path) -> int:
    """Return the side of the faces that a parser was trained on: what its header says, else the published one."""
    if path.suffix != ".safetensors":
        return INPUT_SIZE
    text = read_metadata(path).get(SIZE_ENTRY, str(INPUT_SIZE))
    with refusing(
        lambda why: CheckpointError(f"its header says that {SIZE_ENTRY} is no side in pixels: {why}")
    ):
        size = parse_whole(text, most=MOST_SIDE_PX)
        if not size:
            raise MalformedError("it is 0")
    return size


def parsenet_config(state_dict: Mapping[str, torch.Tensor]) -> ParseNetConfig:
    """Return the widths of a ParseNet, read from the shapes of its tensors.

    Where tensors that tell them are missing, the published widths are returned: what is missing shows on loading.
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

    Where tensors that tell them are missing, the published widths are returned: what is missing shows on loading.
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


def _recognised(state_dict: Mapping[str, torch.Tensor]) -> type[NetworkParser]:
    for parser in PARSERS:
        if parser.detect(state_dict):
            return parser
    first = ", ".join(f"'{key}'" for key in list(state_dict)[:KEYS_SHOWN])
    raise CheckpointError(
        f"these {len(state_dict)} keys ({first}, ...) are of no face parser that is known, which are"
        f" {' and '.join(parser.name for parser in PARSERS)}; see 'facerestore weights list'"
    )


def _have(state_dict: Mapping[str, torch.Tensor], *prefixes: str) -> bool:
    """Say whether for each prefix some key starts with it: a file that lacks a few keys is still recognised."""
    return all(any(key.startswith(prefix) for key in state_dict) for prefix in prefixes)


def _check_classes(count: int) -> None:
    if count != len(CLASS_NAMES):
        raise CheckpointError(
            f"the network tells {count} classes apart, not the {len(CLASS_NAMES)} of CelebAMask-HQ;"
            " which part each of them is cannot be known"
        )


def _fitted(crop: FaceImage, name: str, size: int) -> FaceImage:
    """Return a crop at the size of the network, float32 RGB in [0, 1]."""
    if crop.ndim != 3 or crop.shape[2] != 3 or crop.shape[0] != crop.shape[1] or crop.dtype != np.float32:
        raise BackendError(
            f"lq is {crop.dtype} {crop.shape}; parser '{name}' takes square float32 (S, S, 3) RGB crops in [0, 1]"
        )
    return np.clip(resize_face(crop, size), 0, 1)
