"""What a network that refines begins with: one that sees faces alone, and is widened."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor
from torch.nn import functional

SEEING = ("stem.weight", "fine.look.")
DRAWING = ("head.", "fine.draw.")
"""Keys of the layers that see the input, and of those that draw the output."""


def widened(state: Mapping[str, Tensor], own: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the parameters of a network that sees faces alone for one that refines.

    At first it gives the mean of what the former makes of the face, and of what it is to refine.

    Args:
        state: the parameters to begin with; those of a network that refines are returned as they are.
        own: those of the network that refines, newly initialised.
    """
    made = dict(state)
    if state["stem.weight"].shape == own["stem.weight"].shape:
        return made
    for key, value in state.items():
        if key.startswith(SEEING) and key.endswith("weight") and key in own:
            more = own[key].shape[1] - value.shape[1]
            made[key] = functional.pad(value, (0, 0, 0, 0, 0, more))  # the new channels come last
        elif key.startswith(DRAWING):
            made[key] = value / 2
    return made
