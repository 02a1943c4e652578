"""Exact denoisers for tests and for demonstrations without training."""

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor

from diracdiff.process import StochasticDegradation
from diracdiff.utils.shapes import as_time, per_image


class FiniteDataOracle:
    """Exact denoiser E[x | y_t] for a prior of N known images with equal probability.

    The posterior weights are the softmax of -||y - A_t(x_i)||^2 / (2 sigma_t^2).

    Args:
        process: degradation process.
        images: images of the prior in [0, 1], (N, C, H, W).
    """

    def __init__(self, process: StochasticDegradation, images: Tensor):
        self.process, self.images = process, images

    def __call__(self, y: Tensor, t: Tensor) -> Tensor:
        """Return posterior means, (B, C, H, W), for iterates y, (B, C, H, W), and times t, () or (B,)."""
        t = as_time(t, y).expand(len(y))
        count = len(self.images)
        candidates = self.images.repeat(len(y), 1, 1, 1)
        degraded = self.process.mean(candidates, t.repeat_interleave(count)).unflatten(0, (len(y), count))
        distance = (y.unsqueeze(1) - degraded).flatten(2).square().sum(2)
        weights = (-distance / (2 * self.process.sigma(t, y).flatten(1) ** 2)).softmax(1)
        return torch.einsum("bn,nchw->bchw", weights, self.images)


class GaussianOracle:
    """Exact denoiser E[x | y_t] for independent pixels N(mean, std^2) and a mask A_t.

    With the mask m = A_t(1), E[x | y] = mean + m std^2 / (m^2 std^2 + sigma_t^2) (y - m mean).

    Args:
        process: degradation process with a mask.
        mean: mean of a pixel in the [0, 1] range.
        std: standard deviation of a pixel in units of the [0, 1] range, positive.
    """

    def __init__(self, process: StochasticDegradation, mean: float = 0.5, std: float = 0.2):
        self.process, self.mean, self.std = process, mean, std

    def __call__(self, y: Tensor, t: Tensor) -> Tensor:
        """Return posterior means, (B, C, H, W), for iterates y, (B, C, H, W), and times t, () or (B,)."""
        mask = self.process.mean(torch.ones_like(y), t)
        gain = mask * self.std**2 / (mask**2 * self.std**2 + self.process.sigma(t, y) ** 2)
        return self.mean + gain * (y - mask * self.mean)


class GaussianFieldOracle:
    """Exact denoiser E[x | y_t] for independent Gaussian channels N(mean, C) and a linear A_t.

    Let A be the matrix of A_t, and K = C A^T (A C A^T + sigma_t^2 I)^-1. Then E[x | y] = mean + K (y - A mean), and the
    covariance of x given y is C - K A C. Matrices are dense, in double precision, for images of a few hundred pixels.

    Args:
        process: linear degradation process.
        covariance: covariance C of the pixels of a channel in row-major order, (H W, H W).
        mean: mean of a pixel in the [0, 1] range.
    """

    def __init__(self, process: StochasticDegradation, covariance: Tensor, mean: float = 0.5):
        self.process, self.covariance, self.mean = process, covariance.double(), mean

    def __call__(self, y: Tensor, t: Tensor) -> Tensor:
        """Return posterior means, (B, C, H, W), for iterates y, (B, C, H, W), and a time t, ()."""
        gain, operator = self.gain(y, t)
        residual = y.double().flatten(2) - self.mean * operator.sum(1)
        return (self.mean + residual @ gain.mT).reshape(y.shape).to(y.dtype)

    def posterior_covariance(self, like: Tensor, t: float | Tensor) -> Tensor:
        """Return the posterior covariance of a channel given y_t, (H W, H W).

        Args:
            like: images, (B, C, H, W), that define size and device.
            t: time in [0, 1], ().
        """
        gain, operator = self.gain(like, t)
        return self.covariance - gain @ operator @ self.covariance

    def gain(self, like: Tensor, t: float | Tensor) -> tuple[Tensor, Tensor]:
        """Return the gain K and the matrix A, (H W, H W) each. The arguments are those of `posterior_covariance`."""
        identity, operator = self.matrix(like, t)
        cross_covariance = self.covariance @ operator.mT
        noise = self.process.sigma(as_time(t, like).double(), identity)
        marginal = operator @ cross_covariance + noise.double() ** 2 * identity
        return torch.linalg.solve(marginal, cross_covariance.mT).mT, operator

    def matrix(self, like: Tensor, t: float | Tensor) -> tuple[Tensor, Tensor]:
        """Return the identity and the matrix A, (H W, H W) each. The arguments are those of `posterior_covariance`."""
        identity = torch.eye(len(self.covariance), dtype=torch.float64, device=like.device)
        t = as_time(t, like).double()
        return identity, self.process.mean(identity.reshape(-1, 1, *like.shape[-2:]), t).flatten(1).mT


class ConditionalFieldOracle(GaussianFieldOracle):
    """Exact denoiser E[x | y_t, y_1] for independent Gaussian channels N(mean, C) and a linear A_t.

    y_1 and y_t - a y_1 have independent noise, see `StochasticDegradation.conditional_noise`. With D = A_t - a A_1, the
    posterior precision of x is C^-1 + A_1^T A_1 / sigma_y^2 + D^T D / v. The arguments are those of
    `GaussianFieldOracle`.
    """

    condition_on_measurement = True

    def condition_on(
        self, process: StochasticDegradation, measurement: Tensor | None = None
    ) -> Callable[[Tensor, Tensor], Tensor]:
        """Return E[x | y_t, y_1] as a function of (y, t).

        Args:
            process: degradation process, not used. The process of the oracle applies.
            measurement: measurements y_1, (B, C, H, W).
        """
        assert measurement is not None
        return partial(self.posterior_mean, measurement)

    def posterior_mean(self, measurement: Tensor, y: Tensor, t: Tensor) -> Tensor:
        """Return posterior means E[x | y_t, y_1], (B, C, H, W).

        Args:
            measurement: measurements y_1, (B, C, H, W).
            y: iterates y_t, (B, C, H, W).
            t: time in [0, 1], ().
        """
        gain, gain_1, precision = self.gains(y, t)
        residual, residual_1 = (
            image.double().flatten(2) - self.mean * self.matrix(y, u)[1].sum(1)
            for image, u in ((y, t), (measurement, 1.0))
        )
        estimate = torch.linalg.solve(precision, (residual @ gain + residual_1 @ gain_1).mT).mT
        return (self.mean + estimate).reshape(y.shape).to(y.dtype)

    def gains(self, like: Tensor, t: float | Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return the gains of y_t and y_1, and the posterior precision of x, (H W, H W) each.

        The arguments are those of `posterior_covariance`.
        """
        identity, operator = self.matrix(like, t)
        first = self.matrix(like, 1.0)[1]
        image = identity.reshape(1, 1, *identity.shape)
        weight, v = (part.squeeze() for part in self.process.conditional_noise(as_time(t, like).double(), image))
        variance = self.process.sigma_of_measurement(image).squeeze() ** 2
        remainder = operator - weight * first
        precision = torch.linalg.inv(self.covariance) + first.mT @ first / variance + remainder.mT @ remainder / v
        return remainder / v, first / variance - weight / v * remainder, precision


class GaussianPrior:
    """Exact denoiser E[x | y] of a Gaussian prior x ~ N(mean, C) with a separable covariance C: x -> R x R^T.

    E[x | y] = mean + C (C + sigma^2 I)^-1 (y - mean).

    Args:
        matrix: symmetric positive definite matrix R, (n, n). Images have n x n pixels.
        mean: mean of a pixel in the [0, 1] range.

    Attributes:
        sigma_min: smallest noise level.
        sigma_max: largest noise level.

    Raises:
        ValueError: if the matrix is not positive definite.
    """

    sigma_min, sigma_max = 1e-4, 100.0

    def __init__(self, matrix: Tensor, mean: float = 0.5):
        self.matrix, self.mean = matrix, mean
        values, basis = torch.linalg.eigh(matrix.double())
        if not (values > 0).all():
            smallest = values.min().item()
            raise ValueError(f"matrix: must be positive definite, got the eigenvalue {smallest:.3g}. Change it.")
        self.basis, self.variances = basis, values.unsqueeze(-1) * values

    def __call__(self, y: Tensor, sigma: float | Tensor) -> Tensor:
        """Return posterior means, (B, C, n, n), for images y, (B, C, n, n), with noise of level sigma, () or (B,)."""
        basis, variances = self.basis.to(y), self.variances.to(y)
        sigma = per_image(as_time(sigma, y), y)
        coefficients = basis.mT @ (y - self.mean) @ basis
        return self.mean + basis @ (variances / (variances + sigma**2) * coefficients) @ basis.mT

    def sample(self, noise: Tensor) -> Tensor:
        """Return samples of the prior, (B, C, n, n), for standard normal noise, (B, C, n, n)."""
        basis, variances = self.basis.to(noise), self.variances.to(noise)
        return self.mean + basis @ (variances.sqrt() * noise) @ basis.mT
