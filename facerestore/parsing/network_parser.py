"""What all parser networks have in common: faces resized and fed, labels read and taken back to the crop."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from facerestore.engines.cores import side_by_side
from facerestore.engines.device import transfer_to
from facerestore.engines.room import in_halves
from facerestore.errors import BackendError, count, first_line
from facerestore.face_parts import CLASS_NAMES
from facerestore.imaging.pixels import resize_face, resize_map
from facerestore.types import AlignedFace, FaceImage, ParsingMap

if TYPE_CHECKING:
    import torch

    from facerestore.archs.bisenet import BiSeNet
    from facerestore.archs.parsenet import ParseNet
    from facerestore.archs.parts import PartsNet
    from facerestore.engines import Engine

INPUT_SIZE = 512
"""Side of the faces that all published parsers were trained on, pixels."""

ACCELERATOR_BATCH = 4
"""Faces in one call on an accelerator, where each takes 1 GB in ParseNet (measured); a CPU gains nothing by more."""


class NetworkParser(ABC):
    """A parser made of one network; subclasses say how it is fed and what runs it.

    Instances hold no state between calls and may be shared by threads.

    Attributes:
        name: ``parse``, ``parsenet`` or ``bisenet``.
        max_batch: most faces in one call.
        input_size: side to which faces are resized for the network, pixels.
        overlaps: a second thread may hand over faces while one fetches its maps.
    """

    name: str
    max_batch: int
    input_size: int = INPUT_SIZE
    overlaps: bool = False

    def parse(self, faces: Sequence[AlignedFace]) -> list[ParsingMap]:
        """Return one (S, S) uint8 map of CelebAMask-HQ ids per face, S the size of its ``lq``.

        Faces are resized to ``input_size`` for the network (by area when reducing, cubic when enlarging); each pixel
        takes the likeliest class, and maps go back to the size of the crop by nearest, since labels cannot be blended.

        Raises:
            BackendError: a crop is not square, or the network failed, had no room for a single face, or gave values
                that are not finite.
        """
        maps: list[ParsingMap] = []
        for start in range(0, len(faces), self.max_batch):
            maps += in_halves(self._parse_batch, faces[start : start + self.max_batch])
        return maps

    def _parse_batch(self, faces: Sequence[AlignedFace]) -> list[ParsingMap]:
        labels = self.labels([_fitted(face.lq, self.name, self.input_size) for face in faces])
        return [resize_map(own, face.lq.shape[0]) for own, face in zip(labels, faces, strict=True)]

    @abstractmethod
    def labels(self, crops: Sequence[FaceImage]) -> NDArray[np.uint8]:
        """Return the ids of CelebAMask-HQ of each pixel, (N, S, S), of crops at ``input_size``.

        Raises:
            BackendError: the network failed, or gave values that are not finite.
        """

    def failure(self, place: str, faces: int, error: Exception) -> BackendError:
        """Return the error of a network that failed."""
        return BackendError(
            f"parser '{self.name}' failed on {place} with {count(faces, 'face')}: {first_line(error)};"
            " see 'facerestore doctor', or use --device cpu"
        )

    def not_finite(self) -> BackendError:
        """Return the error of a network that gave values that are not finite."""
        return BackendError(
            f"parser '{self.name}' gave values that are not finite; verify its weights with"
            " 'facerestore weights verify', or use --device cpu"
        )


class GraphParser(NetworkParser):
    """A parser whose network an engine runs, from the graph in its weights file: without torch.

    Args:
        name: of the network.
        engine: (N, S, S, 3) float32 RGB in [0, 1] to the (N, S, S) uint8 id of each pixel and, to tell failures, the
            (N,) sum of the logits of each face; see :class:`facerestore.archs.parts.PartLabels`.
        input_size: side of the faces that it takes, pixels.
    """

    def __init__(self, name: str, engine: Engine, *, input_size: int) -> None:
        self.name, self._engine, self.input_size = name, engine, input_size
        self.max_batch = engine.fixed_batch or (ACCELERATOR_BATCH if engine.accelerated else 1)

    def parse(self, faces: Sequence[AlignedFace]) -> list[ParsingMap]:
        """Return the maps of faces, see :meth:`NetworkParser.parse`; on a CPU several calls go side by side."""
        if self._engine.accelerated:
            return super().parse(faces)
        calls = [faces[start : start + self.max_batch] for start in range(0, len(faces), self.max_batch)]
        return [own for maps in side_by_side(super().parse, calls) for own in maps]

    def labels(self, crops: Sequence[FaceImage]) -> NDArray[np.uint8]:
        """Return the id of each pixel."""
        try:
            found, sums = self._engine.run(np.stack(crops))
        except Exception as error:  # each engine has classes of its own
            raise self.failure(self._engine.place, len(crops), error) from error
        if not np.isfinite(sums).all():
            raise self.not_finite()
        return found


class TorchParser(NetworkParser):
    """A parser made of one torch module; subclasses say how to recognise it, feed it and read its classes.

    Attributes:
        mean: subtracted from RGB in [0, 1], by channel.
        deviation: what is left is divided by, by channel.
        classes: names of the network's classes, in its own order.
        network: the torch module, in eval mode, on ``device``.
        device: where it runs.
    """

    mean: ClassVar[tuple[float, float, float]]
    deviation: ClassVar[tuple[float, float, float]]
    classes: ClassVar[tuple[str, ...]] = CLASS_NAMES

    def __init__(
        self,
        network: PartsNet | ParseNet | BiSeNet,
        *,
        device: torch.device | str = "cpu",
        max_batch: int | None = None,
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
        self.network = network.eval().requires_grad_(False).to(self.device)
        if not takes_published_forms():
            self.network = self.inference_form(self.network).eval()
        self._transfer = transfer_to(self.device)
        self.overlaps = self._transfer.overlaps
        if self.device.type == "cuda":
            self.network = colours_last(self.network)
        self._ids = np.array([CLASS_NAMES.index(name) for name in self.classes], dtype=np.uint8)

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

    def labels(self, crops: Sequence[FaceImage]) -> NDArray[np.uint8]:
        """Return the id of each pixel."""
        import torch

        mean, deviation = np.array([self.mean, self.deviation], dtype=np.float32)
        normalised = (np.stack(crops) - mean) / deviation
        try:
            with torch.inference_mode():
                x = self._transfer.upload(
                    torch.from_numpy(np.ascontiguousarray(normalised.transpose(0, 3, 1, 2)))
                )
                logits = self.network.logits(x)
                low, high = torch.aminmax(logits)
                finite = self._transfer.download(torch.isfinite(low) & torch.isfinite(high))  # NaN is both
                labels = self._transfer.download(likeliest(logits))
                found = labels().numpy() if bool(finite()) else None
        except RuntimeError as error:
            raise self.failure(str(self.device), len(crops), error) from error
        if found is None:
            raise self.not_finite()
        ids: NDArray[np.uint8] = self._ids[found]
        return ids


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


def _fitted(crop: FaceImage, name: str, size: int) -> FaceImage:
    """Return a crop at the size of the network, float32 RGB in [0, 1]."""
    if crop.ndim != 3 or crop.shape[2] != 3 or crop.shape[0] != crop.shape[1] or crop.dtype != np.float32:
        raise BackendError(
            f"lq is {crop.dtype} {crop.shape}; parser '{name}' takes square float32 (S, S, 3) RGB crops in [0, 1]"
        )
    return np.clip(resize_face(crop, size), 0, 1)
