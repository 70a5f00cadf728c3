"""Where and how networks run: the device, CPU threads, and the allocator setting that doubles CPU speed."""

from __future__ import annotations

import os
import platform
import sys
from collections.abc import Callable, Container, Iterable, Mapping, MutableMapping
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, TypeAlias, TypeVar

from facerestore.engines import cores
from facerestore.errors import ConfigError, require_torch

if TYPE_CHECKING:
    import torch

DEVICES = ("auto", "cpu", "cuda", "mps")
INDEX_DIGITS = 3  # of a device; no machine has a thousand
PRECISIONS = ("float32", "bf16", "fp16")
"""Number formats of a network's convolutions and products; what they are called where a user chooses."""

TENSOR_CORES = (7, 0)
"""Compute capability from which NVIDIA devices have units that multiply float16 (Volta; CUDA C++ Programming Guide)."""

# What a CPU must have for a format: without it torch computes it number by number, 190 to 320 times slower (measured).
_CPU_FEATURES = {
    "bf16": ("amx_bf16", "avx512_bf16", "bf16"),
    "fp16": ("amx_fp16", "avx512_fp16", "fp16_arith"),
}


class Device(str):
    """Name of a device, as torch takes it: ``cpu``, ``cuda``, ``cuda:N`` or ``mps``; a text, which needs no torch."""

    __slots__ = ()

    @property
    def type(self) -> str:
        """The kind of device, without its number."""
        return self.partition(":")[0]


CPU = Device("cpu")

DRIVERS = ("/dev/nvidiactl", "/dev/nvidia0", "/dev/dxg", "/dev/kfd", "C:/Windows/System32/nvcuda.dll")
"""Files that a machine has whose driver serves NVIDIA's or AMD's devices, WSL's included; torch is asked only there."""


def resolve_device(name: str = "auto") -> Device:
    """Return the device that ``auto``, ``cpu``, ``cuda``, ``cuda:N`` or ``mps`` stands for.

    ``auto`` takes CUDA, then MPS, then the CPU. Torch is imported only where such a device may be.

    Raises:
        ConfigError: the device is unknown or absent on this machine.
        BackendError: torch, which drives it, is not installed.
    """
    if name == "auto":
        return _accelerator() or CPU
    device = Device(name)
    index = name.partition(":")[2]
    numbered = device.type == "cuda" and index.isascii() and index.isdigit() and len(index) <= INDEX_DIGITS
    if device.type not in DEVICES[1:] or (device.type != name and not numbered):
        raise ConfigError(f"unknown device '{name}'; choose one of {', '.join(DEVICES)} or cuda:N")
    if device.type != "cpu":
        require_torch(f"device '{name}'")
    if device.type != "cpu" and not _is_here(device, int(index or 0)):
        raise ConfigError(
            f"device '{name}' is not available here; use --device cpu, or see 'facerestore doctor'"
        )
    return device


def _accelerator() -> Device | None:
    """Return the device of this machine that is quicker than its CPU, if torch can use it."""
    if find_spec("torch") is None:
        return None
    if sys.platform == "darwin" and platform.machine() == "arm64":
        return Device("mps")  # every torch for such a machine has it
    driven, cuda = any(Path(driver).exists() for driver in DRIVERS), Device("cuda")
    return cuda if driven and _is_here(cuda, 0) else None


def _is_here(device: Device, index: int) -> bool:
    """Say whether torch finds a device on this machine."""
    if find_spec("torch") is None:
        return False
    import torch

    if device.type == "mps":
        return torch.backends.mps.is_available()
    return torch.cuda.is_available() and index < torch.cuda.device_count()


def set_threads(threads: int) -> None:
    """Let torch and OpenCV use ``threads`` CPU threads each; 0 leaves their own choice.

    Torch that is imported later reads the number from the environment.

    Raises:
        ConfigError: ``threads`` is negative.
    """
    if threads < 0:
        raise ConfigError(f"threads is {threads}; give 0 for automatic, or a positive number")
    cores.allow(threads)
    if threads:
        import cv2

        cv2.setNumThreads(threads)
        os.environ["OMP_NUM_THREADS"] = str(threads)
        if "torch" in sys.modules:
            sys.modules["torch"].set_num_threads(threads)


def autocast_dtype(precision: str, device: torch.device | Device) -> torch.dtype | None:
    """Return the format in which torch is to compute convolutions and products; None for float32.

    Raises:
        ConfigError: the format is unknown, or this device has no arithmetic for it.
    """
    if precision not in PRECISIONS:
        raise ConfigError(f"unknown precision '{precision}'; choose one of {', '.join(PRECISIONS)}")
    if precision == "float32":
        return None
    import torch

    if device.type == "cpu" and not any(_cpu_capabilities().get(name) for name in _CPU_FEATURES[precision]):
        raise ConfigError(
            f"this CPU has no arithmetic for {precision}, and without it {precision} is hundreds of times slower; use"
            " --precision float32"
        )
    if device.type == "cuda" and precision == "bf16" and not torch.cuda.is_bf16_supported():
        raise ConfigError("this GPU has no arithmetic for bf16; use --precision fp16 or float32")
    return torch.bfloat16 if precision == "bf16" else torch.float16


def known_precisions(device: torch.device | Device) -> list[str]:
    """Return the formats that a device has arithmetic for."""

    def is_known(precision: str) -> bool:
        try:
            autocast_dtype(precision, device)
        except ConfigError:
            return False
        return True

    return [precision for precision in PRECISIONS if is_known(precision)]


def automatic_precision(device: torch.device | Device) -> str:
    """Return the format that ``auto`` stands for on a device: fp16 on CUDA devices made for it, float32 elsewhere.

    fp16 keeps 10 bits of a factor, as many as TF32, in which torch lets such devices convolve float32 numbers anyway,
    in half of the memory. What it lacks is range; a result beyond that is not finite, which is seen, and the face is
    computed again in float32. So it is safe to choose. bf16 has the range but keeps 7 bits: its pictures differ 8 to 12
    times as much from those in float32 (the bundled networks, 12 faces of photos, on a CPU: 0.06 to 0.22 of 255 levels
    on average, fp16 0.007 to 0.02). What either gains in time on a GPU has not been measured here. On CPUs few have the
    arithmetic, and MPS is untried.
    """
    if device.type != "cuda":
        return "float32"
    import torch

    return "fp16" if torch.cuda.get_device_capability(device) >= TENSOR_CORES else "float32"


def _cpu_capabilities() -> dict[str, object]:
    """Return what torch says about this processor; nothing where this torch does not say."""
    import torch

    found: dict[str, object] = getattr(torch.cpu, "get_capabilities", dict)()
    return found


SHORT_SPIN = "10000"
"""Turns that a waiting thread spins before it sleeps: some ten microseconds, about a small layer."""

SHORT_SPINS: Mapping[str, str] = {"GOMP_SPINCOUNT": SHORT_SPIN, "OPENBLAS_THREAD_TIMEOUT": "15"}
"""The same for OpenBLAS is a binary logarithm of cycles."""

SPINNERS: Mapping[str, tuple[str, str]] = {
    "GOMP_SPINCOUNT": ("torch", "OMP_WAIT_POLICY"),
    "OPENBLAS_THREAD_TIMEOUT": ("numpy", "OPENBLAS_NUM_THREADS"),
}
"""By the setting, who reads it when it is imported, and what the user may have set in its place."""


def wait_asleep(
    environ: MutableMapping[str, str] = os.environ, modules: Container[str] = sys.modules
) -> list[str]:
    """Let the threads of torch and numpy sleep after a short spin, for programs to call before they import them.

    By default GNU OpenMP, which torch has on Linux, spins on while it waits and so takes the processor from whatever
    else runs. Measured on two threads, the bundled restorer took 48 ms a face on a quiet machine and 1480 ms beside one
    other busy program; after a short spin 32 ms and 128 ms; sleeping at once 63 ms and 114 ms. OpenBLAS, which numpy
    has, spins 75 ms after it is imported and after each product. What the user has set stays. Returns what was set.

    Args:
        environ: of the process.
        modules: that it has imported.
    """
    ours = [
        setting
        for setting, (package, other) in SPINNERS.items()
        if package not in modules and not {setting, other} & environ.keys()
    ]
    environ.update({setting: SHORT_SPINS[setting] for setting in ours})
    return ours


def keep_freed_memory() -> bool:
    """Make glibc keep large freed blocks instead of returning them to the system; say whether it was done.

    Convolution outputs of more than 32 MB are otherwise mapped and unmapped at every layer, and zeroing their pages
    costs as much as the arithmetic. Results stay bit-identical. Linux with glibc only; elsewhere nothing happens.
    """
    one_heap()
    m_trim_threshold, m_mmap_max = -1, -4  # malloc.h
    mallopt = _of_glibc("mallopt")
    return mallopt is not None and bool(mallopt(m_mmap_max, 0) and mallopt(m_trim_threshold, 2**31 - 1))


def one_heap() -> bool:
    """Let all threads take their memory from one place: what one has freed serves the next; say whether it is so.

    By default glibc gives each thread a heap of its own, of 64 MB at most, which it cuts back whatever it is told to
    keep. It holds for threads that begin later. Results stay bit-identical.
    """
    m_arena_max = -8  # malloc.h
    mallopt = _of_glibc("mallopt")
    return mallopt is not None and bool(mallopt(m_arena_max, 1))


def return_freed_memory() -> bool:
    """Give back what has been freed so far, all the same; say whether there was any.

    For the end of loading, which leaves gaps: 128 MB of them after GPEN's 512 px (measured).
    """
    trim = _of_glibc("malloc_trim")
    return trim is not None and bool(trim(0))


def _of_glibc(name: str) -> Callable[..., int] | None:
    """Return a function of the C library where that is glibc."""
    if not sys.platform.startswith("linux"):
        return None
    import ctypes

    found: Callable[..., int] | None = getattr(ctypes.CDLL(None), name, None)
    return found


Download: TypeAlias = "Callable[[], torch.Tensor]"
"""Waits for a tensor, and returns it on the CPU."""

Batch = TypeVar("Batch")
Pending = TypeVar("Pending")
Result = TypeVar("Result")


class Transfer(Protocol):
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


class DirectTransfer:
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


class PinnedTransfer:
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
def transfer_to(device: torch.device) -> Transfer:
    """Return the transfer to a device: one for all networks and threads."""
    return PinnedTransfer(device) if device.type == "cuda" else DirectTransfer(device)


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


def synchronise(device: torch.device) -> None:
    """Wait until a device has done what it was given."""
    import torch

    if device.type == "cuda":
        torch.cuda.synchronize(device)
    elif device.type == "mps":
        torch.mps.synchronize()
