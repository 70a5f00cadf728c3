"""Runs ONNX models with ONNX Runtime, on whatever its installed build offers."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from facerestore.engines import Place, unknown_provider
from facerestore.errors import BackendError, CheckpointError, ConfigError, first_line, required_package

if TYPE_CHECKING:
    from numpy.typing import NDArray

INSTALL = "pip install onnxruntime"

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

DATA_TYPES: Mapping[str, str] = {
    "tensor(float)": "float32",
    "tensor(float16)": "float16",
    "tensor(uint8)": "uint8",
}
"""How ONNX Runtime names the number formats that can be given here."""


class OnnxEngine:
    """A session of ONNX Runtime; see `facerestore.engines.Engine`."""

    def __init__(
        self,
        model: Path | bytes,
        place: Place,
        *,
        name: str = "",
        parameters: Mapping[str, NDArray[Any]] | None = None,
        blocked: bool = True,
        others: Sequence[str] = (),
    ) -> None:
        """Load the network.

        Args:
            model: an ONNX file, or what stands in one.
            place: where it runs.
            name: what messages call it; empty for the path.
            parameters: tensors that the model names and does not hold; copied (its AddExternalInitializers).
            blocked: on a CPU, weights are put into blocks of channels, which takes longer and as much memory again, for
                a network that then runs in three quarters of the time.
            others: packages that could have been named in the provider's place, for messages.

        Raises:
            BackendError: onnxruntime is not installed, or the provider cannot run the network.
            CheckpointError: the file is corrupt.
            ConfigError: the provider is unknown, or not available.
        """
        name = name or str(model)
        runtime = required_package("onnxruntime", what=f"'{name}'", install=INSTALL, error=BackendError)
        runtime.disable_telemetry_events()  # on Windows it has some; nothing leaves this machine
        provider = _provider(place, runtime.get_available_providers(), others)
        options = _options(runtime, place, parameters or {}, blocked=blocked)
        self._session = _session(runtime, model, options, provider, place, name)
        inputs, outputs = self._session.get_inputs(), self._session.get_outputs()
        self.inputs = tuple(DATA_TYPES.get(found.type, found.type) for found in inputs)
        self._names = [found.name for found in inputs]
        self._outputs = [found.name for found in outputs]
        batch = inputs[0].shape[0] if inputs and inputs[0].shape else 0
        self.fixed_batch = batch if isinstance(batch, int) else 0
        self.accelerated = provider != "cpu"
        self.place = f"{provider} (onnxruntime {runtime.__version__})"

    def run(self, *inputs: NDArray[Any]) -> list[NDArray[Any]]:
        """Return the network's outputs."""
        given = {
            name: x.astype(kind, copy=False)
            for name, kind, x in zip(self._names, self.inputs, inputs, strict=True)
        }
        try:
            found: list[NDArray[Any]] = self._session.run(self._outputs, given)
        except Exception as error:  # a class of its own for each kind of failure
            if "bad_alloc" in str(error) or "Failed to allocate" in str(error):
                raise MemoryError(first_line(error)) from error
            raise
        return [y.astype("float32", copy=False) if y.dtype == "float16" else y for y in found]


def _provider(place: Place, built_in: list[str], others: Sequence[str]) -> str:
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
    here = [*available, *(package for package in others if find_spec(package) is not None)]
    raise unknown_provider(asked, [*PROVIDERS, *others], here, remedy=remedy)


def _options(runtime: Any, place: Place, parameters: Mapping[str, NDArray[Any]], *, blocked: bool) -> Any:
    """Return the settings of a session."""
    options = runtime.SessionOptions()
    options.log_severity_level = ERRORS_ONLY
    # A plan of memory for every size of input that was met: 20 to 40 MB, and no time saved (measured).
    options.enable_mem_pattern = False
    # What ONNX Runtime keeps of its own for the next run: 22 MB, for 1 to 3% of the time of a face where the C library
    # keeps it for all (`facerestore.engines.device.keep_freed_memory`; measured).
    options.enable_cpu_mem_arena = sys.platform != "linux"
    # Threads that spin while they wait take the processor from whatever else runs.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    if not blocked:
        options.graph_optimization_level = runtime.GraphOptimizationLevel.ORT_ENABLE_EXTENDED
    if place.threads:
        options.intra_op_num_threads = place.threads
    if parameters:
        values = [runtime.OrtValue.ortvalue_from_numpy(value) for value in parameters.values()]
        options.add_external_initializers(list(parameters), values)
    return options


def _session(runtime: Any, model: Path | bytes, options: Any, provider: str, place: Place, name: str) -> Any:
    """Return a session that runs on the provider, and on no other in its place."""
    wanted = PROVIDERS[provider]
    index = place.device.partition(":")[2]
    settings = {"device_id": index} if provider == "cuda" and index else {}
    # What a provider has no kernel for runs on the CPU, which ONNX Runtime needs in the list.
    rest = [] if provider == "cpu" else [PROVIDERS["cpu"]]
    source = model if isinstance(model, bytes) else str(model)
    try:
        session = runtime.InferenceSession(
            source, options, providers=[(wanted, settings), *rest], enable_fallback=0
        )
    except Exception as error:  # a class of its own for each kind of failure
        if provider != "cpu" and isinstance(error, RuntimeError):  # which those of models are not
            raise _unstarted(provider, first_line(error)) from error
        raise CheckpointError(
            f"ONNX Runtime cannot load '{name}' on {provider}: {first_line(error)}; export or download it again"
        ) from error
    if wanted not in session.get_providers():
        raise _unstarted(provider, "its own message stands above")
    return session


def _unstarted(provider: str, why: str) -> ConfigError:
    """Return the refusal of a provider that cannot start."""
    return ConfigError(
        f"provider '{provider}' is installed but does not start here ({why}); mend its libraries, or give"
        " --provider cpu"
    )
