"""The slow form of a network: what the published programs compute on a CPU, and what the quick forms are measured by.

A network as it was trained is the plain maths of its paper already, but for a few operations that have a quicker way
and a readable, slow one beside it: `upfirdn2d` and `upfirdn2d_ref`, `ModulatedConv2d` and `ModulatedConv2dRef`.
"""

from __future__ import annotations

from torch import Tensor, nn

from facerestore.archs import ops, psfr, stylegan2

SLOW_FORMS: dict[type[nn.Module], type[nn.Module]] = {
    ops.Filter: ops.FilterRef,
    stylegan2.ModulatedConv2d: stylegan2.ModulatedConv2dRef,
    psfr.StyleNorm: psfr.StyleNormRef,
    psfr.PSFRGenerator: psfr.PSFRGeneratorRef,
}

REFERENCES = ("bisenet", "gpen", "lite", "parse", "parsenet", "psfr")
"""The backends and parsers whose networks have a reference form."""


class ReferenceNetwork(nn.Module):
    """A network with its quick operations put back to the slow ones, in place; parameters and keys stay.

    Outputs beside the first, which serve training, are computed as published, and let go.
    """

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network
        for module in network.modules():
            module.__class__ = SLOW_FORMS.get(type(module), type(module))

    def forward(self, *inputs: Tensor) -> Tensor:
        """Return what the network gives; inputs are B C H W each."""
        found = self.network(*inputs)
        first: Tensor = found if isinstance(found, Tensor) else found[0]
        return first
