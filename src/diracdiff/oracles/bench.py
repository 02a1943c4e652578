"""How far the samples of a method are from an exact posterior: x and the measurement are Gaussian."""

from itertools import pairwise
from typing import NamedTuple

import torch
from torch import Tensor

from diracdiff.degradations import Operator
from diracdiff.noise import ConstantNoise, GeometricNoise
from diracdiff.oracles.gaussian_prior import GaussianPrior
from diracdiff.oracles.oracles import ConditionalFieldOracle, GaussianFieldOracle
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
        place = torch.arange(side, dtype=torch.float64)
        matrix = std * torch.exp(-(place - place.unsqueeze(-1)).abs() / length)
        self.process, self.prior = process, GaussianPrior(matrix)
        covariance = torch.kron(matrix, matrix)
        self.oracle, self.conditional = (
            kind(process, covariance) for kind in (GaussianFieldOracle, ConditionalFieldOracle)
        )
        generator = torch.Generator().manual_seed(seed)
        z_x, z_y = torch.randn(2, 1, channels, side, side, generator=generator)
        self.x = self.prior.sample(z_x)
        self.y = process.measure(self.x, z_y)
        self.sigma = process.sigma_of_measurement(self.y).squeeze()
        of_measurement = self.oracle
        if process.measurement_sigma is not None:
            measured = StochasticDegradation(process.degradation, ConstantNoise(process.measurement_sigma))
            of_measurement = GaussianFieldOracle(measured, covariance)
        self.mean = of_measurement(self.y, torch.tensor(1.0))
        self.covariance = of_measurement.posterior_covariance(self.y, 1.0)

    def measurements(self, count: int) -> Tensor:
        """y, `count` times, (count, C, H, W)."""
        return self.y.repeat(count, 1, 1, 1)

    def operator(self, count: int) -> Operator:
        """A_1 on `measurements(count)`."""
        return Operator(self.process.degradation, self.measurements(count))

    def posterior(self, noise: Tensor) -> Tensor:
        """Posterior samples from standard normal noise, (B, C, H, W)."""
        root: Tensor = torch.linalg.cholesky(self.covariance).to(noise)
        return self.mean + (noise.flatten(2) @ root.mT).reshape(noise.shape)

    def walk(self, times: list[float], stochasticity: float = 1.0) -> tuple[Tensor, Tensor]:
        """The law of the iterate that the reverse process with look-ahead ends with, given y_1, without sampling.

        Every step is affine here: y_0 - A_0 mean is normal about F (y_1 - A_1 mean) with a covariance P.

        Args:
            times: of the walk, from 1 to 0.
            stochasticity: that of the walk, in [0, 1].

        Returns:
            F and P, (n, n), n pixels of a channel, in double precision.
        """
        one = torch.eye(len(self.covariance), dtype=torch.float64)
        factor, spread = one, torch.zeros_like(one)
        gains = (self.oracle.gain(self.y, t) for t in times)
        for (t, s), ((gain, operator), (_, following)) in zip(pairwise(times), pairwise(gains), strict=True):
            before, after = (self.process.sigma(u, one).double() ** 2 for u in (t, s))
            share = (1 + stochasticity**2) / 2 * (before - after) / before
            step = one + (following - operator) @ gain + share * (operator @ gain - one)
            factor, spread = step @ factor, step @ spread @ step.mT + stochasticity**2 * (before - after) * one
        return factor, spread

    def marginal(self, t: float) -> Tensor:
        """The covariance of the pixels of a channel of y_t, (n, n), in double precision."""
        _, operator = self.oracle.gain(self.y, t)
        noise = self.process.sigma(t, self.y).double().squeeze() ** 2
        return operator @ self.oracle.covariance @ operator.mT + noise * torch.eye(len(operator), dtype=torch.float64)

    def calibration(self, samples: Tensor) -> Calibration:
        """Of samples (B, C, H, W), B at least 2."""
        samples, variance = samples.double(), self.covariance.diagonal().reshape(self.y.shape[-2:])
        spread = samples.var(0)
        floor = (spread / variance).mean() / len(samples)
        bias = ((samples.mean(0) - self.mean.squeeze(0)).square() / variance).mean() - floor
        residual = (self.y - self.process.mean(samples.to(self.y), 1.0)).square().flatten(1).mean(1).sqrt() / self.sigma
        ratio = spread.mean() / variance.mean()
        return Calibration(*(v.item() for v in (bias.clamp(min=0).sqrt(), floor.sqrt(), ratio.sqrt(), residual.mean())))
