"""Tells whether a network is being exported as a graph, rather than run.

A graph serves batches of any size in other programs: code that specialises on one face, or uses operators that only
torch has, then takes its plain form.
"""

from __future__ import annotations

import torch

# torch before 2.7 cannot tell an export from a compilation.
_is_exporting = getattr(torch.compiler, "is_exporting", torch.compiler.is_compiling)


def exporting() -> bool:
    """Say whether this call is recorded by ``torch.export`` or ``torch.jit.trace``, on which all exports rest."""
    return bool(torch.jit.is_tracing() or _is_exporting())  # type: ignore[attr-defined, no-untyped-call]
