"""Exact denoisers, for tests and for demonstrations without training."""

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor

from diracdiff.process import StochasticDegradation
from diracdiff.utils.shapes import as_time, per_image


class FiniteDataOracle:
    """E[x | y_t] where x is one of N known images with equal probability.

    The posterior weights are a softmax of -||y - A_t(x_i)||^2 / (2 sigma_t^2).

    Args:
        process: the degradation process.
        images: the N images, (N, C, H, W), in [0, 1].
    """

    def __init__(self, process: StochasticDegradation, images: Tensor):
        self.process, self.images = process, images

    def __call__(self, y: Tensor, t: Tensor) -> Tensor:
        """Return posterior means, (B, C, H, W), of y (B, C, H, W) at times t, () or (B,)."""
        t = as_time(t, y).expand(len(y))
        count = len(self.images)
        candidates = self.images.repeat(len(y), 1, 1, 1)
        degraded = self.process.mean(candidates, t.repeat_interleave(count)).unflatten(0, (len(y), count))
        distance = (y.unsqueeze(1) - degraded).flatten(2).square().sum(2)
        weights = (-distance / (2 * self.process.sigma(t, y).flatten(1) ** 2)).softmax(1)
        return torch.einsum("bn,nchw->bchw", weights, self.images)


class GaussianOracle:
    """E[x | y_t] where the pixels of x are independent, N(mean, std^2), and A_t multiplies them by a mask.

    With m = A_t(1): E[x | y] = mean + m std^2 / (m^2 std^2 + sigma_t^2) (y - m mean). Exact for inpainting.

    Args:
        process: a degradation process with a mask.
        mean: mean of a pixel.
        std: standard deviation of a pixel; positive.
    """

    def __init__(self, process: StochasticDegradation, mean: float = 0.5, std: float = 0.2):
        self.process, self.mean, self.std = process, mean, std

    def __call__(self, y: Tensor, t: Tensor) -> Tensor:
        """Return posterior means, (B, C, H, W), of y (B, C, H, W) at times t, () or (B,)."""
        mask = self.process.mean(torch.ones_like(y), t)
        gain = mask * self.std**2 / (mask**2 * self.std**2 + self.process.sigma(t, y) ** 2)
        return self.mean + gain * (y - mask * self.mean)


class GaussianFieldOracle:
    """E[x | y_t] where every channel of x is N(mean, C) separately, for any linear A_t.

    With A the matrix of A_t and K = C A^T (A C A^T + sigma_t^2)^-1: E[x | y] = mean + K (y - A mean), and the
    covariance of x given y is C - K A C. Dense, in double precision: for images of a few hundred pixels.

    Args:
        process: a linear degradation process.
        covariance: C, (H W, H W), of the pixels of a channel, row by row.
        mean: of a pixel.
    """

    def __init__(self, process: StochasticDegradation, covariance: Tensor, mean: float = 0.5):
        self.process, self.covariance, self.mean = process, covariance.double(), mean

    def __call__(self, y: Tensor, t: Tensor) -> Tensor:
        """Return posterior means, (B, C, H, W), of y (B, C, H, W) at a time t, ()."""
        gain, operator = self.gain(y, t)
        residual = y.double().flatten(2) - self.mean * operator.sum(1)
        return (self.mean + residual @ gain.mT).reshape(y.shape).to(y.dtype)

    def posterior_covariance(self, like: Tensor, t: float | Tensor) -> Tensor:
        """Return the covariance of a channel given y_t, (H W, H W), for images like `like`, (B, C, H, W)."""
        gain, operator = self.gain(like, t)
        return self.covariance - gain @ operator @ self.covariance

    def gain(self, like: Tensor, t: float | Tensor) -> tuple[Tensor, Tensor]:
        """Return K and A, (H W, H W), at a time t, ()."""
        basis, operator = self.matrix(like, t)
        crossed = self.covariance @ operator.mT
        noise = self.process.sigma(as_time(t, like).double(), basis)
        marginal = operator @ crossed + noise.double() ** 2 * basis
        return torch.linalg.solve(marginal, crossed.mT).mT, operator

    def matrix(self, like: Tensor, t: float | Tensor) -> tuple[Tensor, Tensor]:
        """Return the identity and A, (H W, H W), at a time t, ()."""
        one = torch.eye(len(self.covariance), dtype=torch.float64, device=like.device)
        t = as_time(t, like).double()
        return one, self.process.mean(one.reshape(-1, 1, *like.shape[-2:]), t).flatten(1).mT


class ConditionalFieldOracle(GaussianFieldOracle):
    """E[x | y_t, y_1] where every channel of x is N(mean, C) separately, for any linear A_t.

    y_1 and y_t - a y_1 have independent noise (`StochasticDegradation.conditional_noise`), so with D = A_t - a A_1 the
    precision of x is C^-1 + A_1^T A_1 / sigma_y^2 + D^T D / v.

    The arguments are those of `GaussianFieldOracle`.
    """

    condition_on_measurement = True

    def condition_on(
        self, process: StochasticDegradation, measurement: Tensor | None = None
    ) -> Callable[[Tensor, Tensor], Tensor]:
        """Return E[x | y_t, y_1] of (y, t) for this measurement, (B, C, H, W), of the oracle's process."""
        assert measurement is not None
        return partial(self.posterior_mean, measurement)

    def posterior_mean(self, measurement: Tensor, y: Tensor, t: Tensor) -> Tensor:
        """Return posterior means, (B, C, H, W), given y, like the measurement, at a time t, (), and the measurement."""
        of_y, of_measurement, precision = self.gains(y, t)
        rest, rest_1 = (
            image.double().flatten(2) - self.mean * self.matrix(y, u)[1].sum(1)
            for image, u in ((y, t), (measurement, 1.0))
        )
        estimate = torch.linalg.solve(precision, (rest @ of_y + rest_1 @ of_measurement).mT).mT
        return (self.mean + estimate).reshape(y.shape).to(y.dtype)

    def gains(self, like: Tensor, t: float | Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return the gains of y_t and y_1, and the precision of x given both, (H W, H W) each, at a time t, ()."""
        one, operator = self.matrix(like, t)
        first = self.matrix(like, 1.0)[1]
        pixel = one.reshape(1, 1, *one.shape)
        share, free = (v.squeeze() for v in self.process.conditional_noise(as_time(t, like).double(), pixel))
        variance = self.process.sigma_of_measurement(pixel).squeeze() ** 2
        remainder = operator - share * first
        precision = torch.linalg.inv(self.covariance) + first.mT @ first / variance + remainder.mT @ remainder / free
        return remainder / free, first / variance - share / free * remainder, precision


class GaussianPrior:
    """The exact denoiser of x ~ N(mean, C), where C is the map x -> R x R^T with a symmetric matrix R per direction.

    C has eigenvalues s_i s_j, and E[x | y] = mean + C (C + sigma^2)^-1 (y - mean).

    Args:
        matrix: R, (n, n), symmetric and positive definite; the images are n x n.
        mean: of a pixel.
    """

    sigma_min, sigma_max = 1e-4, 100.0

    def __init__(self, matrix: Tensor, mean: float = 0.5):
        self.matrix, self.mean = matrix, mean
        values, basis = torch.linalg.eigh(matrix.double())
        if not (values > 0).all():
            raise ValueError(f"matrix must be positive definite, its least eigenvalue is {values.min().item():.3g}")
        self.basis, self.variances = basis, values.unsqueeze(-1) * values

    def __call__(self, y: Tensor, sigma: float | Tensor) -> Tensor:
        """Return x_hat, (B, C, n, n)."""
        basis, variances = self.basis.to(y), self.variances.to(y)
        sigma = per_image(as_time(sigma, y), y)
        coefficients = basis.mT @ (y - self.mean) @ basis
        return self.mean + basis @ (variances / (variances + sigma**2) * coefficients) @ basis.mT

    def sample(self, noise: Tensor) -> Tensor:
        """Return images from standard normal noise, (B, C, n, n)."""
        basis, variances = self.basis.to(noise), self.variances.to(noise)
        return self.mean + basis @ (variances.sqrt() * noise) @ basis.mT
