"""The distance of a method's samples from an exact posterior, where x and the measurement are Gaussian."""

from itertools import pairwise
from typing import NamedTuple

import torch
from torch import Tensor

from diracdiff.degradations import Operator
from diracdiff.noise import ConstantNoise, GeometricNoise
from diracdiff.oracles.oracles import ConditionalFieldOracle, GaussianFieldOracle, GaussianPrior
from diracdiff.process import StochasticDegradation


class LateNoise:
    """sigma_t = sigma_min up to t = `start`, geometric from there to sigma_max at t = 1.

    With a severity that is constant from `start` on, the reverse process denoises first and restores afterwards.

    Args:
        sigma_min: standard deviation up to `start`, in units of the [0, 1] range; positive.
        sigma_max: standard deviation at t = 1; at least `sigma_min`.
        start: in [0, 1).
    """

    def __init__(self, sigma_min: float = 0.01, sigma_max: float = 0.05, start: float = 0.5):
        if not 0 <= start < 1:
            raise ValueError(f"start must lie in [0, 1), got {start}")
        self.noise, self.start = GeometricNoise(sigma_min, sigma_max), float(start)

    def __call__(self, t: Tensor) -> Tensor:
        return self.noise(((t - self.start) / (1 - self.start)).clamp(min=0))


class Calibration(NamedTuple):
    """Samples of one measurement against its posterior N(mean, covariance).

    Attributes:
        bias: sqrt(mean (sample mean - posterior mean)^2 / posterior variance), the mean over pixels, less what the
            finite number of samples adds to it, `floor`, in quadrature; 0 for posterior samples, 1 for one sample.
        floor: sqrt(mean (sample variance / posterior variance) / number of samples).
        std: sqrt(mean sample variance / mean posterior variance), the means over pixels; 1 for posterior samples.
        residual: ||y - A x|| / (sqrt(n) sigma), its mean over samples; about 1 for posterior samples.
    """

    bias: float
    floor: float
    std: float
    residual: float


class GaussianBench:
    """A measurement y = A_1(x) + sigma_1 z of x ~ N(1/2, C) and its posterior in closed form.

    Channels are independent draws. The covariance of two pixels is std^2 exp(-(|rows| + |columns|) / length).

    Args:
        process: a linear degradation process; the measurement is taken at t = 1.
        side: of the images, in pixels.
        channels: draws of x.
        std: standard deviation of a pixel, in units of the [0, 1] range.
        length: of the correlation, in pixels.
        seed: of x and z.
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
        """Return y, `count` times, (count, C, H, W)."""
        return self.y.repeat(count, 1, 1, 1)

    def operator(self, count: int) -> Operator:
        """Return A_1 on `measurements(count)`."""
        return Operator(self.process.degradation, self.measurements(count))

    def posterior(self, noise: Tensor) -> Tensor:
        """Return posterior samples from standard normal noise, (B, C, H, W)."""
        root = torch.linalg.cholesky(self.covariance).to(noise)
        return self.mean + (noise.flatten(2) @ root.mT).reshape(noise.shape)

    def trajectory(self, times: list[float], eta: float = 1.0) -> tuple[Tensor, Tensor]:
        """Return the distribution of the last iterate of Eq. 7 with look-ahead, given y_1, without sampling.

        Every step is affine here: y_0 - A_0 mean is normal about F (y_1 - A_1 mean) with a covariance P.

        Args:
            times: of the iterates, from 1 to 0.
            eta: amount of noise in the steps, in [0, 1].

        Returns:
            F and P, (n, n), n pixels of a channel, in double precision.
        """
        one = torch.eye(len(self.covariance), dtype=torch.float64)
        factor, spread = one, torch.zeros_like(one)
        gains = (self.oracle.gain(self.y, t) for t in times)
        for (t, s), ((gain, operator), (_, following)) in zip(pairwise(times), pairwise(gains), strict=True):
            before, after = (self.process.sigma(u, one).double() ** 2 for u in (t, s))
            weight = (1 + eta**2) / 2 * (before - after) / before
            step = one + (following - operator) @ gain + weight * (operator @ gain - one)
            factor, spread = step @ factor, step @ spread @ step.mT + eta**2 * (before - after) * one
        return factor, spread

    def marginal_covariance(self, t: float) -> Tensor:
        """Return the covariance of the pixels of a channel of y_t, (n, n), in double precision."""
        _, operator = self.oracle.gain(self.y, t)
        noise = self.process.sigma(t, self.y).double().squeeze() ** 2
        return operator @ self.oracle.covariance @ operator.mT + noise * torch.eye(len(operator), dtype=torch.float64)

    def calibration(self, samples: Tensor) -> Calibration:
        """Compare samples, (B, C, H, W), B at least 2, with the posterior."""
        samples, variance = samples.double(), self.covariance.diagonal().reshape(self.y.shape[-2:])
        spread = samples.var(0)
        floor = (spread / variance).mean() / len(samples)
        bias = ((samples.mean(0) - self.mean.squeeze(0)).square() / variance).mean() - floor
        residual = (self.y - self.process.mean(samples.to(self.y), 1.0)).square().flatten(1).mean(1).sqrt() / self.sigma
        ratio = spread.mean() / variance.mean()
        return Calibration(*(v.item() for v in (bias.clamp(min=0).sqrt(), floor.sqrt(), ratio.sqrt(), residual.mean())))
