"""Muon: momentum whose step is orthogonalised matrix by matrix, several times quicker than Adam on few steps."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn

NEWTON_SCHULZ = (3.4445, -4.7750, 2.0315)
"""Coefficients of the quintic iteration that drives singular values towards 1 (Jordan et al. 2024, Muon)."""

RMS_OF_ADAM = 0.2
"""Typical root mean square of an Adam step, which the step is scaled to (arXiv 2502.16982, eq. 4)."""


def orthogonalise(matrix: Tensor, iterations: int = 5) -> Tensor:
    """Return roughly ``U V^T`` of an (M, N) matrix with singular value decomposition ``U S V^T``."""
    a, b, c = NEWTON_SCHULZ
    x: Tensor = matrix / (matrix.norm() + 1e-7)
    tall = x.shape[0] > x.shape[1]
    x = x.T if tall else x
    for _ in range(iterations):
        gram = x @ x.T
        x = a * x + (b * gram + c * gram @ gram) @ x
    return x.T if tall else x


class Muon(torch.optim.Optimizer):
    """Nesterov momentum with orthogonalised steps, for weights of two or more dimensions.

    A convolution's (O, I, k, k) weight counts as an (O, I*k*k) matrix. torch's own Muon takes matrices only.
    """

    def __init__(self, parameters: Iterable[nn.Parameter], *, lr: float, momentum: float = 0.95) -> None:
        """Prepare the optimiser.

        Raises:
            ValueError: a parameter has fewer than two dimensions.
        """
        members = list(parameters)
        if any(parameter.ndim < 2 for parameter in members):
            raise ValueError("Muon takes weights of two or more dimensions; give the others to Adam")
        super().__init__(members, {"lr": lr, "momentum": momentum})

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        """Take one step with the gradients at hand."""
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is not None:
                    self._move(parameter, parameter.grad, lr=group["lr"], momentum=group["momentum"])

    def _move(self, parameter: nn.Parameter, gradient: Tensor, *, lr: float, momentum: float) -> None:
        state = self.state[parameter]
        if "momentum" not in state:
            state["momentum"] = torch.zeros_like(parameter)
        average: Tensor = state["momentum"].mul_(momentum).add_(gradient)
        matrix = (gradient + momentum * average).reshape(parameter.shape[0], -1)
        step = orthogonalise(matrix) * (RMS_OF_ADAM * max(matrix.shape) ** 0.5)
        parameter.add_(step.view_as(parameter), alpha=-lr)
