"""Runs TorchScript files with torch itself.

Such a file holds code as well as parameters, which torch runs; take only files whose origin you trust.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from facerestore.backends.exported.engines import Place
from facerestore.errors import CheckpointError, ConfigError, refusing

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from facerestore.backends.exported.record import NetworkRecord


class TorchScriptEngine:
    """A TorchScript module; see `facerestore.backends.exported.engines.Engine`."""

    fixed_batch = 0

    def __init__(self, path: Path, record: NetworkRecord, place: Place) -> None:
        """Load the network.

        Raises:
            CheckpointError: the file is corrupt.
            ConfigError: a provider was named, which only other runtimes have.
        """
        import torch

        if place.provider is not None:
            raise ConfigError(
                f"provider '{place.provider}' is for ONNX and OpenVINO files; TorchScript runs on the device of"
                " torch: give --device instead"
            )
        with (
            refusing(lambda why: CheckpointError(f"torch cannot load '{path}': {why}; export it again")),
            without_deprecation(),
        ):
            module: Any = torch.jit.load(str(path), map_location=place.device)  # type: ignore[no-untyped-call]
        self._module = module.eval()
        self._device = torch.device(place.device)
        self.accelerated = self._device.type != "cpu"
        self.place = f"{place.device} (torch {torch.__version__})"

    def run(self, x: NDArray[np.float32], labels: NDArray[np.uint8] | None) -> NDArray[np.float32]:
        """Return B 3 S S for B 3 S S and, where the network takes them, B S S class ids."""
        import torch

        values = [torch.from_numpy(value).to(self._device) for value in (x, labels) if value is not None]
        with torch.inference_mode():
            result: NDArray[np.float32] = self._module(*values).float().cpu().numpy()
        return result


@contextmanager
def without_deprecation() -> Iterator[None]:
    """Keep torch from telling whoever runs the program that TorchScript is deprecated, which is not for them."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*torch.jit.*deprecated", category=FutureWarning)
        warnings.filterwarnings("ignore", message=".*torch.jit.*deprecated", category=DeprecationWarning)
        yield
