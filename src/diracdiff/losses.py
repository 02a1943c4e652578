"""Incremental reconstruction loss (paper, Eq. 14), and losses for other preconditionings and methods."""

from torch import Tensor

from diracdiff.process import StochasticDegradation
from diracdiff.utils.shapes import as_time
from diracdiff.utils.validate import check_between, check_positive


class IncrementalReconstructionLoss:
    """Incremental reconstruction loss w_t ||A_tau(x_hat) - A_tau(x)||^2 / n, averaged over images (paper, Eq. 14).

    tau = max(0, t - look_ahead), w_t = 1 / sigma_t^2, and n is the number of values of an image. `look_ahead = 0` is
    score matching (Eq. 12). `look_ahead = 1` is the loss in the domain of clean images (Eq. 28). With `data_std`,
    w_t = 1 / sigma_t^2 + 1 / data_std^2 (Karras et al. 2022, Table 1), so that large noise levels have weight too.

    Args:
        look_ahead: look-ahead of the loss in time, in [0, 1]. It is not the step size of the sampler.
        data_std: standard deviation of a pixel in units of the [0, 1] range, positive; or None.

    Raises:
        ValueError: if an argument is out of range.
    """

    def __init__(self, look_ahead: float = 0.0, data_std: float | None = None):
        check_between(0, 1, look_ahead=look_ahead)
        if data_std is not None:
            check_positive(data_std=data_std)
        self.look_ahead = float(look_ahead)
        self.data_std = None if data_std is None else float(data_std)

    def __call__(self, process: StochasticDegradation, x_hat: Tensor, x: Tensor, t: Tensor) -> Tensor:
        """Compute the loss, ().

        Args:
            process: degradation process of the training pairs.
            x_hat: predictions of the clean images, (B, C, H, W).
            x: clean images in [0, 1], like the predictions.
            t: times in [0, 1], () or (B,).
        """
        x_hat = x_hat.to(x.dtype)
        tau = (as_time(t, x) - self.look_ahead).clamp(min=0)
        return self._weighted(process, _degraded_error(process, x_hat, x, tau), t)

    def increment_loss(
        self, process: StochasticDegradation, predicted: Tensor, x: Tensor, t: Tensor, s: Tensor
    ) -> Tensor:
        """Compute the loss, (), of an incremental reconstruction network, w_t ||predicted - A_s(x)||^2 / n.

        Args:
            process: degradation process of the training pairs.
            predicted: predictions of A_s(x), (B, C, H, W).
            x: clean images in [0, 1], like the predictions.
            t: times of the network's input, () or (B,).
            s: times of the target, () or (B,).
        """
        return self._weighted(process, predicted.to(x.dtype) - process.mean(x, s), t)

    def _weighted(self, process: StochasticDegradation, error: Tensor, t: Tensor) -> Tensor:
        weight = process.sigma(t, error) ** -2
        if self.data_std is not None:
            weight = weight + self.data_std**-2
        return (weight * error**2).mean()


class MatchedLoss:
    """Loss ||A_t e||^2 / sigma_t^2 + ||e||^2 / S^2 with e = x_hat - x, averaged over the values of all images.

    It is the sum of score matching (paper, Eq. 12) and the loss of clean images. With `OperatorPreconditioning`, it
    gives each component of the network's output the same weight, 1 / c_out^2. If the network is conditioned on the
    measurement, the first term is ||A_1 e||^2 / sigma_y^2 + ||(A_t - a A_1) e||^2 / v. See
    `StochasticDegradation.conditional_noise` for a and v.

    Args:
        data_std: standard deviation S of a pixel in units of the [0, 1] range, positive.
        condition_on_measurement: the network is conditioned on the measurement.

    Raises:
        ValueError: if `data_std` is not positive.
    """

    def __init__(self, data_std: float = 0.25, condition_on_measurement: bool = False):
        check_positive(data_std=data_std)
        self.data_std, self.condition_on_measurement = float(data_std), bool(condition_on_measurement)

    def __call__(self, process: StochasticDegradation, x_hat: Tensor, x: Tensor, t: Tensor) -> Tensor:
        """Compute the loss, (). The arguments are those of `IncrementalReconstructionLoss`."""
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
    """Mean squared error ||x_hat - x||^2 / n with the same weight at all times, as in InDI."""

    def __call__(self, process: StochasticDegradation, x_hat: Tensor, x: Tensor, t: Tensor) -> Tensor:
        """Compute the loss, (). The arguments are those of `IncrementalReconstructionLoss`."""
        return (x_hat.to(x.dtype) - x).square().mean()


def _degraded_error(process: StochasticDegradation, x_hat: Tensor, x: Tensor, t: float | Tensor) -> Tensor:
    """Return A_t(x_hat) - A_t(x), for linear A_t with one evaluation."""
    if process.degradation.linear:
        return process.mean(x_hat - x, t)
    return process.mean(x_hat, t) - process.mean(x, t)
