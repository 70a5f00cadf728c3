"""What runs networks, behind one protocol: arrays in, arrays out; each engine's package is imported when it is made.

ONNX Runtime runs all that ships, from the graph in its weights file (`facerestore.engines.graph`), so that nothing
waits for torch; torch runs weights that hold no graph, and all of them on CUDA.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from facerestore.errors import ConfigError

if TYPE_CHECKING:
    from numpy.typing import NDArray


class Engine(Protocol):
    """A network that is loaded. Threads may share it.

    Attributes:
        place: where it runs and what runs it, for people.
        accelerated: it does not run on the CPU.
        inputs: numpy's name of the number format of each array that it takes, such as ``float32``.
        fixed_batch: length of the first axis that every call must have; 0 where any will do.
    """

    place: str
    accelerated: bool
    inputs: tuple[str, ...]
    fixed_batch: int

    def run(self, *inputs: NDArray[Any]) -> list[NDArray[Any]]:
        """Return the network's outputs for its inputs, batches first; float16 becomes float32.

        Raises:
            Exception: whatever the package raises.
        """
        ...


@dataclass(frozen=True, slots=True)
class Place:
    """Where an engine is to run.

    Attributes:
        device: the device of the rest of the line, such as ``cpu`` or ``cuda:1``.
        provider: what the user asked for; None follows the device.
        threads: CPU threads; 0 leaves the choice to the engine.
    """

    device: str = "cpu"
    provider: str | None = None
    threads: int = 0


def unknown_provider(
    given: str, known: Sequence[str], available: Sequence[str], *, remedy: str
) -> ConfigError:
    """Return the error of a provider that is not there, or that nobody knows."""
    here = ", ".join(available) or "none"
    if given in known:
        return ConfigError(f"provider '{given}' is not available here (there is: {here}); {remedy}")
    return ConfigError(
        f"unknown provider '{given}'; choose one of {', '.join(known)} (available here: {here})"
    )
