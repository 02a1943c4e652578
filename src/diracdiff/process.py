"""The stochastic degradation process y_t = A_t(x) + sigma_t z (paper, Section 3.1)."""

import copy
from collections.abc import Callable, Sequence
from typing import Self

import torch
from torch import Tensor

from diracdiff.degradations import Degradation, Identity
from diracdiff.noise import check_level
from diracdiff.utils.shapes import as_time, per_image

LEAST_FREE_NOISE = 1e-9
"""Share of the variance of y_t that is at least taken as independent of the measurement's, where y_t is y_1 itself."""


class StochasticDegradation:
    """y_t = A_t(x) + sigma_t z with z ~ N(0, I).

    A measurement may have less noise than the process has at t = 1: a walk then begins with the noise that is missing.

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
        self.degradation = degradation
        self.noise = noise
        self.measurement_sigma: float | None = None
        largest = self._largest()
        if largest > 1 and not isinstance(degradation, Identity):
            raise ValueError(
                f"noise: sigma at t = 1 must be at most 1 in units of the [0, 1] image range, got {largest:.4g}. "
                "Divide a level on 0 … 255 by 255, or use Identity to generate images from noise alone."
            )
        if measurement_sigma is not None:
            self.measurement_sigma = check_level("measurement_sigma", measurement_sigma, largest * (1 + 1e-6))

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
        return self._largest() if self.measurement_sigma is None else self.measurement_sigma

    def mean(self, x: Tensor, t: float | Tensor) -> Tensor:
        """A_t(x): (B, C, H, W) for x (B, C, H, W) and t () or (B,)."""
        return self.degradation(x, t)

    def sigma(self, t: float | Tensor, x: Tensor) -> Tensor:
        """sigma_t, shaped to broadcast over x, (B, C, H, W)."""
        return per_image(self.noise(as_time(t, x)), x)

    def sigma_of_measurement(self, x: Tensor, t: float | Tensor = 1.0) -> Tensor:
        """sigma_y, shaped to broadcast over x, (B, C, H, W); of a milder measurement, at t, less in proportion."""
        sigma = self.sigma(t, x)
        return sigma if self.measurement_sigma is None else sigma * (self.measurement_sigma / self.sigma(1.0, x))

    def sample(self, x: Tensor, t: float | Tensor, noise: Tensor) -> Tensor:
        """y_t: (B, C, H, W) for clean images x in [0, 1] and standard normal noise of the same shape."""
        return self.mean(x, t) + self.sigma(t, x) * noise

    def measure(self, x: Tensor, noise: Tensor, t: float = 1.0) -> Tensor:
        """The measurement y_1, or a milder one, y_t, with as much noise as measurements have."""
        return self.mean(x, t) + self.sigma_of_measurement(x, t) * noise

    def sample_joint(self, x: Tensor, t: float | Tensor, noise: Tensor, measurement_noise: Tensor) -> Tensor:
        """y_t of the walk that begins at the measurement y_1 = A_1(x) + sigma_y measurement_noise: (B, C, H, W).

        y_t = A_t(x) + sigma_t (rho z_1 + sqrt(1 - rho^2) z), rho = (sigma_y / sigma_1) (sigma_t / sigma_1): two
        independent draws of noise would have another joint law than the walk.

        Args:
            x: clean images in [0, 1], (B, C, H, W).
            t: times, () or (B,).
            noise: z, standard normal, like x.
            measurement_noise: z_1, standard normal, like x.
        """
        share = self.sigma(t, x) / self.sigma(1.0, x)
        rho = share * self.sigma_of_measurement(x) / self.sigma(1.0, x)
        mixed = rho * measurement_noise + (1 - rho**2).clamp(min=0).sqrt() * noise
        return self.mean(x, t) + self.sigma(t, x) * mixed

    def conditional_noise(self, t: float | Tensor, x: Tensor) -> tuple[Tensor, Tensor]:
        """What y_t tells that y_1 does not: y_t - share y_1 = (A_t - share A_1) x + noise that is independent of y_1's.

        Returns:
            The share sigma_t^2 / sigma_1^2 and the variance of that noise, shaped to broadcast over x, (B, C, H, W).
        """
        known = self.sigma(t, x)
        share = (known / self.sigma(1.0, x)) ** 2
        rho = known * self.sigma_of_measurement(x) / self.sigma(1.0, x) ** 2
        return share, known**2 * (1 - rho**2).clamp(min=LEAST_FREE_NOISE)

    def sample_given_measurement(self, x: Tensor, t: float | Tensor, noise: Tensor, measurement: Tensor) -> Tensor:
        """y_t of the walk that begins at a measurement y_1 of x: (B, C, H, W), with the law of `sample_joint`.

        y_t = A_t(x) + share (y_1 - A_1(x)) + sqrt(variance) z, see `conditional_noise`.

        Args:
            x: clean images in [0, 1], (B, C, H, W).
            t: times, () or (B,).
            noise: z, standard normal, like x.
            measurement: y_1, like x.
        """
        share, free = self.conditional_noise(t, x)
        return self.mean(x, t) + share * (measurement - self.mean(x, 1.0)) + free.sqrt() * noise

    def residual(self, measurement: Tensor, x_hat: Tensor, t: float = 1.0) -> Tensor:
        """||measurement - A_t(x_hat)||^2 / n of each image, (B,): sigma_t^2 where x_hat explains the measurement."""
        return (measurement - self.mean(x_hat, t)).square().flatten(1).mean(1)

    def _largest(self) -> float:
        return self.noise(torch.tensor(1.0, dtype=torch.float64)).item()
