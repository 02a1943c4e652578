"""Steps of which every direction is as long as every other: an optimiser for convolutions."""

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.adam import adam

FEWEST_ROWS = 8
COEFFICIENTS, ITERATIONS = (3.4445, -4.7750, 2.0315), 5
"""Jordan's, for singular values that end between about 0.7 and 1.2."""


class Muon(torch.optim.Optimizer):
    """Momentum, orthogonalised (Jordan et al. 2024), for the weights of convolutions, and Adam for all others.

    The momentum of a convolution's weight is a matrix, outputs by inputs and pixels of the kernel. Its step is that
    matrix with singular values near 1, times lr sqrt(max(1, rows / columns)): no direction waits for the strongest
    ones. Weights with fewer than 8 outputs, biases, norms and embeddings are Adam's. Everything is in float32.

    Args:
        parameters: what to train.
        lr: of the convolutions, in units of a singular value.
        adam_lr: of all others.
        betas: Adam's.
        momentum: of the convolutions, in [0, 1), with Nesterov's look ahead.
        fused: Adam in one pass over the weights.
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
        matrices = [p for p in given if p.ndim == 4 and min(len(p), p[0].numel()) >= FEWEST_ROWS]
        chosen = {id(p) for p in matrices}
        others = [p for p in given if id(p) not in chosen]
        self.fused = fused
        super().__init__(
            [{"params": others, "lr": adam_lr}, {"params": matrices, "lr": lr}],
            {"lr": lr, "betas": tuple(betas), "momentum": momentum},
        )

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Make a step; `closure` computes the loss, which is returned."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        others, matrices = self.param_groups
        self._adam([p for p in others["params"] if p.grad is not None], others)
        same: dict[torch.Size, list[Tensor]] = {}
        for parameter in matrices["params"]:
            if parameter.grad is not None:
                same.setdefault(parameter.shape, []).append(parameter)
        for shape, parameters in same.items():  # of one shape together: small products wait for each other else
            updates = orthogonal(torch.stack([_matrix(self._moved(p, matrices["momentum"])) for p in parameters]))
            rate = matrices["lr"] * max(1.0, shape[0] / shape[1:].numel()) ** 0.5
            for parameter, update in zip(parameters, updates, strict=True):
                _matrix(parameter).sub_(update, alpha=rate)
        return loss

    def _moved(self, parameter: Tensor, momentum: float) -> Tensor:
        """The gradient as momentum makes it."""
        state, grad = self.state[parameter], parameter.grad
        assert grad is not None
        if "momentum" not in state:
            state["momentum"] = torch.zeros_like(parameter)
        average: Tensor = state["momentum"].lerp_(grad, 1 - momentum)
        return grad.lerp(average, momentum)

    def _adam(self, parameters: list[Tensor], group: dict[str, Any]) -> None:
        for parameter in parameters:
            if not self.state[parameter]:
                zeros = {name: torch.zeros_like(parameter) for name in ("exp_avg", "exp_avg_sq")}
                self.state[parameter] = {"step": torch.zeros((), dtype=torch.float32, device=parameter.device)} | zeros
        grads = [p.grad for p in parameters if p.grad is not None]
        first, second, steps = ([self.state[p][name] for p in parameters] for name in ("exp_avg", "exp_avg_sq", "step"))
        beta1, beta2 = group["betas"]
        adam(
            parameters, grads, first, second, [], steps,
            fused=self.fused, beta1=beta1, beta2=beta2, lr=group["lr"], eps=1e-8, weight_decay=0.0,
            amsgrad=False, maximize=False,
        )  # fmt: skip


def orthogonal(matrices: Tensor) -> Tensor:
    """Matrices, (N, A, B), with singular values near 1 instead of theirs, by a Newton-Schulz iteration of order 5."""
    a, b, c = COEFFICIENTS
    wide = matrices.shape[1] <= matrices.shape[2]
    x = matrices if wide else matrices.mT
    x = x / (x.flatten(1).norm(dim=1)[:, None, None] + 1e-7)
    gram, product = x @ x.mT, None
    for _ in range(ITERATIONS):  # on the small matrix x x^T alone: each multiplies x by a polynomial of it
        polynomial = torch.baddbmm(gram, gram, gram, beta=b, alpha=c)
        polynomial.diagonal(dim1=1, dim2=2).add_(a)
        product = polynomial if product is None else polynomial @ product
        gram = polynomial @ gram @ polynomial
    assert product is not None
    found: Tensor = product @ x
    return found if wide else found.mT


def _matrix(weight: Tensor) -> Tensor:
    """A convolution's weight as it lies in memory, channels last: a matrix, outputs by kernel and inputs."""
    return weight.permute(0, 2, 3, 1).flatten(1)
