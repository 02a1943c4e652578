"""Benchmark of posterior samplers on Gaussian images, for which the posterior has a closed form."""

from itertools import pairwise
from typing import NamedTuple

import torch
from torch import Tensor

from diracdiff.degradations import Operator
from diracdiff.noise import ConstantNoise, GeometricNoise
from diracdiff.oracles.oracles import ConditionalFieldOracle, GaussianFieldOracle, GaussianPrior
from diracdiff.process import StochasticDegradation


class LateNoise:
    """Noise schedule that is constant up to t = `start` and geometric from there to t = 1.

    With a severity that is constant after `start`, the reverse process denoises first and then restores.

    Args:
        sigma_min: standard deviation up to `start`, in (0, 0.5].
        sigma_max: standard deviation at t = 1, in [sigma_min, 100].
        start: end of the constant part, in [0, 1).

    Raises:
        ValueError: if an argument is out of range.
    """

    def __init__(self, sigma_min: float = 0.01, sigma_max: float = 0.05, start: float = 0.5):
        if not 0 <= start < 1:
            raise ValueError(f"start={start}: must lie in [0, 1).")
        self.noise, self.start = GeometricNoise(sigma_min, sigma_max), float(start)

    def __call__(self, t: Tensor) -> Tensor:
        return self.noise(((t - self.start) / (1 - self.start)).clamp(min=0))


class Calibration(NamedTuple):
    """Comparison of the samples of one measurement with the posterior. Means are over pixels.

    Attributes:
        bias: sqrt(mean((sample mean - posterior mean)^2 / posterior variance) - floor^2), 0 for posterior samples.
        floor: expected contribution of the finite number of samples to the bias,
            sqrt(mean(sample variance / posterior variance) / number of samples).
        std: sqrt(mean sample variance / mean posterior variance), 1 for posterior samples.
        residual: mean of ||y - A x|| / (sqrt(n) sigma) over samples, about 1 for posterior samples.
    """

    bias: float
    floor: float
    std: float
    residual: float


class GaussianBench:
    """Measurement y = A_1(x) + sigma_y z of a Gaussian image x ~ N(1/2, C) with its exact posterior.

    Channels are independent samples. The covariance of two pixels with distances d_r and d_c in rows and columns is
    std^2 exp(-(d_r + d_c) / length).

    Args:
        process: linear degradation process. The time of the measurement is 1.
        side: side of the image in pixels.
        channels: number of channels.
        std: standard deviation of a pixel in units of the [0, 1] range, positive.
        length: correlation length in pixels, positive.
        seed: seed of x and z.

    Attributes:
        prior: exact denoiser of the prior.
        oracle: E[x | y_t].
        conditional: E[x | y_t, y_1].
        x: image, (1, C, H, W).
        y: measurement, (1, C, H, W).
        sigma: standard deviation of the measurement noise, ().
        mean: posterior mean, (1, C, H, W).
        covariance: posterior covariance of a channel, (H W, H W), in double precision.
    """

    def __init__(
        self,
        process: StochasticDegradation,
        side: int = 16,
        channels: int = 3,
        std: float = 0.2,
        length: float = 5.0,
        seed: int = 0,
    ):
        position = torch.arange(side, dtype=torch.float64)
        matrix = std * torch.exp(-(position - position.unsqueeze(-1)).abs() / length)
        covariance = torch.kron(matrix, matrix)
        self.process, self.prior = process, GaussianPrior(matrix)
        self.oracle = GaussianFieldOracle(process, covariance)
        self.conditional = ConditionalFieldOracle(process, covariance)
        z_x, z_y = torch.randn(2, 1, channels, side, side, generator=torch.Generator().manual_seed(seed))
        self.x = self.prior.sample(z_x)
        self.y = process.measure(self.x, z_y)
        self.sigma = process.sigma_of_measurement(self.y).squeeze()
        noise = process.noise if process.measurement_sigma is None else ConstantNoise(process.measurement_sigma)
        exact = GaussianFieldOracle(StochasticDegradation(process.degradation, noise), covariance)
        self.mean = exact(self.y, torch.tensor(1.0))
        self.covariance = exact.posterior_covariance(self.y, 1.0)

    def measurements(self, count: int) -> Tensor:
        """Return `count` copies of the measurement, (count, C, H, W)."""
        return self.y.repeat(count, 1, 1, 1)

    def operator(self, count: int) -> Operator:
        """Return the operator A_1 of `measurements(count)`."""
        return Operator(self.process.degradation, self.measurements(count))

    def posterior(self, noise: Tensor) -> Tensor:
        """Return posterior samples, (B, C, H, W), for standard normal noise, (B, C, H, W)."""
        root = torch.linalg.cholesky(self.covariance).to(noise)
        return self.mean + (noise.flatten(2) @ root.mT).reshape(noise.shape)

    def trajectory(self, times: list[float], eta: float = 1.0) -> tuple[Tensor, Tensor]:
        """Return the exact distribution of the last iterate of Eq. 7 with look-ahead, given y_1.

        Each step is affine, so y_0 - A_0 mean ~ N(F (y_1 - A_1 mean), P).

        Args:
            times: times of the iterates, decreasing from 1 to 0.
            eta: fraction of noise in the steps, in [0, 1].

        Returns:
            F and P, (H W, H W) each, for the pixels of a channel, in double precision.
        """
        identity = torch.eye(len(self.covariance), dtype=torch.float64)
        factor, covariance = identity, torch.zeros_like(identity)
        gains = (self.oracle.gain(self.y, t) for t in times)
        for (t, s), ((gain, operator), (_, next_operator)) in zip(pairwise(times), pairwise(gains), strict=True):
            before, after = (self.process.sigma(u, identity).double() ** 2 for u in (t, s))
            weight = (1 + eta**2) / 2 * (before - after) / before
            step = identity + (next_operator - operator) @ gain + weight * (operator @ gain - identity)
            factor = step @ factor
            covariance = step @ covariance @ step.mT + eta**2 * (before - after) * identity
        return factor, covariance

    def marginal_covariance(self, t: float) -> Tensor:
        """Return the covariance of the pixels of a channel of y_t, (H W, H W), in double precision."""
        _, operator = self.oracle.gain(self.y, t)
        noise = self.process.sigma(t, self.y).double().squeeze() ** 2
        return operator @ self.oracle.covariance @ operator.mT + noise * torch.eye(len(operator), dtype=torch.float64)

    def calibration(self, samples: Tensor) -> Calibration:
        """Compare samples with the posterior.

        Args:
            samples: at least 2 samples, (B, C, H, W).
        """
        samples, variance = samples.double(), self.covariance.diagonal().reshape(self.y.shape[-2:])
        sample_variance = samples.var(0)
        floor = (sample_variance / variance).mean() / len(samples)
        bias = ((samples.mean(0) - self.mean.squeeze(0)).square() / variance).mean() - floor
        residual = (self.y - self.process.mean(samples.to(self.y), 1.0)).square().flatten(1).mean(1).sqrt() / self.sigma
        ratio = sample_variance.mean() / variance.mean()
        return Calibration(*(v.item() for v in (bias.clamp(min=0).sqrt(), floor.sqrt(), ratio.sqrt(), residual.mean())))
