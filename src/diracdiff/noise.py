"""Noise levels sigma_t, always in units of the [0, 1] image range."""

import math

import torch
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


class LogLogisticNoise:
    """ln(sigma_t / median) / scale = logit(u_t) with u_t linear in t: what a denoiser for all noise levels trains on.

    Times that are uniform in [0, 1] give noise levels of a log-logistic distribution, cut off at the ends. It has its
    bulk where Karras et al. 2022 (Table 1) have their log-normal one, ln(2 sigma) about -1.2, and heavier tails, so
    that the levels near the ends, which samplers ask for, are trained too.

    Args:
        sigma_min: standard deviation at t = 0, in units of the [0, 1] range; positive.
        sigma_max: standard deviation at t = 1; greater than `sigma_min`.
        median: of the distribution before it is cut off; positive.
        scale: width of the distribution of ln sigma; positive.
    """

    def __init__(self, sigma_min: float = 0.001, sigma_max: float = 40.0, median: float = 0.15, scale: float = 0.8):
        if not 0 < sigma_min < sigma_max < math.inf:
            raise ValueError(f"noise must satisfy 0 < sigma_min < sigma_max, {_UNIT}, got {sigma_min} and {sigma_max}")
        if not (0 < median < math.inf and 0 < scale < math.inf):
            raise ValueError(f"median, {_UNIT}, and scale must be positive, got {median} and {scale}")
        self.sigma_min, self.sigma_max = float(sigma_min), float(sigma_max)
        self.median, self.scale = float(median), float(scale)

    def __call__(self, t: Tensor) -> Tensor:
        start, end = (
            1 / (1 + (sigma / self.median) ** (-1 / self.scale)) for sigma in (self.sigma_min, self.sigma_max)
        )
        return self.median * torch.exp(self.scale * torch.logit(start + t * (end - start)))


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


class LinearNoise:
    """sigma_t = t sigma_max: the noise of a rectified flow (Liu et al. 2023), none at t = 0.

    Args:
        sigma_max: standard deviation at t = 1, in units of the [0, 1] range; positive.
    """

    def __init__(self, sigma_max: float = 0.1):
        if not 0 < sigma_max < math.inf:
            raise ValueError(f"sigma_max must be positive, {_UNIT}, got {sigma_max}")
        self.sigma_max = float(sigma_max)

    def __call__(self, t: Tensor) -> Tensor:
        return t * self.sigma_max
