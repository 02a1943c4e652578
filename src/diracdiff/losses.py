"""The incremental reconstruction loss (paper, Eq. 14)."""

from torch import Tensor

from diracdiff.process import StochasticDegradation
from diracdiff.shapes import as_time


class IncrementalReconstructionLoss:
    """mean over images of w(t) ||A_tau(x_hat) - A_tau(x)||^2 / n, tau = max(0, t - look_ahead), w = 1 / sigma_t^2.

    `look_ahead = 0` is score matching (Eq. 12); `look_ahead = 1` is the loss in the domain of clean images
    (Eq. 28). n is the number of values in an image, so the loss does not depend on the image size.

    Args:
        look_ahead: the paper's D, in [0, 1]; not the sampler's step.
    """

    def __init__(self, look_ahead: float = 0.0):
        if not 0 <= look_ahead <= 1:
            raise ValueError(f"look_ahead must lie in [0, 1], got {look_ahead}")
        self.look_ahead = float(look_ahead)

    def __call__(self, process: StochasticDegradation, x_hat: Tensor, x: Tensor, t: Tensor) -> Tensor:
        """Loss of the predictions x_hat for the clean images x, (B, C, H, W), at times t, () or (B,): a scalar."""
        x_hat = x_hat.to(x.dtype)
        tau = (as_time(t, x) - self.look_ahead).clamp(min=0)
        if process.degradation.linear:
            error = process.mean(x_hat - x, tau)
        else:
            error = process.mean(x_hat, tau) - process.mean(x, tau)
        return ((error / process.sigma(t, x)) ** 2).mean()
