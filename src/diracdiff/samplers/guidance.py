"""Measurement guidance of the score (paper, Eq. 17 and 26)."""

import torch
from torch import Tensor

from diracdiff.process import StochasticDegradation
from diracdiff.utils.shapes import per_image
from diracdiff.utils.validate import check_between, check_option


class Guidance:
    """score <- score - eta_t grad_y ||measurement - A_1(x_hat(y))||^2, for every image separately.

    Scaling "std": eta_t = step / (2 sigma_1^2). Scaling "error": eta_t = step / ||measurement - A_1(x_hat)||.
    The gradient runs through the network: a guided step is a forward and a backward pass, and keeps activations.

    Args:
        scaling: "std" or "error".
        step: the paper's eta; at least 0.
    """

    def __init__(self, scaling: str, step: float):
        check_option(("std", "error"), scaling=scaling)
        check_between(0, float("inf"), step=step)
        self.scaling, self.step = scaling, float(step)

    def __call__(
        self, process: StochasticDegradation, y: Tensor, x_hat: Tensor, measurement: Tensor, t_start: float = 1.0
    ) -> Tensor:
        """Return the term to add to the score, (B, C, H, W).

        Args:
            process: the degradation process.
            y: the iterate.
            x_hat: with the graph back to y.
            measurement: y at `t_start`.
            t_start: time of the measurement, where A and sigma are taken.
        """
        residual = (measurement - process.mean(x_hat, t_start)).square().flatten(1).sum(1)
        (gradient,) = torch.autograd.grad(residual.sum(), y)
        if self.scaling == "std":
            eta = self.step / (2 * process.sigma_of_measurement(y, t_start) ** 2)
        else:
            eta = self.step / per_image(residual.detach().sqrt().clamp(min=1e-12), y)
        return -eta * gradient


def no_guidance() -> None:
    """Return None: for a configuration without guidance, whatever the checkpoint's."""
