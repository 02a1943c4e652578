"""Noise levels sigma_t, always in units of the [0, 1] image range."""

import math

from torch import Tensor

_UNIT = "in units of the [0, 1] image range (a level on [-1, 1] is twice as large)"


class GeometricNoise:
    """sigma_t = sigma_min^(1-t) sigma_max^t (paper, Section 4: 0.01 to 0.05).

    Args:
        sigma_min: standard deviation at t = 0, in units of the [0, 1] range; positive.
        sigma_max: standard deviation at t = 1; at least `sigma_min`.
    """

    def __init__(self, sigma_min: float = 0.01, sigma_max: float = 0.05):
        if not 0 < sigma_min <= sigma_max < math.inf:
            raise ValueError(f"noise must satisfy 0 < sigma_min <= sigma_max, {_UNIT}, got {sigma_min} and {sigma_max}")
        self.sigma_min, self.sigma_max = float(sigma_min), float(sigma_max)

    def __call__(self, t: Tensor) -> Tensor:
        return self.sigma_min * (self.sigma_max / self.sigma_min) ** t


class ConstantNoise:
    """sigma_t = sigma: the reverse process only undoes the degradation.

    Args:
        sigma: standard deviation in units of the [0, 1] range; positive.
    """

    def __init__(self, sigma: float = 0.05):
        if not 0 < sigma < math.inf:
            raise ValueError(f"sigma must be positive, {_UNIT}, got {sigma}")
        self.sigma = float(sigma)

    def __call__(self, t: Tensor) -> Tensor:
        return t * 0 + self.sigma
