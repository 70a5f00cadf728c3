"""Runs OpenVINO files (an .xml and the .bin beside it) on the devices that OpenVINO finds."""

from __future__ import annotations

import sys
import threading
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from facerestore.engines import Place, unknown_provider
from facerestore.errors import BackendError, CheckpointError, required_package

if TYPE_CHECKING:
    from numpy.typing import NDArray

INSTALL = 'pip install "facerestore[openvino]"'

KNOWN = ("cpu", "gpu", "npu", "auto")
"""What users call OpenVINO's devices; GPU and NPU are Intel's own."""


def import_openvino(name: str = "openvino") -> ModuleType:
    """Return OpenVINO, without what reports its use over the network.

    ``import openvino`` alone makes a number for the user and notes it in the home folder, and converting a network
    sends it. OpenVINO runs as well where that package is absent, and so it is made to seem; unless the program that
    facerestore is part of has loaded it before.

    Raises:
        ImportError: it is not installed.
    """
    sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]  # None makes its import fail
    return import_module(name)


class OpenVinoEngine:
    """A compiled network of OpenVINO; see `facerestore.engines.Engine`."""

    def __init__(self, path: Path, place: Place) -> None:
        """Load the network.

        Raises:
            BackendError: openvino is not installed.
            CheckpointError: the file is corrupt.
            ConfigError: the device is unknown, or not there.
        """
        openvino = required_package(
            "openvino", what=f"'{path}'", install=INSTALL, error=BackendError, load=import_openvino
        )
        core = openvino.Core()
        device = _device(place, core.available_devices)
        try:
            self._compiled = core.compile_model(core.read_model(str(path)), device, _settings(device, place))
        except Exception as error:  # its readers of damaged files raise what they like
            raise CheckpointError(
                f"OpenVINO cannot load '{path}' on {device}: {_last_line(error)}; export it again"
            ) from error
        self.inputs = tuple(port.element_type.to_dtype().name for port in self._compiled.inputs)
        batch = self._compiled.inputs[0].partial_shape[0]
        self.fixed_batch = batch.get_length() if batch.is_static else 0
        self.accelerated = device not in ("CPU", "AUTO")
        self.place = f"{device.lower()} (openvino {openvino.__version__.partition('-')[0]})"
        self._request = self._compiled.create_infer_request()
        self._lock = threading.Lock()

    def run(self, *inputs: NDArray[Any]) -> list[NDArray[Any]]:
        """Return the network's outputs."""
        with self._lock:  # the request owns the memory of its results
            self._request.infer(list(inputs))
            return [tensor.data.astype("float32") for tensor in self._request.output_tensors]


def _device(place: Place, found: list[str]) -> str:
    """Return OpenVINO's name of the device to take: the CPU unless the user names another.

    Raises:
        ConfigError: it is unknown, or not there.
    """
    asked = (place.provider or "cpu").upper()
    kinds = {name.partition(".")[0] for name in found}
    if asked == "AUTO" or asked in found or asked in kinds:
        return asked
    available = [name.lower() for name in found]
    raise unknown_provider(
        asked.lower(),
        KNOWN,
        available,
        remedy="OpenVINO runs on CPUs, and on Intel's GPUs and NPUs with their drivers",
    )


def _settings(device: str, place: Place) -> dict[str, Any]:
    """Return the settings of a device; a CPU computes in the number format of the file, not in a shorter one."""
    settings: dict[str, Any] = {"PERFORMANCE_HINT": "LATENCY"}
    if device == "CPU":
        settings["INFERENCE_PRECISION_HINT"] = "f32"
        if place.threads:
            settings["INFERENCE_NUM_THREADS"] = place.threads
    return settings


def _last_line(error: Exception) -> str:
    lines = [line for line in str(error).strip().splitlines() if line.strip()]
    return lines[-1].strip() if lines else type(error).__name__
