"""Whether a network is being written down as a graph, rather than run.

A graph serves every face of every batch, and other programs run it: what prepares itself for one face, or takes
operators that only torch has, takes its plain form then.
"""

from __future__ import annotations

import torch

# torch before 2.7 cannot tell an export from a compilation.
_is_exporting = getattr(torch.compiler, "is_exporting", torch.compiler.is_compiling)


def exporting() -> bool:
    """Say whether this call is recorded by ``torch.export`` or ``torch.jit.trace``, on which all exports rest."""
    return bool(torch.jit.is_tracing() or _is_exporting())  # type: ignore[attr-defined, no-untyped-call]
