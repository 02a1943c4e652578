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
"""Smallest fraction of the variance of y_t that is independent of the measurement noise. Avoids 0 at t = 1."""


class StochasticDegradation:
    """Stochastic degradation process y_t = A_t(x) + sigma_t z with z ~ N(0, I) (paper, Section 3.1).

    A measurement may have less noise than y_1. Sampling then adds the missing noise first.

    Args:
        degradation: deterministic degradation process A_t.
        noise: noise schedule sigma_t. Maps times of any shape to standard deviations in units of the [0, 1] range.
        measurement_sigma: standard deviation sigma_y of the measurement noise, in (0, sigma_1]. None: sigma_1.

    Raises:
        ValueError: if `measurement_sigma` is out of range, or sigma_1 exceeds 1 and A_t is not the identity.
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
        """Return a copy of this process with per-image parameters.

        Args:
            params: parameters of the operators, (B, …). None: return this process.

        Raises:
            ValueError: if the degradation has no per-image parameters.
        """
        if params is None:
            return self
        bound = copy.copy(self)
        bound.degradation = self.degradation.bind(params)
        return bound

    def bind_images(self, seeds: Sequence[int], like: Tensor) -> Self:
        """Return a copy of this process with random per-image parameters.

        If the process is bound already, or all images have the same operator, return this process.

        Args:
            seeds: one seed per image.
            like: images, (B, C, H, W), that define size, precision and device.
        """
        return self if self.degradation.is_bound else self.bind(self.degradation.sample_params(seeds, like))

    @property
    def sigma_y(self) -> float:
        """Standard deviation of the measurement noise, in units of the [0, 1] range."""
        return self._sigma_max() if self.measurement_sigma is None else self.measurement_sigma

    def mean(self, x: Tensor, t: float | Tensor) -> Tensor:
        """Return the mean A_t(x) of y_t, (B, C, H, W), for images x, (B, C, H, W), and times t, () or (B,)."""
        return self.degradation(x, t)

    def sigma(self, t: float | Tensor, x: Tensor) -> Tensor:
        """Return sigma_t in a shape that broadcasts over x, (B, C, H, W), for times t, () or (B,)."""
        return per_image(self.noise(as_time(t, x)), x)

    def sigma_of_measurement(self, x: Tensor, t: float | Tensor = 1.0) -> Tensor:
        """Return the standard deviation of the noise of a measurement taken at t.

        It is sigma_y at t = 1, and sigma_t sigma_y / sigma_1 at other times.

        Args:
            x: images, (B, C, H, W). The result broadcasts over them.
            t: times in [0, 1], () or (B,).
        """
        sigma = self.sigma(t, x)
        return sigma if self.measurement_sigma is None else sigma * (self.measurement_sigma / self.sigma(1.0, x))

    def sample(self, x: Tensor, t: float | Tensor, noise: Tensor) -> Tensor:
        """Sample y_t, (B, C, H, W).

        Args:
            x: clean images in [0, 1], (B, C, H, W).
            t: times in [0, 1], () or (B,).
            noise: standard normal noise z, like x.
        """
        return self.mean(x, t) + self.sigma(t, x) * noise

    def measure(self, x: Tensor, noise: Tensor, t: float = 1.0) -> Tensor:
        """Sample a measurement of clean images.

        Args:
            x: clean images in [0, 1], (B, C, H, W).
            noise: standard normal noise, like x.
            t: time of the measurement in [0, 1]. Below 1, the degradation is milder.

        Returns:
            Measurements with noise of standard deviation `sigma_of_measurement`, (B, C, H, W).
        """
        return self.mean(x, t) + self.sigma_of_measurement(x, t) * noise

    def sample_joint(self, x: Tensor, t: float | Tensor, noise: Tensor, measurement_noise: Tensor) -> Tensor:
        """Sample y_t from its joint distribution with the measurement y_1 = A_1(x) + sigma_y z_1.

        y_t = A_t(x) + sigma_t (rho z_1 + sqrt(1 - rho^2) z) with rho = (sigma_y / sigma_1) (sigma_t / sigma_1). The
        states of the reverse process have the same joint distribution.

        Args:
            x: clean images in [0, 1], (B, C, H, W).
            t: times in [0, 1], () or (B,).
            noise: standard normal noise z, like x.
            measurement_noise: standard normal noise z_1, like x.

        Returns:
            y_t, (B, C, H, W).
        """
        ratio = self.sigma(t, x) / self.sigma(1.0, x)
        rho = ratio * self.sigma_of_measurement(x) / self.sigma(1.0, x)
        mixed = rho * measurement_noise + (1 - rho**2).clamp(min=0).sqrt() * noise
        return self.mean(x, t) + self.sigma(t, x) * mixed

    def conditional_noise(self, t: float | Tensor, x: Tensor) -> tuple[Tensor, Tensor]:
        """Split the noise of y_t into a part of y_1 and an independent part.

        y_t - a y_1 = (A_t - a A_1) x + sqrt(v) z with a = sigma_t^2 / sigma_1^2 and z independent of y_1.

        Args:
            t: times in [0, 1], () or (B,).
            x: images, (B, C, H, W). The results broadcast over them.

        Returns:
            The weight a and the variance v.
        """
        sigma = self.sigma(t, x)
        weight = (sigma / self.sigma(1.0, x)) ** 2
        rho = sigma * self.sigma_of_measurement(x) / self.sigma(1.0, x) ** 2
        return weight, sigma**2 * (1 - rho**2).clamp(min=MIN_VARIANCE_FRACTION)

    def sample_given_measurement(self, x: Tensor, t: float | Tensor, noise: Tensor, measurement: Tensor) -> Tensor:
        """Sample y_t given a clean image and its measurement, with the joint distribution of `sample_joint`.

        y_t = A_t(x) + a (y_1 - A_1(x)) + sqrt(v) z, with a and v of `conditional_noise`.

        Args:
            x: clean images in [0, 1], (B, C, H, W).
            t: times in [0, 1], () or (B,).
            noise: standard normal noise z, like x.
            measurement: measurements y_1, like x.

        Returns:
            y_t, (B, C, H, W).
        """
        weight, variance = self.conditional_noise(t, x)
        return self.mean(x, t) + weight * (measurement - self.mean(x, 1.0)) + variance.sqrt() * noise

    def residual(self, measurement: Tensor, x_hat: Tensor, t: float = 1.0) -> Tensor:
        """Return the mean squared residual ||measurement - A_t(x_hat)||^2 / n of each image, (B,).

        If x_hat is the clean image, its expectation is the noise variance of the measurement (paper, Theorem 3.6).

        Args:
            measurement: measurements taken at t, (B, C, H, W).
            x_hat: restored images, like the measurements.
            t: time of the measurements in [0, 1].
        """
        return (measurement - self.mean(x_hat, t)).square().flatten(1).mean(1)

    def _sigma_max(self) -> float:
        return self.noise(torch.tensor(1.0, dtype=torch.float64)).item()
