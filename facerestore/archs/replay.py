"""Networks as CUDA graphs: their kernels recorded once for each shape of input, and launched together from then on.

A network of hundreds of small kernels can keep an accelerator waiting for the host, which launches them one by one. Of
the two remedies that torch has, graphs were chosen and not ``torch.compile``: they run the very kernels of the plain
call, so that faces stay the same; they need no compiler, which wheels for Windows lack; and they are ready after a few
calls, where compiling GPEN took most of a minute on a CPU. The gain has not been measured, for lack of a
GPU; tests/test_archs_recordable.py shows without one that the networks here can be recorded.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Hashable, Sequence
from typing import Any, TypeAlias, TypeVar

import torch
from torch import Tensor, nn

MOST_GRAPHS = 8
"""Shapes that are recorded: all batches of 512 px faces. Each graph keeps its inputs and output on the device."""

CALLS_BEFORE = 2
"""Calls of a shape before it is recorded, which takes four runs of the network: a lone photo never pays for that."""

WARM_UPS = 3
"""Runs before the recording, in which libraries plan and allocate; as many as in PyTorch's notes on CUDA graphs."""

Network = TypeVar("Network", bound=nn.Module)

Replay: TypeAlias = Callable[..., Tensor]
"""Takes what the network takes, in the shapes that were recorded, and gives a tensor of its own."""

Recorder: TypeAlias = Callable[[Callable[..., Tensor], Sequence[Any]], Replay]


class ReplayedNetwork(nn.Module):
    """A network that records itself; threads may share it.

    Where a recording fails, it says so in ``failure``, and this and all further calls run the network as it is.

    Args:
        network: takes tensors and numbers, and gives a tensor; nothing in it depends on a tensor's values.
        record: makes a recording.

    Attributes:
        failure: why nothing is recorded any more; None while all is well.
    """

    def __init__(self, network: nn.Module, *, record: Recorder | None = None) -> None:
        super().__init__()
        self.network = network
        self.failure: str | None = None
        self._record = CudaRecorder() if record is None else record
        self._recorded: dict[Hashable, Replay] = {}
        self._calls: Counter[Hashable] = Counter()
        self._lock = threading.Lock()

    def __getattr__(self, name: str) -> Any:
        """Return an attribute of the network itself: its configuration, its stages."""
        try:
            return super().__getattr__(name)
        except AttributeError:
            if name == "network":  # not there yet
                raise
            return getattr(self.network, name)

    def forward(self, *inputs: Any) -> Tensor:
        """Return what the network gives, in a tensor that no other call writes to."""
        # A replay writes to the same inputs and output each time. The lock keeps their order on the device's stream:
        # filled, run and copied for one caller before the next one's are filled. Nobody waits for the device in it.
        with self._lock:
            replay = self._replay_for(inputs)
            if replay is not None:
                return replay(*inputs)
        result: Tensor = self.network(*inputs)
        return result

    def _replay_for(self, inputs: Sequence[Any]) -> Replay | None:
        """Return the recording for these inputs, made now where it is due; None where the network is to be run."""
        key = _recording_key(inputs)
        if key in self._recorded:
            return self._recorded[key]
        self._calls[key] += 1
        due = self._calls[key] > CALLS_BEFORE and len(self._recorded) < MOST_GRAPHS
        if self.failure is not None or not due:
            return None
        try:
            self._recorded[key] = self._record(self.network, inputs)
        except RuntimeError as error:  # of CUDA, or of torch where something cannot be recorded
            self.failure = (str(error).strip().splitlines() or [type(error).__name__])[0]
            return None
        return self._recorded[key]


def colours_last(network: Network) -> Network:
    """Lay the weights of convolutions out as CUDA's quick ones want them, colours last, in place; return the network.

    Only tensors of four axes have that layout; StyleGAN2's weights of five stay as they are.
    """
    for tensor in (*network.parameters(), *network.buffers()):
        if tensor.ndim == 4:
            tensor.data = tensor.data.contiguous(memory_format=torch.channels_last)
    return network


def _recording_key(inputs: Sequence[Any]) -> Hashable:
    """Return what a recording depends on: shapes and layouts, numbers, and the format that products are computed in."""
    tensors = [x for x in inputs if isinstance(x, Tensor)]
    kind = tensors[0].device.type
    dtype = torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else None
    parts = [(x.shape, x.stride(), x.dtype, x.device) if isinstance(x, Tensor) else x for x in inputs]
    return (dtype, *parts)


_ONE_AT_A_TIME = threading.Lock()
"""Held while a network of this process is recorded: a device records one stream of kernels at a time."""


class CudaRecorder:
    """Records on CUDA devices. All recordings share their scratch memory, since no two ever run at a time."""

    def __init__(self) -> None:
        self._pool: Any = None

    def __call__(self, network: Callable[..., Tensor], inputs: Sequence[Any]) -> Replay:
        """Return a recording of the network for inputs of these shapes.

        Raises:
            RuntimeError: it cannot be recorded, or memory is full.
        """
        device = next(x.device for x in inputs if isinstance(x, Tensor))
        held = [x.clone() if isinstance(x, Tensor) else x for x in inputs]
        with _ONE_AT_A_TIME, torch.cuda.device(device):
            self._pool = torch.cuda.graph_pool_handle() if self._pool is None else self._pool
            here, aside = torch.cuda.current_stream(), torch.cuda.Stream()  # type: ignore[no-untyped-call]
            aside.wait_stream(here)
            with torch.cuda.stream(aside):
                for _ in range(WARM_UPS):
                    network(*held)
            here.wait_stream(aside)
            graph = torch.cuda.CUDAGraph()
            # Only what this thread does is recorded and restricted: others find faces and copy pictures meanwhile.
            with torch.cuda.graph(graph, pool=self._pool, stream=aside, capture_error_mode="thread_local"):
                output = network(*held)

        def replay(*given: Any) -> Tensor:
            for own, new in zip(held, given, strict=True):
                if isinstance(own, Tensor):
                    own.copy_(new)
            with torch.cuda.device(device):
                graph.replay()
            return output.clone()

        return replay
