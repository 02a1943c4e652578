"""Measurement guidance of the score (paper, Eq. 17 and 26)."""

import torch
from torch import Tensor

from diracdiff.process import StochasticDegradation
from diracdiff.utils.shapes import per_image

SCALINGS = ("std", "error")


class Guidance:
    """score <- score - eta_t grad_y ||measurement - A_1(x_hat(y))||^2, for every image by itself.

    Scaling "std": eta_t = step / (2 sigma_1^2). Scaling "error": eta_t = step / ||measurement - A_1(x_hat)||.
    The gradient runs through the network: a guided step is a forward and a backward pass, and keeps activations.

    Args:
        scaling: "std" or "error".
        step: the paper's eta; at least 0.
    """

    def __init__(self, scaling: str, step: float):
        if scaling not in SCALINGS:
            raise ValueError(f"guidance scaling must be one of {SCALINGS}, got {scaling!r}")
        if not step >= 0:
            raise ValueError(f"guidance step must not be negative, got {step}")
        self.scaling, self.step = scaling, float(step)

    def __call__(
        self, process: StochasticDegradation, y: Tensor, x_hat: Tensor, measurement: Tensor, start: float = 1.0
    ) -> Tensor:
        """The term to add to the score, (B, C, H, W); x_hat must carry the graph back to y.

        `start` is the time of the measurement; A and sigma are taken there.
        """
        residual = (measurement - process.mean(x_hat, start)).square().flatten(1).sum(1)
        (gradient,) = torch.autograd.grad(residual.sum(), y)
        if self.scaling == "std":
            eta = self.step / (2 * process.sigma_of_measurement(y, start) ** 2)
        else:
            eta = self.step / per_image(residual.detach().sqrt().clamp(min=1e-12), y)
        return -eta * gradient


def no_guidance() -> None:
    """None: what a configuration says that wants no guidance, whatever the checkpoint's."""
