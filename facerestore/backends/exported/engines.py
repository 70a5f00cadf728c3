"""What runs an exported network, and how the packages that do are asked for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from facerestore.errors import BackendError, ConfigError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


class Engine(Protocol):
    """A network that is loaded. Threads may share it."""

    place: str
    """Where it runs and what runs it, for people."""

    accelerated: bool
    """It does not run on the CPU."""

    fixed_batch: int
    """Faces that every call must have; 0 where any number will do."""

    def run(self, x: NDArray[np.float32], labels: NDArray[np.uint8] | None) -> NDArray[np.float32]:
        """Return B 3 S S for B 3 S S and, where the network takes them, B S S class ids.

        Raises:
            Exception: whatever the package raises.
        """
        ...


@dataclass(frozen=True, slots=True)
class Place:
    """Where an engine is to run.

    Attributes:
        device: the torch device of the rest of the line, such as ``cpu`` or ``cuda:1``.
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


def check_inputs(path: Path, inputs: int, outputs: int, *, needs_parsing: bool) -> None:
    """Make sure that a network takes a face, and a map where its record says so, and gives a face.

    Raises:
        BackendError: it takes or gives something else.
    """
    wanted = 2 if needs_parsing else 1
    if inputs != wanted or outputs < 1:
        told = "a face and a parsing map" if needs_parsing else "a face alone"
        raise BackendError(
            f"'{path}' takes {inputs} inputs and gives {outputs} outputs, but its record speaks of a network that takes"
            f" {told}; such a network cannot be used here"
        )
