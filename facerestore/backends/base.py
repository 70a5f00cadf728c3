"""What every network backend shares: one place where faces become tensors and tensors become faces.

Outside a backend a face is a float32 (S, S, 3) RGB array in [0, 1]. Inside, it is an (N, 3, H, W) RGB tensor
in the network's own range. `TensorRestorer` does that conversion both ways, the resizing of crops that have
another size, the batching and the checks, so that an adapter only says how to recognise its checkpoints and
how to build its network.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from copy import copy
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np

from facerestore.backends.half import ComputedFace, RestoredFaces, all_finite, not_finite
from facerestore.device import autocast_dtype
from facerestore.errors import BackendError, ConfigError
from facerestore.face_image import resize_face
from facerestore.types import AlignedFace, FaceImage, ParsingMap
from facerestore.wording import count

if TYPE_CHECKING:
    import torch

# Crops may overshoot [0, 1] by a rounding error; anything beyond is an 8-bit image that was not scaled.
RANGE_TOLERANCE = 0.01

# Face pixels of one network call. GPEN takes about 1.2 GB of memory for each 512 px face; on a CPU four 256
# px faces in one call take as long as one after the other (measured), on an accelerator a batch is quicker.
CPU_BATCH_PIXELS = 512 * 512
ACCELERATOR_BATCH_PIXELS = 8 * 512 * 512


class TensorRestorer(ABC):
    """A restorer made of one torch module that maps face tensors to face tensors.

    Subclasses set ``name`` and ``network_range``, and implement `detect`, `config_from_state_dict` and
    `build`; where the network takes more than the image, also `forward`. Instances hold no state between
    calls and may be shared by threads.

    Attributes:
        name: the backend's name, first part of its weights' names (``gpen`` in ``gpen.bfr-512``).
        network_range: (low, high) value range of the network's input and output.
        needs_parsing: the network takes a parsing map beside each face.
        drawn_maps: it was trained on maps drawn from the five landmarks, and takes such maps.
        needs_weights: it is made from a weights file; a backend without one has ``create(*, device)`` instead
            of the three methods above (and need not derive from this class).
        summary: what it is, in one line for ``facerestore backends list``.
        paper: authors, title and where it stands; or a plain statement that there is none.
        requires: Python modules that its networks need and that facerestore does not install by itself.
        takes_half: the automatic precision may be fp16: its faces in it were compared with those in float32.
        network: the torch module, in eval mode, on ``device``.
        face_size: side of the faces that `restore` returns, pixels.
        input_size: side of the faces that the network takes, pixels.
        max_batch: most faces in one call of the network.
        device: where the network runs.
        precision: number format of its convolutions and products: ``float32``, ``bf16`` or ``fp16``.
    """

    name: str
    network_range: tuple[float, float] = (-1.0, 1.0)
    needs_parsing: bool = False
    drawn_maps: bool = False
    needs_weights: ClassVar[bool] = True
    summary: ClassVar[str] = ""
    paper: ClassVar[str] = ""
    requires: ClassVar[tuple[str, ...]] = ()
    takes_half: ClassVar[bool] = False

    def __init__(
        self,
        network: torch.nn.Module,
        *,
        face_size: int,
        input_size: int | None = None,
        max_batch: int | None = None,
        device: torch.device | str = "cpu",
    ) -> None:
        """Move the network to ``device`` and make it ready for inference.

        Args:
            network: maps (N, 3, input_size, input_size) to (N, 3, face_size, face_size), RGB in
                `network_range`.
            face_size: side of the output, pixels.
            input_size: side of the input, pixels; None when it is ``face_size``.
            max_batch: most faces in one call; None chooses by face size and device.
            device: a torch device that exists on this machine.

        Raises:
            BackendError: ``max_batch`` is below 1.
        """
        import torch

        from facerestore.archs.convolution import takes_published_forms

        self.device = torch.device(device)
        self.face_size = face_size
        self.input_size = face_size if input_size is None else input_size
        self.max_batch = _default_batch(face_size, self.device.type) if max_batch is None else max_batch
        if self.max_batch < 1:
            raise BackendError(f"max_batch is {max_batch}; give 1 or more, or None to choose by face size")
        self.network = network.eval().requires_grad_(False).to(self.device)
        self.precision = "float32"
        self._autocast: torch.dtype | None = None
        if self.device.type != "meta" and not takes_published_forms():
            self.network = self.inference_form(self.network).eval()

    def inference_form(self, network: torch.nn.Module) -> torch.nn.Module:
        """Return the network that `restore` runs: the same sums as ``network``, quicker.

        Here its wide convolutions take Winograd's method where that is quicker. Adapters that know more override it.
        """
        from facerestore.archs.convolution import quicken

        return quicken(network)

    @classmethod
    @abstractmethod
    def detect(cls, state_dict: Mapping[str, torch.Tensor]) -> bool:
        """Say whether a state dict belongs to this backend, from key names alone."""

    @classmethod
    @abstractmethod
    def config_from_state_dict(cls, state_dict: Mapping[str, torch.Tensor]) -> Any:
        """Return the network's configuration, read from the shapes of its tensors.

        Raises:
            CheckpointError: the shapes fit no configuration of this network.
        """

    @classmethod
    @abstractmethod
    def build(cls, state_dict: Mapping[str, torch.Tensor], *, device: torch.device | str = "cpu") -> Self:
        """Return a restorer with these parameters on ``device``.

        Raises:
            CheckpointError: keys are missing, unexpected, or have the wrong shape.
        """

    def for_header(self, header: Mapping[str, str]) -> Self:
        """Return this restorer as the header of its weights file asks for, where tensors do not tell it.

        Args:
            header: the text entries of a safetensors file; those of other programs are not ours to understand.
        """
        return self

    @classmethod
    def create(cls, *, device: torch.device | str = "cpu") -> Self:
        """Return a restorer, where `needs_weights` is False.

        Raises:
            ConfigError: it is made from weights.
        """
        raise ConfigError(f"backend '{cls.name}' is made from weights; give them with --weights")

    @classmethod
    def example_state_dict(cls) -> dict[str, torch.Tensor]:
        """Return the parameters of a small network with random weights, the same at every call.

        With it ``facerestore backends check NAME --random`` tries the adapter where no weights are installed.
        An adapter that offers it overrides this; the program's own random numbers stay as they are.

        Raises:
            ConfigError: this backend offers none.
        """
        raise ConfigError(f"backend '{cls.name}' has no example network; give weights with --weights")

    @classmethod
    def published(cls) -> Iterator[Self]:
        """Yield a restorer at each published size, on the meta device: shapes without parameters or work.

        ``facerestore backends info NAME`` counts parameters and operations of them. None unless overridden.
        """
        yield from ()

    def with_precision(self, precision: str) -> Self:
        """Return this restorer computing in another number format: ``float32``, ``bf16`` or ``fp16``.

        Weights stay in float32; convolutions and products take the format, sums and norms do not (torch's autocast). A
        face whose result is not finite, since it leaves the range of fp16, is computed again in float32; ``precisions``
        of what `restore` gives says which were.

        Raises:
            ConfigError: the format is unknown, or the device has no arithmetic for it.
        """
        other = copy(self)
        other._autocast = autocast_dtype(precision, self.device)
        other.precision = precision
        return other

    def with_fidelity(self, value: float) -> Self:
        """Return this restorer with another weight between quality (0) and fidelity to the input (1).

        Raises:
            ConfigError: the network has no such weight, or ``value`` is outside 0 to 1.
        """
        raise ConfigError(
            f"backend '{self.name}' has no fidelity weight, and {value:g} was given; leave it out, choose the backend"
            " codeformer, or mix in less of the restored face with --strength"
        )

    def for_task(self, purpose: str) -> Self:
        """Return this restorer in the value range that its network was trained in for a task.

        Args:
            purpose: ``restore``, ``colorize``, ``inpaint`` or ``synthesize``.

        Raises:
            ConfigError: the backend does nothing of the kind.
        """
        if purpose == "restore":
            return self
        raise ConfigError(
            f"backend '{self.name}' restores faces and does not {purpose} them; give weights of the backend gpen"
        )

    def forward(self, x: torch.Tensor, parsing_maps: Sequence[ParsingMap] | None) -> torch.Tensor:
        """Run the network on (N, 3, input_size, input_size) RGB in `network_range`; the result likewise.

        Adapters of networks that take more than the image override this.
        """
        result: torch.Tensor = self.network(x)
        return result

    def restore(
        self, faces: Sequence[AlignedFace], parsing_maps: Sequence[ParsingMap] | None = None
    ) -> list[FaceImage]:
        """Return one (face_size, face_size, 3) float32 RGB [0, 1] image per face, in order.

        Crops of another size than ``input_size`` are resized: by area when reducing, cubic when enlarging.

        Args:
            faces: the faces, cut out; their ``lq`` is square.
            parsing_maps: one (S, S) uint8 map of class ids per face; only for networks with `needs_parsing`.

        Raises:
            BackendError: an input is not a face image, or the network failed, ran out of memory with a single
                face, or gave a value that is not finite.
        """
        self._check_parsing_maps(faces, parsing_maps)
        crops = [resize_face(checked_crop(face, self.name), self.input_size) for face in faces]
        restored: list[ComputedFace] = []
        for start in range(0, len(crops), self.max_batch):
            chunk = slice(start, start + self.max_batch)
            restored += self._restore_batch(
                crops[chunk], None if parsing_maps is None else parsing_maps[chunk]
            )
        return RestoredFaces.of(restored)

    def _check_parsing_maps(
        self, faces: Sequence[AlignedFace], parsing_maps: Sequence[ParsingMap] | None
    ) -> None:
        if parsing_maps is None:
            if self.needs_parsing and faces:
                raise BackendError(
                    f"backend '{self.name}' needs a parsing map for each face; give parsing_maps"
                )
            return
        if len(parsing_maps) != len(faces):
            raise BackendError(
                f"{count(len(parsing_maps), 'parsing map')} for {count(len(faces), 'face')}; give one map per face"
            )

    def _restore_batch(
        self, crops: Sequence[FaceImage], parsing_maps: Sequence[ParsingMap] | None
    ) -> list[ComputedFace]:
        """Restore crops in one call, or in ever smaller ones when an accelerator's memory is full."""
        import torch

        try:
            return self._run(crops, parsing_maps)
        except torch.cuda.OutOfMemoryError as error:
            if len(crops) == 1:
                raise BackendError(
                    f"backend '{self.name}' ran out of memory on {self.device} with one {self.face_size} px"
                    " face; free memory there, choose smaller weights, or use --device cpu"
                ) from error
        except RuntimeError as error:
            raise BackendError(
                f"backend '{self.name}' failed on {self.device} with {count(len(crops), 'face')}: {error};"
                " see 'facerestore doctor', or try other weights"
            ) from error
        # Outside the except block, so that the failed call's tensors are no longer held by its traceback.
        torch.cuda.empty_cache()
        half = len(crops) // 2
        maps = (None, None) if parsing_maps is None else (parsing_maps[:half], parsing_maps[half:])
        return self._restore_batch(crops[:half], maps[0]) + self._restore_batch(crops[half:], maps[1])

    def _run(
        self, crops: Sequence[FaceImage], parsing_maps: Sequence[ParsingMap] | None
    ) -> list[ComputedFace]:
        import torch

        with torch.inference_mode():
            x = faces_to_tensor(crops, self.network_range).to(self.device)
            y = self._forwarded(x, parsing_maps, self._autocast)
            again = not_finite(all_finite(y).cpu())
            for index in again:
                y[index] = self._in_float32(x, parsing_maps, index)
            precisions = ["float32" if index in again else self.precision for index in range(len(crops))]
            faces = tensor_to_faces(y, self.network_range)
            return [ComputedFace(*both) for both in zip(faces, precisions, strict=True)]

    def _forwarded(
        self, x: torch.Tensor, parsing_maps: Sequence[ParsingMap] | None, dtype: torch.dtype | None
    ) -> torch.Tensor:
        """Return what the network gives, B 3 S S float32, its convolutions computed in ``dtype``, or in float32."""
        import torch

        with torch.autocast(self.device.type, dtype, enabled=dtype is not None):
            y = self.forward(x, parsing_maps)
        expected = (x.shape[0], 3, self.face_size, self.face_size)
        if tuple(y.shape) != expected:
            raise BackendError(f"backend '{self.name}' gave shape {tuple(y.shape)}, expected {expected}")
        return y.float()

    def _in_float32(
        self, x: torch.Tensor, parsing_maps: Sequence[ParsingMap] | None, index: int
    ) -> torch.Tensor:
        """Return one face of a batch, 3 S S, whose result was not finite; raises BackendError where it stays so."""
        import torch

        if self._autocast is not None:
            own = None if parsing_maps is None else parsing_maps[index : index + 1]
            y = self._forwarded(x[index : index + 1], own, None)[0]
            if bool(torch.isfinite(y).all()):
                return y
        raise BackendError(
            f"backend '{self.name}' gave values that are not finite; verify the weights"
            " with 'facerestore weights verify', or use --device cpu"
        )


def faces_to_tensor(faces: Sequence[FaceImage], value_range: tuple[float, float]) -> torch.Tensor:
    """Return (S, S, 3) float32 RGB faces in [0, 1] as an (N, 3, S, S) CPU tensor in ``value_range``."""
    import torch

    low, high = value_range
    stacked = torch.from_numpy(np.stack(faces)).permute(0, 3, 1, 2).contiguous()
    return stacked.mul_(high - low).add_(low)


def tensor_to_faces(x: torch.Tensor, value_range: tuple[float, float]) -> list[FaceImage]:
    """Return an (N, 3, S, S) tensor in ``value_range`` as (S, S, 3) float32 RGB faces, clamped to [0, 1]."""
    low, high = value_range
    scaled = ((x.float() - low) / (high - low)).clamp(0.0, 1.0)
    # Each face owns its memory, so that keeping one does not keep the batch.
    return [np.ascontiguousarray(face) for face in scaled.permute(0, 2, 3, 1).contiguous().cpu().numpy()]


@contextmanager
def fixed_randomness(seed: int = 0) -> Iterator[None]:
    """Draw the same random CPU tensors in the block at every call, and leave the program's own sequence alone."""
    import torch

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        yield


def _default_batch(face_size: int, device_type: str) -> int:
    pixels = CPU_BATCH_PIXELS if device_type == "cpu" else ACCELERATOR_BATCH_PIXELS
    return max(1, pixels // face_size**2)


def checked_crop(face: AlignedFace, name: str) -> FaceImage:
    """Return ``face.lq`` clipped to [0, 1] after checking that it is a face image.

    Raises:
        BackendError: it is not a square float32 RGB array with values in [0, 1].
    """
    lq = getattr(face, "lq", None)
    if not isinstance(lq, np.ndarray):
        raise BackendError(
            f"backend '{name}' restores AlignedFace records, got {type(face).__name__}; align first"
        )
    if lq.ndim != 3 or lq.shape[2] != 3 or lq.shape[0] != lq.shape[1] or lq.shape[0] < 1:
        raise BackendError(f"lq has shape {lq.shape}; backend '{name}' takes square (S, S, 3) RGB crops")
    if lq.dtype != np.float32:
        raise BackendError(
            f"lq has dtype {lq.dtype}; convert it to float32 RGB in [0, 1] (divide 8-bit by 255)"
        )
    low, high = float(lq.min()), float(lq.max())
    if not (low >= -RANGE_TOLERANCE and high <= 1.0 + RANGE_TOLERANCE):  # also true of NaN
        raise BackendError(f"lq has values from {low:g} to {high:g}; a face image is finite and in [0, 1]")
    return np.clip(lq, 0.0, 1.0)
