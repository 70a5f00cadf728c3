"""Runs ONNX files with ONNX Runtime, on whatever its installed build offers."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from facerestore.backends.exported.engines import Place, check_inputs, unknown_provider
from facerestore.errors import BackendError, CheckpointError, ConfigError, required_package

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from facerestore.backends.exported.record import NetworkRecord

INSTALL = 'pip install "facerestore[onnx]"'

PROVIDERS: Mapping[str, str] = {
    "cpu": "CPUExecutionProvider",
    "cuda": "CUDAExecutionProvider",
    "directml": "DmlExecutionProvider",
    "coreml": "CoreMLExecutionProvider",
    "openvino": "OpenVINOExecutionProvider",
}
"""What users call the execution providers of ONNX Runtime."""

REMEDIES: Mapping[str, str] = {
    "cuda": "for it, put onnxruntime-gpu in the place of onnxruntime: pip uninstall onnxruntime, then pip install"
    " onnxruntime-gpu",
    "directml": "for it, on Windows, put onnxruntime-directml in the place of onnxruntime",
    "coreml": "it comes with onnxruntime on macOS",
    "openvino": "for it, put onnxruntime-openvino in the place of onnxruntime, or export with --format openvino",
}

FOLLOWS: Mapping[str, str] = {"cpu": "cpu", "cuda": "cuda", "mps": "coreml"}
"""The provider that is taken for a torch device where the user names none."""

ERRORS_ONLY = 3
"""Severity of ONNX Runtime's own log on standard error; its warnings concern how nodes are placed."""

DATA_TYPES: Mapping[str, str] = {"tensor(float)": "float32", "tensor(float16)": "float16"}
"""How ONNX Runtime names the number formats in which a face may be given."""


class OnnxEngine:
    """A session of ONNX Runtime; see `facerestore.backends.exported.engines.Engine`."""

    def __init__(self, path: Path, record: NetworkRecord, place: Place) -> None:
        """Load the network.

        Raises:
            BackendError: onnxruntime is not installed, the network takes something else than faces, or the provider
                cannot run it.
            CheckpointError: the file is corrupt.
            ConfigError: the provider is unknown, or not available.
        """
        runtime = required_package("onnxruntime", what=f"'{path}'", install=INSTALL, error=BackendError)
        runtime.disable_telemetry_events()  # on Windows it has some; nothing leaves this machine
        provider = _provider(place, runtime.get_available_providers())
        self._session = _session(runtime, path, provider, place)
        inputs, outputs = self._session.get_inputs(), self._session.get_outputs()
        check_inputs(path, len(inputs), len(outputs), needs_parsing=record.needs_parsing)
        if inputs[0].type not in DATA_TYPES:
            raise BackendError(
                f"'{path}' takes faces as {inputs[0].type}; only float32 and float16 can be given"
            )
        self._names = [found.name for found in inputs]
        self._type = DATA_TYPES[inputs[0].type]
        self._output = outputs[0].name
        batch = inputs[0].shape[0] if inputs[0].shape else 0
        self.fixed_batch = batch if isinstance(batch, int) else 0
        self.accelerated = provider != "cpu"
        self.place = f"{provider} (onnxruntime {runtime.__version__})"

    def run(self, x: NDArray[np.float32], labels: NDArray[np.uint8] | None) -> NDArray[np.float32]:
        """Return B 3 S S for B 3 S S and, where the network takes them, B S S class ids."""
        values = (
            [x.astype(self._type, copy=False)]
            if labels is None
            else [x.astype(self._type, copy=False), labels]
        )
        found = self._session.run([self._output], dict(zip(self._names, values, strict=True)))[0]
        result: NDArray[np.float32] = found.astype("float32", copy=False)
        return result


def _provider(place: Place, built_in: list[str]) -> str:
    """Return the provider to take, by the name that users give it.

    Raises:
        ConfigError: it is unknown, or this build of ONNX Runtime does not have it.
    """
    available = [name for name, theirs in PROVIDERS.items() if theirs in built_in]
    asked = place.provider or FOLLOWS.get(place.device.partition(":")[0], "cpu")
    if asked in available:
        return asked
    remedy = REMEDIES.get(asked, "")
    if place.provider is None:
        remedy = f"it was taken because the device is {place.device}; {remedy}; or give --provider cpu"
    raise unknown_provider(asked, list(PROVIDERS), available, remedy=remedy)


def _session(runtime: Any, path: Path, provider: str, place: Place) -> Any:
    """Return a session that runs on the provider, and on no other in its place."""
    options = runtime.SessionOptions()
    options.log_severity_level = ERRORS_ONLY
    if place.threads:
        options.intra_op_num_threads = place.threads
    wanted = PROVIDERS[provider]
    index = place.device.partition(":")[2]
    settings = {"device_id": index} if provider == "cuda" and index else {}
    # What a provider has no kernel for runs on the CPU, which ONNX Runtime needs in the list.
    rest = [] if provider == "cpu" else [PROVIDERS["cpu"]]
    try:
        session = runtime.InferenceSession(str(path), options, providers=[(wanted, settings), *rest])
    except Exception as error:  # a class of its own for each kind of failure
        raise CheckpointError(
            f"ONNX Runtime cannot load '{path}' on {provider}: {_first_line(error)}; export or download it again"
        ) from error
    if wanted not in session.get_providers():
        raise ConfigError(
            f"provider '{provider}' is installed but does not start here (its own message stands above); mend its"
            " libraries, or give --provider cpu"
        )
    session.disable_fallback()
    return session


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
