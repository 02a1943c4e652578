"""The incremental reconstruction loss (paper, Eq. 14)."""

from torch import Tensor

from diracdiff.process import StochasticDegradation
from diracdiff.shapes import as_time


class IncrementalReconstructionLoss:
    """mean over images of w(t) ||A_tau(x_hat) - A_tau(x)||^2 / n, tau = max(0, t - look_ahead), w = 1 / sigma_t^2.

    With `data_std`, w = 1 / sigma_t^2 + 1 / data_std^2 (Karras et al. 2022, Table 1), which keeps a weight on
    noise that is much larger than the image.

    `look_ahead = 0` is score matching (Eq. 12); `look_ahead = 1` is the loss in the domain of clean images
    (Eq. 28). n is the number of values in an image, so the loss does not depend on the image size.

    Args:
        look_ahead: the paper's D, in [0, 1]; not the sampler's step.
        data_std: standard deviation of a pixel in the [0, 1] range, or None.
    """

    def __init__(self, look_ahead: float = 0.0, data_std: float | None = None):
        if not 0 <= look_ahead <= 1:
            raise ValueError(f"look_ahead must lie in [0, 1], got {look_ahead}")
        if data_std is not None and not data_std > 0:
            raise ValueError(f"data_std must be positive or null, got {data_std}")
        self.look_ahead = float(look_ahead)
        self.data_std = None if data_std is None else float(data_std)

    def __call__(self, process: StochasticDegradation, x_hat: Tensor, x: Tensor, t: Tensor) -> Tensor:
        """Loss of the predictions x_hat for the clean images x, (B, C, H, W), at times t, () or (B,): a scalar."""
        x_hat = x_hat.to(x.dtype)
        tau = (as_time(t, x) - self.look_ahead).clamp(min=0)
        if process.degradation.linear:
            error = process.mean(x_hat - x, tau)
        else:
            error = process.mean(x_hat, tau) - process.mean(x, tau)
        return self._weighted(process, error, t)

    def of_increment(
        self, process: StochasticDegradation, predicted: Tensor, x: Tensor, t: Tensor, s: Tensor
    ) -> Tensor:
        """Loss of predictions of A_s(x), as an incremental reconstruction network makes them: a scalar."""
        return self._weighted(process, predicted.to(x.dtype) - process.mean(x, s), t)

    def _weighted(self, process: StochasticDegradation, error: Tensor, t: Tensor) -> Tensor:
        weight = process.sigma(t, error) ** -2
        if self.data_std is not None:
            weight = weight + self.data_std**-2
        return (weight * error**2).mean()
