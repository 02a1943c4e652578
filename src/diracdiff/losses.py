"""The incremental reconstruction loss (paper, Eq. 14), and losses for other preconditionings and methods."""

from torch import Tensor

from diracdiff.process import StochasticDegradation
from diracdiff.utils.shapes import as_time
from diracdiff.utils.validate import check_between, check_positive


class IncrementalReconstructionLoss:
    """mean over images of w(t) ||A_tau(x_hat) - A_tau(x)||^2 / n, tau = max(0, t - look_ahead), w = 1 / sigma_t^2.

    With `data_std`, w = 1 / sigma_t^2 + 1 / data_std^2 (Karras et al. 2022, Table 1), which keeps a weight on
    noise that is much larger than the image. `look_ahead = 0` is score matching (Eq. 12); `look_ahead = 1` is the loss
    of clean images (Eq. 28). n is the number of values in an image.

    Args:
        look_ahead: the paper's D, in [0, 1]; not the sampler's step.
        data_std: standard deviation of a pixel in the [0, 1] range, or None.
    """

    def __init__(self, look_ahead: float = 0.0, data_std: float | None = None):
        check_between(0, 1, look_ahead=look_ahead)
        if data_std is not None:
            check_positive(data_std=data_std)
        self.look_ahead = float(look_ahead)
        self.data_std = None if data_std is None else float(data_std)

    def __call__(self, process: StochasticDegradation, x_hat: Tensor, x: Tensor, t: Tensor) -> Tensor:
        """Return the loss, (), of predictions x_hat for clean images x, (B, C, H, W), at times t, () or (B,)."""
        x_hat = x_hat.to(x.dtype)
        tau = (as_time(t, x) - self.look_ahead).clamp(min=0)
        return self._weighted(process, _degraded_error(process, x_hat, x, tau), t)

    def increment_loss(
        self, process: StochasticDegradation, predicted: Tensor, x: Tensor, t: Tensor, s: Tensor
    ) -> Tensor:
        """Return the loss, (), of an incremental reconstruction network's predictions of A_s(x)."""
        return self._weighted(process, predicted.to(x.dtype) - process.mean(x, s), t)

    def _weighted(self, process: StochasticDegradation, error: Tensor, t: Tensor) -> Tensor:
        weight = process.sigma(t, error) ** -2
        if self.data_std is not None:
            weight = weight + self.data_std**-2
        return (weight * error**2).mean()


class MatchedLoss:
    """mean over images of ||A_t e||^2 / sigma_t^2 + ||e||^2 / S^2 per value, e = x_hat - x.

    It weighs every component of the output of an `OperatorPreconditioning` alike, by 1 / c_out^2: score matching
    (paper, Eq. 12) and the loss of clean images together. For a network that is conditioned on the measurement the
    first term is ||A_1 e||^2 / sigma_y^2 + ||(A_t - a A_1) e||^2 / v, see `StochasticDegradation.conditional_noise`.

    Args:
        data_std: S, standard deviation of a pixel in the [0, 1] range; positive.
        condition_on_measurement: the network is conditioned on the measurement.
    """

    def __init__(self, data_std: float = 0.25, condition_on_measurement: bool = False):
        check_positive(data_std=data_std)
        self.data_std, self.condition_on_measurement = float(data_std), bool(condition_on_measurement)

    def __call__(self, process: StochasticDegradation, x_hat: Tensor, x: Tensor, t: Tensor) -> Tensor:
        """Return the loss, (), of predictions x_hat for clean images x, (B, C, H, W), at times t, () or (B,)."""
        x_hat = x_hat.to(x.dtype)
        error = _degraded_error(process, x_hat, x, t)
        total = (x_hat - x) ** 2 / self.data_std**2
        if self.condition_on_measurement:
            measured = _degraded_error(process, x_hat, x, 1.0)
            weight, v = process.conditional_noise(t, x)
            total = total + (measured / process.sigma_of_measurement(x)) ** 2 + (error - weight * measured) ** 2 / v
        else:
            total = total + (error / process.sigma(t, x)) ** 2
        return total.mean()


class MeanSquaredError:
    """Mean squared error ||x_hat - x||^2 / n, with the same weight at all times, as for InDI."""

    def __call__(self, process: StochasticDegradation, x_hat: Tensor, x: Tensor, t: Tensor) -> Tensor:
        """Return the loss, (), of predictions x_hat for clean images x, (B, C, H, W)."""
        return (x_hat.to(x.dtype) - x).square().mean()


def _degraded_error(process: StochasticDegradation, x_hat: Tensor, x: Tensor, t: float | Tensor) -> Tensor:
    """Return A_t(x_hat) - A_t(x)."""
    if process.degradation.linear:
        return process.mean(x_hat - x, t)
    return process.mean(x_hat, t) - process.mean(x, t)
