"""How batches travel between the host and the device, and in which order: so that neither waits for the other.

A CPU takes tensors where they lie. On a CUDA device they go through page-locked memory on streams of their own, beside
the computing; a batch is handed over before the faces of the one before it are fetched, so that the device has work
while the host turns pixels into faces. What that gains has not been measured: it was written without a GPU.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import cache
from typing import TYPE_CHECKING, Protocol, TypeAlias, TypeVar

if TYPE_CHECKING:
    import torch

Download: TypeAlias = "Callable[[], torch.Tensor]"
"""Waits for a tensor, and returns it on the CPU."""

Batch = TypeVar("Batch")
Pending = TypeVar("Pending")
Result = TypeVar("Result")


class Lane(Protocol):
    """Carries tensors to a device and back.

    Attributes:
        overlaps: the device works while the host goes on, so that a batch may be handed over ahead.
    """

    overlaps: bool

    def upload(self, x: torch.Tensor) -> torch.Tensor:
        """Return a CPU tensor on the device; it may still be under way, but what is computed from it waits."""
        ...

    def download(self, y: torch.Tensor) -> Download:
        """Begin to fetch a tensor from the device, once it is computed."""
        ...


class DirectLane:
    """For the CPU, and for devices whose transfers are torch's own affair."""

    overlaps = False

    def __init__(self, device: torch.device) -> None:
        self._device = device

    def upload(self, x: torch.Tensor) -> torch.Tensor:
        """Return the tensor on the device."""
        return x.to(self._device)

    def download(self, y: torch.Tensor) -> Download:
        """Return how the tensor comes to the CPU."""
        return y.cpu


class PinnedLane:
    """For CUDA devices: through page-locked memory, with one stream for each direction."""

    overlaps = True

    def __init__(self, device: torch.device) -> None:
        import torch

        self._device = device
        self._up, self._down = (torch.cuda.Stream(device) for _ in range(2))  # type: ignore[no-untyped-call]

    def upload(self, x: torch.Tensor) -> torch.Tensor:
        """Return the tensor on the device; the computing stream waits for it, the host does not."""
        import torch

        computing = torch.cuda.current_stream(self._device)
        with torch.cuda.stream(self._up):
            there = x.pin_memory().to(self._device, non_blocking=True)
        computing.wait_stream(self._up)
        there.record_stream(
            computing
        )  # its memory is the upload stream's, and may be used anew only after computing
        return there

    def download(self, y: torch.Tensor) -> Download:
        """Begin to fetch a tensor behind all that is computed by now."""
        import torch

        self._down.wait_stream(torch.cuda.current_stream(self._device))
        here = torch.empty(y.shape, dtype=y.dtype, pin_memory=True)
        with torch.cuda.stream(self._down):
            here.copy_(y, non_blocking=True)
            arrived = torch.cuda.Event()  # type: ignore[no-untyped-call]
            arrived.record(self._down)
        y.record_stream(self._down)

        def wait() -> torch.Tensor:
            arrived.synchronize()
            return here

        return wait


@cache
def lane_to(device: torch.device) -> Lane:
    """Return the lane to a device: one for all networks and threads."""
    return PinnedLane(device) if device.type == "cuda" else DirectLane(device)


def one_ahead(
    batches: Iterable[Batch],
    *,
    begin: Callable[[Batch], Pending | None],
    finish: Callable[[Pending], list[Result]],
    otherwise: Callable[[Batch], list[Result]],
) -> list[Result]:
    """Return the results of all batches, in order; each is begun before the one before it is finished.

    Args:
        batches: what is to be done.
        begin: hands a batch to the device; gives None where there is no room for it beside the one under way.
        finish: fetches its results.
        otherwise: does a batch for which there was no room, with nothing else under way.
    """
    results: list[Result] = []
    waiting: Pending | None = None
    for batch in batches:
        begun = begin(batch)
        if waiting is not None:
            results += finish(waiting)
        waiting = begun
        if begun is None:
            results += otherwise(batch)
    return results + (finish(waiting) if waiting is not None else [])
