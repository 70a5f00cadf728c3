"""Runs a torch module: for weights without a graph, and on CUDA."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from facerestore.engines.device import transfer_to

if TYPE_CHECKING:
    import torch
    from numpy.typing import NDArray


class TorchEngine:
    """A torch module, see `facerestore.engines.Engine`.

    Args:
        module: takes tensors and gives one, or several; it is moved to the device.
        device: where it runs.
        inputs: numpy's names of the number formats that it takes.
    """

    fixed_batch = 0

    def __init__(
        self,
        module: torch.nn.Module,
        *,
        device: torch.device | str = "cpu",
        inputs: tuple[str, ...] = ("float32",),
    ) -> None:
        import torch

        self.module = module.eval().to(device)
        self.inputs = inputs
        self._transfer = transfer_to(torch.device(device))
        self.accelerated = torch.device(device).type != "cpu"
        self.place = f"{device} (torch {torch.__version__})"

    def run(self, *inputs: NDArray[Any]) -> list[NDArray[Any]]:
        """Return the module's outputs."""
        import torch

        with torch.inference_mode():
            given = self.module(*(self._transfer.upload(torch.from_numpy(x)) for x in inputs))
            outputs = [given] if isinstance(given, torch.Tensor) else list(given)
            waiting = [self._transfer.download(y) for y in outputs]
            return [wait().numpy() for wait in waiting]
