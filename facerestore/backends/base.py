"""What every network backend shares: one place where faces become tensors and tensors become faces.

Outside a backend a face is a float32 (S, S, 3) RGB array in [0, 1]. Inside, it is an (N, 3, H, W) RGB tensor
in the network's own range. `TensorRestorer` does that conversion both ways, the resizing of crops that have
another size, the batching and the checks, so that an adapter only says how to recognise its checkpoints and
how to build its network.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, ClassVar, Self

from facerestore.backends.engine_restorer import ACCELERATOR_BATCH_PIXELS, CPU_BATCH_PIXELS
from facerestore.backends.half import Batch, ComputedFace, Pending, RestoredFaces, all_finite, not_finite
from facerestore.backends.restorer import Restorer
from facerestore.backends.tensors import channels_behind, check_maps, split_faces
from facerestore.backends.tensors import checked_crop as checked_crop
from facerestore.backends.tensors import faces_to_tensor as faces_to_tensor
from facerestore.backends.tensors import fixed_randomness as fixed_randomness
from facerestore.backends.tensors import tensor_to_faces as tensor_to_faces
from facerestore.engines.device import autocast_dtype, one_ahead, transfer_to
from facerestore.errors import BackendError, count
from facerestore.types import AlignedFace, FaceImage, ParsingMap

if TYPE_CHECKING:
    import torch


class TensorRestorer(Restorer):
    """A restorer made of one torch module that maps face tensors to face tensors.

    Subclasses state their descriptor, its ``network_range`` included, and implement `detect` and `build`; where the
    network takes more than the image, also `forward`. Instances hold no state between calls; threads may share them.

    Attributes:
        replayable: its network may be a CUDA graph with colours last in memory: nothing in it depends on values, waits
            for the host or asks for another order.
        network: the torch module, in eval mode, on ``device``.
        device: where the network runs.
    """

    replayable: ClassVar[bool] = False

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
            network: maps (N, 3, input_size, input_size) to (N, 3, face_size, face_size), RGB in `network_range`.
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
        most = _default_batch(face_size, self.device.type) if max_batch is None else max_batch
        if most < 1:
            raise BackendError(f"max_batch is {max_batch}; give 1 or more, or None to choose by face size")
        self.descriptor = replace(
            self.descriptor,
            face_size=face_size,
            input_size=input_size or face_size,
            precision="float32",
            max_batch=most,
        )
        self.network = network.eval().requires_grad_(False).to(self.device)
        self._autocast: torch.dtype | None = None
        if self.device.type != "meta" and not takes_published_forms():
            self.network = self.inference_form(self.network).eval()
        self._transfer = transfer_to(self.device)
        self._layout = torch.contiguous_format
        if self.device.type == "cuda" and self.replayable and not takes_published_forms():
            self._prepare_for_cuda()

    def inference_form(self, network: torch.nn.Module) -> torch.nn.Module:
        """Return the network that `restore` runs: the same sums as ``network``, quicker.

        Here its wide convolutions take Winograd's method where that is quicker. Adapters that know more override it.
        """
        from facerestore.archs.convolution import quicken

        return quicken(network)

    def _prepare_for_cuda(self) -> None:
        """Lay the network out as CUDA's convolutions want it, colours last, and let it record itself."""
        import torch

        from facerestore.archs.replay import ReplayedNetwork, colours_last

        self._layout = torch.channels_last
        self.network = ReplayedNetwork(colours_last(self.network))

    @property
    def overlaps(self) -> bool:
        """Whether a second thread may hand over faces while one fetches its own: so on CUDA."""
        return self._transfer.overlaps

    @property
    def remarks(self) -> list[str]:
        """That its network could not be recorded, where running it has shown so."""
        from facerestore.archs.replay import ReplayedNetwork

        failure = self.network.failure if isinstance(self.network, ReplayedNetwork) else None
        if failure is None:
            return []
        return [
            f"the network of '{self.name}' could not be recorded as a CUDA graph, and runs kernel by kernel: {failure}"
        ]

    def with_precision(self, precision: str) -> Self:
        """Return this restorer computing in another number format: ``float32``, ``bf16`` or ``fp16``.

        Weights stay in float32; convolutions and products take the format, sums and norms do not (torch's autocast). A
        face whose result is not finite, since it leaves the range of fp16, is computed again in float32; ``precisions``
        of what `restore` gives says which were.

        Raises:
            ConfigError: the format is unknown, or the device has no arithmetic for it.
        """
        other = self.redeclared(precision=precision)
        other._autocast = autocast_dtype(precision, self.device)
        return other

    def forward(self, x: torch.Tensor, parsing_maps: Sequence[ParsingMap] | None) -> torch.Tensor:
        """Run the network on (N, 3, input_size, input_size) RGB in `network_range`; the result likewise.

        Adapters of networks that take more than the image override this.
        """
        result: torch.Tensor = self.network(x)
        return result

    def restore(
        self, faces: Sequence[AlignedFace], parsing_maps: Sequence[ParsingMap] | None = None
    ) -> list[FaceImage]:
        """Return one restored face per face, in order, with the number format of each; see `Restorer.restore`.

        Raises:
            BackendError: an input is not a face image, or the network failed, ran out of memory with a single
                face, or gave a value that is not finite.
        """
        check_maps(self.name, faces, parsing_maps, needed=self.needs_parsing)
        crops = self.crops(faces)
        most = self.descriptor.max_batch
        chunks = [slice(start, start + most) for start in range(0, len(crops), most)]
        batches = [(crops[chunk], None if parsing_maps is None else parsing_maps[chunk]) for chunk in chunks]
        if self._transfer.overlaps:
            begin, finish = self._begin_where_room, self._finish_told
            computed = one_ahead(batches, begin=begin, finish=finish, otherwise=self._restore_batch)
        else:
            computed = [face for batch in batches for face in self._restore_batch(batch)]
        return RestoredFaces.of(computed)

    def _restore_batch(self, batch: Batch) -> list[ComputedFace]:
        """Restore crops in one call, or in ever smaller ones when an accelerator's memory is full."""
        import torch

        crops, parsing_maps = batch
        pending = self._begin_where_room(batch)
        if pending is not None:
            return self._finish_told(pending)
        if len(crops) == 1:
            raise self._no_room()
        torch.cuda.empty_cache()
        half = len(crops) // 2
        maps = (None, None) if parsing_maps is None else (parsing_maps[:half], parsing_maps[half:])
        return self._restore_batch((crops[:half], maps[0])) + self._restore_batch((crops[half:], maps[1]))

    def _begin_where_room(self, batch: Batch) -> Pending | None:
        """Hand a batch to the device; None where its memory is full."""
        import torch

        try:
            with self._told(len(batch[0])):
                return self._begin(*batch)
        except torch.cuda.OutOfMemoryError:
            return None

    def _finish_told(self, pending: Pending) -> list[ComputedFace]:
        import torch

        try:
            with self._told(len(pending.x)):
                return self._finish(pending)
        except torch.cuda.OutOfMemoryError as error:  # for one face again in float32
            raise self._no_room() from error

    def _no_room(self) -> BackendError:
        return BackendError(
            f"backend '{self.name}' ran out of memory on {self.device} with one {self.face_size} px"
            " face; free memory there, choose smaller weights, or use --device cpu"
        )

    @contextmanager
    def _told(self, faces: int) -> Iterator[None]:
        """Turn what torch raises into an error of ours, but for a full memory of an accelerator."""
        import torch

        try:
            with torch.inference_mode():
                yield
        except torch.cuda.OutOfMemoryError:
            raise
        except RuntimeError as error:
            raise BackendError(
                f"backend '{self.name}' failed on {self.device} with {count(faces, 'face')}: {error};"
                " see 'facerestore doctor', or try other weights"
            ) from error

    def _begin(self, crops: Sequence[FaceImage], parsing_maps: Sequence[ParsingMap] | None) -> Pending:
        """Hand faces to the device, which computes them by itself; nothing here waits for it."""
        x = self._transfer.upload(faces_to_tensor(crops, self.network_range, layout=self._layout))
        y = self._forwarded(x, parsing_maps, self._autocast)
        finite, faces = all_finite(y), channels_behind(y, self.network_range)
        return Pending(x, parsing_maps, self._transfer.download(finite), self._transfer.download(faces))

    def _finish(self, pending: Pending) -> list[ComputedFace]:
        """Fetch the faces; those that are not finite are computed again in float32."""
        again, precision = not_finite(pending.finite()), self.descriptor.precision or "float32"
        faces = split_faces(pending.faces())
        for index in again:
            y = self._in_float32(pending.x, pending.parsing_maps, index)
            faces[index] = tensor_to_faces(y, self.network_range)[0]
        return [
            ComputedFace(face, "float32" if index in again else precision) for index, face in enumerate(faces)
        ]

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
        """Return one face of a batch, 1 3 S S, whose result was not finite; raises BackendError where it stays so."""
        import torch

        if self._autocast is not None:
            own = None if parsing_maps is None else parsing_maps[index : index + 1]
            y = self._forwarded(x[index : index + 1], own, None)
            if bool(torch.isfinite(y).all()):
                return y
        raise BackendError(
            f"backend '{self.name}' gave values that are not finite; verify the weights"
            " with 'facerestore weights verify', or use --device cpu"
        )


def _default_batch(face_size: int, device_type: str) -> int:
    pixels = CPU_BATCH_PIXELS if device_type == "cpu" else ACCELERATOR_BATCH_PIXELS
    return max(1, pixels // face_size**2)
