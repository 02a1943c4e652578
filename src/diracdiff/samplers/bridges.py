"""Bridges between clean images and measurements, and their sampler: I2SB, InDI and Palette.

A bridge is the distribution of x_t given a clean image x (t = 0) and its measurement y (t = 1):

    x_t = (1 - w_t) x + w_t y + s_t z,  z ~ N(0, I)

A network is trained to estimate x from x_t. A sampling step from t to s < t, with eta in [0, 1], is

    x_s = x_hat + decay (x_t - x_hat) + eta std z

Noise levels are in units of the [0, 1] range. They are half of those published for images in [-1, 1].
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
    """Distribution of x_t given a clean image x and its measurement y."""

    @abstractmethod
    def weight(self, t: Tensor) -> Tensor:
        """Return the weight w_t of y in the mean of x_t, in [0, 1], for times t in [0, 1] of any shape."""

    @abstractmethod
    def std(self, t: Tensor) -> Tensor:
        """Return the standard deviation s_t of x_t for times t in [0, 1] of any shape."""

    @abstractmethod
    def sigma(self, t: Tensor) -> Tensor:
        """Return the scale sigma_t of the network's target (x_t - x) / sigma_t for times t in [0, 1] of any shape."""

    @abstractmethod
    def step_coefficients(self, t: float, s: float, eta: float) -> tuple[float, float]:
        """Return the coefficients `decay` and `std` of a sampling step, see `diracdiff.samplers.bridges`.

        If x_hat is the clean image, x_s has the distribution of the bridge for eta = 1. If w_t = 0 too, it has it for
        every eta.

        Args:
            t: time before the step, in (0, 1].
            s: time after the step, in [0, t).
            eta: fraction of the noise of the step, in [0, 1].
        """

    @property
    def process(self) -> StochasticDegradation:
        """Process x + sigma_t z for denoisers and losses."""
        return StochasticDegradation(Identity(), self.sigma)

    def sample(self, x: Tensor, y: Tensor, t: float | Tensor, noise: Tensor) -> Tensor:
        """Sample x_t, (B, C, H, W).

        Args:
            x: clean images in [0, 1], (B, C, H, W).
            y: measurements, like x.
            t: times in [0, 1], () or (B,).
            noise: standard normal noise z, like x.
        """
        time = as_time(t, x)
        return x + per_image(self.weight(time), x) * (y - x) + per_image(self.std(time), x) * noise

    def sample_initial(self, y: Tensor, noise: ImageNoise) -> Tensor:
        """Sample x_1, (B, C, H, W), for measurements y, (B, C, H, W). If w_1 = 0, the mean of x_1 is 1/2.

        Args:
            y: measurements, (B, C, H, W).
            noise: one noise stream per image.
        """
        return self.sample(torch.full_like(y, 0.5), y, 1.0, noise.normal(y.shape[1:], y.dtype))


class I2SB(Bridge):
    """Image-to-image Schrödinger bridge (Liu et al. 2023, Eq. 4, 11 and 12).

    sigma_t^2 is the integral of beta from 0 to t, w_t = sigma_t^2 / sigma_1^2 and s_t^2 = sigma_t^2 (1 - w_t). For
    t <= 1/2, 4 beta_t = (sqrt(beta_min) + t (sqrt(beta_max) - sqrt(beta_min)))^2. beta is symmetric about t = 1/2. The
    factor 4 converts variances from the range [-1, 1].

    A step has decay = w_s / w_t and std^2 = sigma_s^2 (1 - decay). For eta = 1, it samples the posterior of x_s given
    x_hat and x_t. For eta = 0, it is a step of the OT-ODE.

    Args:
        beta_max: largest rate for images in [-1, 1], positive. Published: 1 for deblurring and inpainting, 0.3 for
            super-resolution.
        ot_ode: train and sample without noise, s_t = 0. Published: true for deblurring and inpainting.
        beta_min: smallest rate for images in [-1, 1], positive. Published: 0.1.

    Raises:
        ValueError: if a rate is not positive.
    """

    def __init__(self, beta_max: float = 1.0, ot_ode: bool = False, beta_min: float = 0.1):
        check_positive(beta_max=beta_max, beta_min=beta_min)
        self.beta_max, self.ot_ode, self.beta_min = float(beta_max), bool(ot_ode), float(beta_min)

    def sigma(self, t: Tensor) -> Tensor:
        """Return the standard deviation sigma_t of the diffusion from x, for times t in [0, 1] of any shape."""
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
    """Inversion by direct iteration (Delbracio and Milanfar 2023) with constant noise epsilon.

    x_t = (1 - t) x + t (y + epsilon z). Sampling starts at y + epsilon z. Steps have decay = s / t and no noise. The
    target of the network is scaled by t / 4, because the standard deviation of a pixel is about 1/4.

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
    """Gaussian diffusion x_t = x + sigma_t z with a network that is conditioned on y (Saharia et al. 2022).

    x_t does not depend on y. Steps are those of DDIM (Song et al. 2021, Eq. 12): decay = r sqrt(1 - eta^2 (1 - r^2))
    and std^2 = sigma_s^2 (1 - r^2) with r = sigma_s / sigma_t. For eta = 1 they are ancestral steps.

    Args:
        noise: noise schedule sigma_t. None: `LogLogisticNoise`, 0.001 to 40.

    Raises:
        ValueError: if sigma_1 is not in [2.5, 100]. Below 2.5, x_1 contains information about x.
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
    """First-order solver of a bridge, with one network call per step.

    Args:
        bridge: bridge that defines the coefficients of a step.
    """

    def __init__(self, bridge: Bridge):
        self.bridge = bridge

    def __call__(self, reverse: ReverseProcess, y: Tensor, prediction: Prediction, t: float, s: float) -> Tensor:
        decay, std = self.bridge.step_coefficients(t, s, reverse.eta)
        y = prediction.x_hat + decay * (y - prediction.x_hat)
        return reverse.diffuse(y, y.new_tensor(std)) if std > 0 else y


class BridgeSampler(ReverseSampler):
    """Sampler of a bridge, from a measurement at t = 1 to an image at t = 0.

    Its methods have the argument `process` of `ReverseSampler`, but do not use it.

    Args:
        bridge: distribution of x_t.
        num_steps: number of steps, at least 1. Each step has one network call.
        eta: fraction of the noise of each step, in [0, 1]. InDI has no noise in its steps.
        grid: time grid, see `diracdiff.samplers.grid`. None: uniform.

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
        """Yield the states from t = 1, see `ReverseSampler.states`. The first iterate is the measurement."""
        states = super().states(self.bridge.process, denoiser, measurement, noise, t_stop, output)
        yield replace(next(states), y=measurement)
        yield from states

    def is_stochastic(self, process: StochasticDegradation, t_stop: float = 0.0) -> bool:
        """Return True if two samples of the same measurement differ. `process` is not used."""
        step_noise = self.eta * self.bridge.step_coefficients(1.0, 0.5, self.eta)[1] > 0
        return (step_noise and len(self.times(t_stop)) > 1) or self.bridge.std(torch.tensor(1.0)).item() > 0

    def _initial_state(
        self,
        process: StochasticDegradation,
        denoiser: Predictor | ConditionalDenoiser,
        measurement: Tensor,
        noise: ImageNoise,
    ) -> tuple[Tensor, Tensor]:
        return measurement, self.bridge.sample_initial(measurement, noise)
