"""Noise schedules sigma_t. Noise levels are standard deviations in units of the [0, 1] image range."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from diracdiff.utils.validate import check_between

MAX_SIGMA, MAX_SIGMA_AT_ZERO = 100.0, 0.5
"""Largest noise levels at t = 1 and at t = 0. The noise at t = 0 remains in the iterate."""


def check_noise_level(name: str, value: Any, maximum: float, minimum: float = 0.0) -> float:
    """Check a noise level.

    Args:
        name: name of the argument, for the message.
        value: the noise level.
        maximum: largest allowed value.
        minimum: smallest allowed value. 0 itself is not allowed.

    Returns:
        The noise level as a float.

    Raises:
        ValueError: if the value is not a positive number in [minimum, maximum].
    """
    if isinstance(value, bool) or not isinstance(value, int | float) or not (value > 0 and minimum <= value <= maximum):
        rule = f"from {minimum:g} to {maximum:g}" if minimum else f"above 0 and at most {maximum:g}"
        remedy = "Divide a level on [-1, 1] by 2 and one on 0 … 255 by 255."
        raise ValueError(f"{name}={value}: must be {rule}, in units of the [0, 1] image range. {remedy}")
    return float(value)


def time_at_noise_level(noise: Callable[[Tensor], Tensor], sigma: float) -> float:
    """Return the time at which a noise schedule reaches a noise level, by bisection.

    Args:
        noise: increasing noise schedule, see `StochasticDegradation`.
        sigma: noise level in units of the [0, 1] range.

    Returns:
        A time in [0, 1]. Noise levels outside the schedule's range give 0 or 1.
    """
    low, high = 0.0, 1.0
    for _ in range(50):
        middle = (low + high) / 2
        if noise(torch.tensor(middle, dtype=torch.float64)).item() < sigma:
            low = middle
        else:
            high = middle
    return high


class GeometricNoise:
    """Geometric noise schedule sigma_t = sigma_min^(1-t) sigma_max^t (paper, Section 4: 0.01 to 0.05).

    Args:
        sigma_min: standard deviation at t = 0, in (0, 0.5].
        sigma_max: standard deviation at t = 1, in [sigma_min, 100].

    Raises:
        ValueError: if an argument is out of range.
    """

    def __init__(self, sigma_min: float = 0.01, sigma_max: float = 0.05):
        self.sigma_min = check_noise_level("sigma_min", sigma_min, MAX_SIGMA_AT_ZERO)
        self.sigma_max = check_noise_level("sigma_max", sigma_max, MAX_SIGMA, self.sigma_min)

    def __call__(self, t: Tensor) -> Tensor:
        return self.sigma_min * (self.sigma_max / self.sigma_min) ** t


class LogLogisticNoise:
    """Log-logistic noise schedule, ln(sigma_t / median) = scale logit(u_t) with u_t linear in t.

    The schedule is for denoisers of all noise levels. Uniform times give noise levels with a truncated log-logistic
    distribution. Its bulk is close to the log-normal distribution of Karras et al. 2022 (Table 1), ln(2 sigma) about
    -1.2. Its heavier tails train the levels near the ends, which samplers use too.

    Args:
        sigma_min: standard deviation at t = 0, in (0, 0.5].
        sigma_max: standard deviation at t = 1, in (sigma_min, 100].
        median: median of the distribution before truncation, in (0, 100].
        scale: width of the distribution of ln sigma, in (0, 100].

    Raises:
        ValueError: if an argument is out of range.
    """

    def __init__(self, sigma_min: float = 0.001, sigma_max: float = 40.0, median: float = 0.15, scale: float = 0.8):
        self.sigma_min = check_noise_level("sigma_min", sigma_min, MAX_SIGMA_AT_ZERO)
        self.sigma_max = check_noise_level("sigma_max", sigma_max, MAX_SIGMA, self.sigma_min)
        if self.sigma_max == self.sigma_min:
            raise ValueError(f"sigma_max={sigma_max}: must exceed sigma_min. Use constant noise for one level.")
        self.median = check_noise_level("median", median, MAX_SIGMA)
        check_between(1e-6, MAX_SIGMA, scale=scale)
        self.scale = float(scale)

    def __call__(self, t: Tensor) -> Tensor:
        ends = (self.sigma_min, self.sigma_max)
        start, end = (1 / (1 + (sigma / self.median) ** (-1 / self.scale)) for sigma in ends)
        return self.median * torch.exp(self.scale * torch.logit(start + t * (end - start)))


class ConstantNoise:
    """Constant noise schedule sigma_t = sigma. The reverse process only removes the degradation.

    Args:
        sigma: standard deviation, in (0, 1].

    Raises:
        ValueError: if `sigma` is out of range.
    """

    def __init__(self, sigma: float = 0.05):
        self.sigma = check_noise_level("sigma", sigma, 1.0)

    def __call__(self, t: Tensor) -> Tensor:
        return t * 0 + self.sigma


class LinearNoise:
    """Linear noise schedule sigma_t = t sigma_max of a rectified flow (Liu et al. 2023).

    Args:
        sigma_max: standard deviation at t = 1, in (0, 1].

    Raises:
        ValueError: if `sigma_max` is out of range.
    """

    def __init__(self, sigma_max: float = 0.1):
        self.sigma_max = check_noise_level("sigma_max", sigma_max, 1.0)

    def __call__(self, t: Tensor) -> Tensor:
        return t * self.sigma_max
