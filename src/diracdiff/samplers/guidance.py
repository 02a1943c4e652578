"""Measurement guidance of the score (paper, Eq. 17 and 26)."""

import torch
from torch import Tensor

from diracdiff.process import StochasticDegradation
from diracdiff.utils.shapes import per_image
from diracdiff.utils.validate import check_between, check_option


class Guidance:
    """Measurement guidance score - eta_t grad_y ||measurement - A_1(x_hat(y))||^2 (paper, Eq. 17 and 26).

    The norm is per-image. With scaling "std", eta_t = step / (2 sigma_1^2). With scaling "error",
    eta_t = step / ||measurement - A_1(x_hat)||. The gradient includes the network, so a guided step needs a backward
    pass and the memory of all activations.

    Args:
        scaling: "std" or "error".
        step: step size, the paper's eta, at least 0.

    Raises:
        ValueError: if an argument breaks its rule.
    """

    def __init__(self, scaling: str, step: float):
        check_option(("std", "error"), scaling=scaling)
        check_between(0, float("inf"), step=step)
        self.scaling, self.step = scaling, float(step)

    def __call__(
        self, process: StochasticDegradation, y: Tensor, x_hat: Tensor, measurement: Tensor, t_start: float = 1.0
    ) -> Tensor:
        """Return the term that is added to the score, (B, C, H, W).

        Args:
            process: degradation process.
            y: iterate, (B, C, H, W), that requires a gradient.
            x_hat: denoised image, (B, C, H, W), with the autograd graph to y.
            measurement: measurement, (B, C, H, W).
            t_start: time of the measurement, in (0, 1].
        """
        residual = (measurement - process.mean(x_hat, t_start)).square().flatten(1).sum(1)
        (gradient,) = torch.autograd.grad(residual.sum(), y)
        if self.scaling == "std":
            eta = self.step / (2 * process.sigma_of_measurement(y, t_start) ** 2)
        else:
            eta = self.step / per_image(residual.detach().sqrt().clamp(min=1e-12), y)
        return -eta * gradient


def no_guidance() -> None:
    """Return None, for configurations that disable the guidance of a checkpoint."""
