"""The stochastic degradation process y_t = A_t(x) + sigma_t z (paper, Section 3.1)."""

import copy
from collections.abc import Callable, Sequence
from typing import Self

import torch
from torch import Tensor

from diracdiff.degradations import Degradation, Identity
from diracdiff.noise import check_noise_level
from diracdiff.utils.shapes import as_time, per_image

MIN_VARIANCE_FRACTION = 1e-9
"""Least fraction of y_t's variance that is independent of the measurement's noise; it avoids 0 at t = 1."""


class StochasticDegradation:
    """y_t = A_t(x) + sigma_t z with z ~ N(0, I).

    A measurement may have less noise than the process at t = 1: sampling then begins with the missing noise.

    Args:
        degradation: A_t.
        noise: sigma_t, a map from t of any shape to a standard deviation in units of the [0, 1] range.
        measurement_sigma: sigma_y, standard deviation of a measurement's noise, in (0, sigma_1]; None: sigma_1.

    Raises:
        ValueError: if measurement_sigma breaks its rule, or images are degraded and sigma_1 exceeds 1.
    """

    def __init__(
        self, degradation: Degradation, noise: Callable[[Tensor], Tensor], measurement_sigma: float | None = None
    ):
        self.degradation, self.noise = degradation, noise
        self.measurement_sigma: float | None = None
        sigma_max = self._sigma_max()
        if sigma_max > 1 and not isinstance(degradation, Identity):
            rule = f"sigma at t = 1 must be at most 1 in units of the [0, 1] image range, got {sigma_max:.4g}"
            raise ValueError(f"noise: {rule}. Divide a level on 0 … 255 by 255, or use Identity.")
        if measurement_sigma is not None:
            self.measurement_sigma = check_noise_level("measurement_sigma", measurement_sigma, sigma_max * (1 + 1e-6))

    def bind(self, params: Tensor | None) -> Self:
        """Return this process with the parameters of per-image operators, (B, …); itself for None."""
        if params is None:
            return self
        bound = copy.copy(self)
        bound.degradation = self.degradation.bind(params)
        return bound

    def bind_images(self, seeds: Sequence[int], like: Tensor) -> Self:
        """Return this process with operators drawn for images like `like`, (B, C, H, W), with one seed per image.

        Itself where all images have the same operator, or where it is bound already.
        """
        return self if self.degradation.is_bound else self.bind(self.degradation.sample_params(seeds, like))

    @property
    def sigma_y(self) -> float:
        """Standard deviation of a measurement's noise, in units of the [0, 1] range."""
        return self._sigma_max() if self.measurement_sigma is None else self.measurement_sigma

    def mean(self, x: Tensor, t: float | Tensor) -> Tensor:
        """Return A_t(x), (B, C, H, W), for x (B, C, H, W) and t () or (B,)."""
        return self.degradation(x, t)

    def sigma(self, t: float | Tensor, x: Tensor) -> Tensor:
        """Return sigma_t, shaped to broadcast over x, (B, C, H, W)."""
        return per_image(self.noise(as_time(t, x)), x)

    def sigma_of_measurement(self, x: Tensor, t: float | Tensor = 1.0) -> Tensor:
        """Return sigma_y, shaped to broadcast over x, (B, C, H, W); for a milder one, at t, in proportion."""
        sigma = self.sigma(t, x)
        return sigma if self.measurement_sigma is None else sigma * (self.measurement_sigma / self.sigma(1.0, x))

    def sample(self, x: Tensor, t: float | Tensor, noise: Tensor) -> Tensor:
        """Return y_t, (B, C, H, W), for clean images x in [0, 1] and standard normal noise of the same shape."""
        return self.mean(x, t) + self.sigma(t, x) * noise

    def measure(self, x: Tensor, noise: Tensor, t: float = 1.0) -> Tensor:
        """Return the measurement y_1, or a milder one, y_t, with the noise of measurements."""
        return self.mean(x, t) + self.sigma_of_measurement(x, t) * noise

    def sample_joint(self, x: Tensor, t: float | Tensor, noise: Tensor, measurement_noise: Tensor) -> Tensor:
        """Return y_t, (B, C, H, W), jointly distributed with y_1 = A_1(x) + sigma_y measurement_noise as in sampling.

        y_t = A_t(x) + sigma_t (rho z_1 + sqrt(1 - rho^2) z), rho = (sigma_y / sigma_1) (sigma_t / sigma_1).

        Args:
            x: clean images in [0, 1], (B, C, H, W).
            t: times, () or (B,).
            noise: z, standard normal, like x.
            measurement_noise: z_1, standard normal, like x.
        """
        ratio = self.sigma(t, x) / self.sigma(1.0, x)
        rho = ratio * self.sigma_of_measurement(x) / self.sigma(1.0, x)
        mixed = rho * measurement_noise + (1 - rho**2).clamp(min=0).sqrt() * noise
        return self.mean(x, t) + self.sigma(t, x) * mixed

    def conditional_noise(self, t: float | Tensor, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return the weight a of y_1 in y_t and the variance v of the remaining noise, which is independent of y_1's.

        y_t - a y_1 = (A_t - a A_1) x + sqrt(v) z with a = sigma_t^2 / sigma_1^2; both broadcast over x, (B, C, H, W).
        """
        sigma = self.sigma(t, x)
        weight = (sigma / self.sigma(1.0, x)) ** 2
        rho = sigma * self.sigma_of_measurement(x) / self.sigma(1.0, x) ** 2
        return weight, sigma**2 * (1 - rho**2).clamp(min=MIN_VARIANCE_FRACTION)

    def sample_given_measurement(self, x: Tensor, t: float | Tensor, noise: Tensor, measurement: Tensor) -> Tensor:
        """Return y_t given x and its measurement y_1, (B, C, H, W) each, with the distribution of `sample_joint`.

        y_t = A_t(x) + a (y_1 - A_1(x)) + sqrt(v) z, see `conditional_noise`; z is standard normal noise.
        """
        weight, variance = self.conditional_noise(t, x)
        return self.mean(x, t) + weight * (measurement - self.mean(x, 1.0)) + variance.sqrt() * noise

    def residual(self, measurement: Tensor, x_hat: Tensor, t: float = 1.0) -> Tensor:
        """Return ||measurement - A_t(x_hat)||^2 / n of each image, (B,); sigma_t^2 for an x_hat that fits."""
        return (measurement - self.mean(x_hat, t)).square().flatten(1).mean(1)

    def _sigma_max(self) -> float:
        return self.noise(torch.tensor(1.0, dtype=torch.float64)).item()
