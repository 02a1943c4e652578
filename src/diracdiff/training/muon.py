"""Muon optimiser: orthogonalised momentum for convolutions (Jordan et al. 2024), and Adam for other parameters."""

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn

MIN_ROWS = 8
COEFFICIENTS, ITERATIONS = (3.4445, -4.7750, 2.0315), 5
"""Coefficients of Jordan et al. (2024), which map singular values to the range 0.7 to 1.2 approximately."""


class Muon(torch.optim.Adam):
    """Muon optimiser for the weights of convolutions, combined with Adam for all other parameters.

    The momentum of a convolution is reshaped to a matrix, output channels by (kernel pixels and input channels). The
    update is this matrix with singular values near 1, times lr sqrt(max(1, rows / columns)). Adam updates biases,
    norms, embeddings, and convolutions with fewer than `MIN_ROWS` rows or columns.

    Args:
        parameters: parameters to train.
        lr: learning rate of convolutions, in units of a singular value.
        adam_lr: learning rate of Adam.
        betas: decay rates of the moments of Adam.
        momentum: Nesterov momentum of convolutions, in [0, 1).
        fused: use the fused implementation of Adam.
    """

    def __init__(
        self,
        parameters: Iterable[nn.Parameter],
        lr: float = 0.01,
        adam_lr: float = 2e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        momentum: float = 0.95,
        fused: bool = True,
    ):
        parameters = list(parameters)
        convolutions = [p for p in parameters if p.ndim == 4 and min(len(p), p[0].numel()) >= MIN_ROWS]
        convolution_ids = {id(p) for p in convolutions}
        others = {"params": [p for p in parameters if id(p) not in convolution_ids], "lr": adam_lr}
        super().__init__([others, {"params": convolutions, "lr": lr}], lr, betas, fused=fused)
        self.momentum = momentum

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Perform one optimisation step.

        Args:
            closure: function that computes the gradients and returns the loss.

        Returns:
            Loss of `closure`, or None.
        """
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        group = self.param_groups[1]
        by_shape: dict[torch.Size, list[Tensor]] = {}
        for parameter in group["params"]:
            if parameter.grad is not None:
                by_shape.setdefault(parameter.shape, []).append(parameter)
        for shape, parameters in by_shape.items():  # batches, because many small products are slow
            updates = orthogonalise(torch.stack([_as_matrix(self._apply_momentum(p)) for p in parameters]))
            rate = group["lr"] * max(1.0, shape[0] / shape[1:].numel()) ** 0.5
            for parameter, update in zip(parameters, updates, strict=True):
                _as_matrix(parameter).sub_(update, alpha=rate)
                parameter.grad = None  # Adam does not update parameters without a gradient
        super().step()
        return loss

    def _apply_momentum(self, parameter: Tensor) -> Tensor:
        state, grad = self.state[parameter], parameter.grad
        assert grad is not None
        if "momentum" not in state:
            state |= {"momentum": torch.zeros_like(parameter), "step": torch.zeros(())}  # Adam reads "step"
        average: Tensor = state["momentum"].lerp_(grad, 1 - self.momentum)
        return grad.lerp(average, self.momentum)


def orthogonalise(matrices: Tensor) -> Tensor:
    """Orthogonalise matrices: move their singular values near 1 by a Newton-Schulz iteration of order 5.

    Args:
        matrices: (N, A, B).

    Returns:
        Matrices with the same singular vectors, (N, A, B).
    """
    a, b, c = COEFFICIENTS
    wide = matrices.shape[1] <= matrices.shape[2]
    x = matrices if wide else matrices.mT
    x = x / (x.flatten(1).norm(dim=1)[:, None, None] + 1e-7)
    gram, product = x @ x.mT, None
    for _ in range(ITERATIONS):  # iterate on the small matrix x x^T, and multiply x once at the end
        polynomial = torch.baddbmm(gram, gram, gram, beta=b, alpha=c)
        polynomial.diagonal(dim1=1, dim2=2).add_(a)
        product = polynomial if product is None else polynomial @ product
        gram = polynomial @ gram @ polynomial
    assert product is not None
    result: Tensor = product @ x
    return result if wide else result.mT


def _as_matrix(weight: Tensor) -> Tensor:
    """Return the weight of a channels-last convolution as a view: outputs by (kernel pixels and inputs)."""
    return weight.permute(0, 2, 3, 1).flatten(1)
