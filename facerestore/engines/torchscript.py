"""Runs TorchScript files with torch itself.

Such a file holds code as well as parameters, which torch runs; take only files whose origin you trust.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from facerestore.engines import Place
from facerestore.engines.torch_module import TorchEngine
from facerestore.errors import CheckpointError, ConfigError, refusing, require_torch

INPUTS = ("float32", "uint8")
"""What such a module is given: a face, and a parsing map if it takes one; it does not tell itself."""


class TorchScriptEngine(TorchEngine):
    """A TorchScript module; see `facerestore.engines.Engine`."""

    def __init__(self, path: Path, place: Place) -> None:
        """Load the network.

        Raises:
            CheckpointError: the file is corrupt.
            ConfigError: a provider was named, which only other runtimes have.
            BackendError: torch is not installed.
        """
        torch = require_torch(f"'{path}'")
        if place.provider is not None:
            raise ConfigError(
                f"provider '{place.provider}' is for ONNX and OpenVINO files; TorchScript runs on the device of"
                " torch: give --device instead"
            )
        with (
            refusing(lambda why: CheckpointError(f"torch cannot load '{path}': {why}; export it again")),
            without_deprecation(),
        ):
            module: Any = torch.jit.load(str(path), map_location=place.device)
        given = len(module.forward.schema.arguments) - 1
        super().__init__(module, device=place.device, inputs=INPUTS[:given])


@contextmanager
def without_deprecation() -> Iterator[None]:
    """Keep torch from telling whoever runs the program that TorchScript is deprecated, which is not for them."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*torch.jit.*deprecated", category=FutureWarning)
        warnings.filterwarnings("ignore", message=".*torch.jit.*deprecated", category=DeprecationWarning)
        yield
