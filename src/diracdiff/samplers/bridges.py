"""Bridges between clean images and measurements, and their sampler, for the comparison methods I2SB, InDI and Palette.

A bridge is a distribution of x_t, given a clean image x (t = 0) and its measurement y (t = 1):

    x_t = (1 - w_t) x + w_t y + s_t z,  z ~ N(0, I)

A network is trained to estimate x from x_t. A sampling step from t to s < t, with eta in [0, 1], is

    x_s = x_hat + decay (x_t - x_hat) + eta std z

All noise levels are in units of the [0, 1] range, half of those published for images in [-1, 1].
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from diracdiff.degradations import Identity
from diracdiff.noise import LogLogisticNoise, check_noise_level
from diracdiff.process import StochasticDegradation
from diracdiff.samplers.reverse_process import (
    ConditionalDenoiser,
    ImageNoise,
    Prediction,
    Predictor,
    ReverseProcess,
    State,
)
from diracdiff.samplers.sampler import ReverseSampler
from diracdiff.samplers.solvers import Solver
from diracdiff.utils.shapes import as_time, per_image
from diracdiff.utils.validate import check_between, check_positive


class Bridge(ABC):
    """The distribution of x_t given a clean image x and its measurement y."""

    @abstractmethod
    def weight(self, t: Tensor) -> Tensor:
        """Return w_t, the weight of y in the mean of x_t, in [0, 1], for times of any shape."""

    @abstractmethod
    def std(self, t: Tensor) -> Tensor:
        """Return s_t, the standard deviation of x_t, for times of any shape."""

    @abstractmethod
    def sigma(self, t: Tensor) -> Tensor:
        """Return sigma_t, which scales the target (x_t - x) / sigma_t of the network, for times of any shape."""

    @abstractmethod
    def step_coefficients(self, t: float, s: float, eta: float) -> tuple[float, float]:
        """Return `decay` and `std` of the step from t to s < t, see this module.

        For x_hat = x, x_s has the distribution of the bridge if eta = 1, or for any eta if w_t = 0.
        """

    @property
    def process(self) -> StochasticDegradation:
        """Noise process x + sigma_t z, for denoisers and losses."""
        return StochasticDegradation(Identity(), self.sigma)

    def sample(self, x: Tensor, y: Tensor, t: float | Tensor, noise: Tensor) -> Tensor:
        """Return x_t, (B, C, H, W).

        Args:
            x: clean images in [0, 1], (B, C, H, W).
            y: their measurements, like x.
            t: times in [0, 1], () or (B,).
            noise: z, standard normal, like x.
        """
        time = as_time(t, x)
        return x + per_image(self.weight(time), x) * (y - x) + per_image(self.std(time), x) * noise

    def sample_initial(self, y: Tensor, noise: ImageNoise) -> Tensor:
        """Return x_1, (B, C, H, W), for measurements y. If x_1 does not depend on y, its mean is 1/2."""
        return self.sample(torch.full_like(y, 0.5), y, 1.0, noise.normal(y.shape[1:], y.dtype))


class I2SB(Bridge):
    """Image-to-image Schrödinger bridge (Liu et al. 2023, Eq. 4, 11 and 12).

    sigma_t^2 is the integral of beta from 0 to t, w_t = sigma_t^2 / sigma_1^2 and s_t^2 = sigma_t^2 (1 - w_t). Up to
    t = 1/2, 4 beta_t = (sqrt(beta_min) + t (sqrt(beta_max) - sqrt(beta_min)))^2; beta is symmetric about t = 1/2. The
    factor 4 converts variances from the range [-1, 1]. A step has decay = w_s / w_t, std^2 = sigma_s^2 (1 - decay). For
    eta = 1 it samples the posterior of x_s given x_hat and x_t; for eta = 0 it is a step of the OT-ODE.

    Args:
        beta_max: rate for images in [-1, 1], positive. Published: 1 for deblurring and inpainting, 0.3 for
            super-resolution.
        ot_ode: train and sample without noise, s_t = 0. Published: for deblurring and inpainting.
        beta_min: rate for images in [-1, 1], positive. Published: 0.1.

    Raises:
        ValueError: if a rate is not positive.
    """

    def __init__(self, beta_max: float = 1.0, ot_ode: bool = False, beta_min: float = 0.1):
        check_positive(beta_max=beta_max, beta_min=beta_min)
        self.beta_max, self.ot_ode, self.beta_min = float(beta_max), bool(ot_ode), float(beta_min)

    def sigma(self, t: Tensor) -> Tensor:
        """Return sigma_t, the standard deviation of the diffusion from x."""
        return self._variance(t).sqrt()

    def weight(self, t: Tensor) -> Tensor:
        return self._variance(t) / self._variance(torch.ones_like(t))

    def std(self, t: Tensor) -> Tensor:
        if self.ot_ode:
            return torch.zeros_like(t)
        return (self._variance(t) * (1 - self.weight(t))).clamp(min=0).sqrt()

    def step_coefficients(self, t: float, s: float, eta: float) -> tuple[float, float]:
        before, after = self._variance(torch.tensor([t, s], dtype=torch.float64)).tolist()
        decay: float = after / before
        return decay, 0.0 if self.ot_ode else (after * (1 - decay)) ** 0.5

    def _variance(self, t: Tensor) -> Tensor:
        """Return sigma_t^2."""
        start = self.beta_min**0.5
        slope = self.beta_max**0.5 - start

        def integral(t: Any) -> Any:
            return (start**2 * t + start * slope * t**2 + slope**2 * t**3 / 3) / 4

        return torch.where(t <= 0.5, integral(t), 2 * integral(0.5) - integral(1 - t))


class InDI(Bridge):
    """Inversion by direct iteration (Delbracio and Milanfar 2023), with noise of a constant level epsilon.

    x_t = (1 - t) x + t (y + epsilon z). Sampling starts at y + epsilon z, and steps have decay = s / t and no noise.
    The network's target is scaled by t / 4, because pixels have a standard deviation of about 1/4.

    Args:
        epsilon: standard deviation of the noise at t = 1, in [0, 1], in units of the [0, 1] range.

    Raises:
        ValueError: if epsilon is out of range.
    """

    def __init__(self, epsilon: float = 0.005):
        check_between(0, 1, epsilon=epsilon)
        self.epsilon = float(epsilon)

    def sigma(self, t: Tensor) -> Tensor:
        return t / 4

    def weight(self, t: Tensor) -> Tensor:
        return t

    def std(self, t: Tensor) -> Tensor:
        return self.epsilon * t

    def step_coefficients(self, t: float, s: float, eta: float) -> tuple[float, float]:
        return s / t, 0.0


class Palette(Bridge):
    """Gaussian diffusion of the image, x_t = x + sigma_t z, with a network conditioned on y (Saharia et al. 2022).

    x_t does not depend on y. Steps are those of DDIM (Song et al. 2021, Eq. 12), which for eta = 1 are ancestral:
    decay = r sqrt(1 - eta^2 (1 - r^2)), std^2 = sigma_s^2 (1 - r^2), r = sigma_s / sigma_t.

    Args:
        noise: noise levels sigma_t as a function of t; by default those of task=prior, 0.001 to 40.

    Raises:
        ValueError: if the noise at t = 1 is below 2.5, so that x_1 still contains information about x.
    """

    def __init__(self, noise: Callable[[Tensor], Tensor] | None = None):
        self.noise = noise if noise is not None else LogLogisticNoise()
        sigma_max = self.noise(torch.tensor(1.0, dtype=torch.float64)).item()
        check_noise_level("noise: sigma at t = 1", sigma_max, 100.0, 2.5)

    def sigma(self, t: Tensor) -> Tensor:
        return self.noise(t)

    def weight(self, t: Tensor) -> Tensor:
        return torch.zeros_like(t)

    def std(self, t: Tensor) -> Tensor:
        return self.noise(t)

    def step_coefficients(self, t: float, s: float, eta: float) -> tuple[float, float]:
        before, after = self.noise(torch.tensor([t, s], dtype=torch.float64)).tolist()
        ratio = after / before
        return ratio * (1 - eta**2 * (1 - ratio**2)) ** 0.5, after * (1 - ratio**2) ** 0.5


class BridgeSolver(Solver):
    """First-order step of a bridge, with one network call, see this module."""

    def __init__(self, bridge: Bridge):
        self.bridge = bridge

    def __call__(self, reverse: ReverseProcess, y: Tensor, prediction: Prediction, t: float, s: float) -> Tensor:
        decay, std = self.bridge.step_coefficients(t, s, reverse.eta)
        y = prediction.x_hat + decay * (y - prediction.x_hat)
        return reverse.diffuse(y, y.new_tensor(std)) if std > 0 else y


class BridgeSampler(ReverseSampler):
    """Sampler of a bridge, from a measurement at t = 1 to an image at t = 0.

    Its methods take a degradation process because `ReverseSampler` has this argument, but do not use it.

    Args:
        bridge: distribution of x_t.
        num_steps: number of steps, each with one network call.
        eta: fraction in [0, 1] of the noise of each step. InDI has no noise in its steps.
        grid: placement of the times, see `diracdiff.samplers.grid`.

    Raises:
        ValueError: if an argument breaks its rule.
    """

    def __init__(
        self,
        bridge: Bridge,
        num_steps: int = 20,
        eta: float = 1.0,
        grid: Callable[[float], float] | None = None,
    ):
        super().__init__(num_steps, BridgeSolver(bridge), eta=eta, grid=grid)
        self.bridge = bridge

    def states(
        self,
        process: StochasticDegradation,
        denoiser: Predictor | ConditionalDenoiser,
        measurement: Tensor,
        noise: ImageNoise,
        t_stop: float = 0.0,
        output: str = "x_hat",
    ) -> Iterator[State]:
        """Sample from measurements at t = 1, see `ReverseSampler.states`; the first iterate is the measurement."""
        states = super().states(self.bridge.process, denoiser, measurement, noise, t_stop, output)
        yield replace(next(states), y=measurement)
        yield from states

    def is_stochastic(self, process: StochasticDegradation) -> bool:
        """Return True if two samples from the same measurement differ."""
        draws = self.eta * self.bridge.step_coefficients(1.0, 0.5, self.eta)[1] > 0
        return draws or self.bridge.std(torch.tensor(1.0)).item() > 0

    def _initial_state(
        self,
        process: StochasticDegradation,
        denoiser: Predictor | ConditionalDenoiser,
        measurement: Tensor,
        noise: ImageNoise,
    ) -> tuple[Tensor, Tensor]:
        return measurement, self.bridge.sample_initial(measurement, noise)
