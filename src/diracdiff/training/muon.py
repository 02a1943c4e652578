"""Muon: orthogonalised momentum for the weights of convolutions (Jordan et al. 2024), Adam for all other weights."""

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn

FEWEST_ROWS = 8
COEFFICIENTS, ITERATIONS = (3.4445, -4.7750, 2.0315), 5
"""Coefficients of Jordan et al., which move singular values to between about 0.7 and 1.2."""


class Muon(torch.optim.Adam):
    """Momentum with singular values near 1 for the weights of convolutions, and Adam for all others.

    The momentum of a weight is a matrix, outputs by inputs and pixels of the kernel. Its step is that matrix with
    singular values near 1, times lr sqrt(max(1, rows / columns)). Adam updates weights with fewer than 8 outputs,
    biases, norms and embeddings.

    Args:
        parameters: parameters to train.
        lr: learning rate of convolutions, in units of a singular value.
        adam_lr: learning rate of all others.
        betas: decay rates of Adam's moments.
        momentum: momentum of convolutions, in [0, 1), with Nesterov's look-ahead.
        fused: run Adam in one pass over the weights.
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
        given = list(parameters)
        convolutions = [p for p in given if p.ndim == 4 and min(len(p), p[0].numel()) >= FEWEST_ROWS]
        chosen = {id(p) for p in convolutions}
        others = {"params": [p for p in given if id(p) not in chosen], "lr": adam_lr}
        super().__init__([others, {"params": convolutions, "lr": lr}], lr, betas, fused=fused)
        self.momentum = momentum

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Make a step, and return the loss that `closure` computes."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        group = self.param_groups[1]
        same: dict[torch.Size, list[Tensor]] = {}
        for parameter in group["params"]:
            if parameter.grad is not None:
                same.setdefault(parameter.shape, []).append(parameter)
        for shape, parameters in same.items():  # batched: single small products are slow
            updates = orthogonal(torch.stack([_matrix(self._with_momentum(p)) for p in parameters]))
            rate = group["lr"] * max(1.0, shape[0] / shape[1:].numel()) ** 0.5
            for parameter, update in zip(parameters, updates, strict=True):
                _matrix(parameter).sub_(update, alpha=rate)
                parameter.grad = None  # Adam leaves parameters without a gradient as they are
        super().step()
        return loss

    def _with_momentum(self, parameter: Tensor) -> Tensor:
        state, grad = self.state[parameter], parameter.grad
        assert grad is not None
        if "momentum" not in state:
            state |= {"momentum": torch.zeros_like(parameter), "step": torch.zeros(())}  # Adam reads every step
        average: Tensor = state["momentum"].lerp_(grad, 1 - self.momentum)
        return grad.lerp(average, self.momentum)


def orthogonal(matrices: Tensor) -> Tensor:
    """Return matrices, (N, A, B), with singular values near 1, by a Newton-Schulz iteration of order 5."""
    a, b, c = COEFFICIENTS
    wide = matrices.shape[1] <= matrices.shape[2]
    x = matrices if wide else matrices.mT
    x = x / (x.flatten(1).norm(dim=1)[:, None, None] + 1e-7)
    gram, product = x @ x.mT, None
    for _ in range(ITERATIONS):  # on the small matrix x x^T alone; x is multiplied by a polynomial of it
        polynomial = torch.baddbmm(gram, gram, gram, beta=b, alpha=c)
        polynomial.diagonal(dim1=1, dim2=2).add_(a)
        product = polynomial if product is None else polynomial @ product
        gram = polynomial @ gram @ polynomial
    assert product is not None
    found: Tensor = product @ x
    return found if wide else found.mT


def _matrix(weight: Tensor) -> Tensor:
    """Return the weight of a convolution, channels last in memory, as a matrix: outputs by kernel and inputs."""
    return weight.permute(0, 2, 3, 1).flatten(1)
