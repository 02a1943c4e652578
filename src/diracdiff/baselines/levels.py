"""Noise levels of a diffusion, from much noise to little, in units of the [0, 1] range.

All samplers with a prior walk in the variance-exploding form x_sigma = x + sigma z. A variance-preserving chain
u = sqrt(abar) (2 x - 1) + sqrt(1 - abar) z on images in [-1, 1] is the same chain: u / sqrt(abar) = 2 x_sigma - 1 with
sigma^2 = (1 - abar) / abar / 4, and sqrt(abar) = 1 / sqrt(1 + 4 sigma^2).

Levels are called with their number and a prior, and lie where the prior may be asked: never at sigma = 0.
"""

import math
from typing import Protocol

import numpy as np

from diracdiff.baselines.prior import Prior


class Levels(Protocol):
    """Decreasing noise levels."""

    def __call__(self, steps: int, prior: Prior) -> list[float]:
        """`steps` of them in [prior.sigma_min, prior.sigma_max]."""
        ...


class DDPMLevels:
    """Levels of the chain that priors were trained on first (Ho et al. 2020): beta linear, 1000 training steps.

    Of the training levels in [prior.sigma_min, min(start, prior.sigma_max)], `steps` that are evenly spaced in their
    index; between two training levels log sigma is linear. The highest is sigma = 79, the lowest 0.005.

    Args:
        start: the highest level asked for, in units of the [0, 1] range; positive.
        beta_min: beta of the first training step.
        beta_max: of the last.
        training_steps: their number.
    """

    def __init__(
        self, start: float = math.inf, beta_min: float = 1e-4, beta_max: float = 0.02, training_steps: int = 1000
    ):
        _positive(start)
        if not 0 < beta_min <= beta_max < 1:
            raise ValueError(f"betas must satisfy 0 < beta_min <= beta_max < 1, got {beta_min} and {beta_max}")
        if int(training_steps) != training_steps or training_steps < 2:
            raise ValueError(f"training_steps must be an integer of at least 2, got {training_steps}")
        self.start, self.beta_min, self.beta_max = float(start), float(beta_min), float(beta_max)
        self.training_steps = int(training_steps)

    def __call__(self, steps: int, prior: Prior) -> list[float]:
        abar = np.cumprod(1 - np.linspace(self.beta_min, self.beta_max, self.training_steps))
        sigma = np.sqrt((1 - abar) / abar) / 2
        low, high = prior.sigma_min, min(self.start, prior.sigma_max)
        trained = sigma[(sigma >= low) & (sigma <= high)]
        if len(trained) < 2:
            raise ValueError(f"start must leave two training levels or more above {low:g}, got {self.start:g}")
        place = np.linspace(len(trained) - 1, 0, steps)
        chosen = np.exp(np.interp(place, np.arange(len(trained)), np.log(trained)))
        levels: list[float] = chosen.clip(low, high).tolist()
        return levels


class KarrasLevels:
    """sigma_i = (a^(1/rho) + i / (steps - 1) (b^(1/rho) - a^(1/rho)))^rho from a down to b (Karras et al. 2022, Eq. 5).

    a = min(start, prior.sigma_max), b = max(stop, prior.sigma_min). The paper's a = 80 and b = 0.002 on [-1, 1] are the
    defaults here.

    Args:
        start: the highest level asked for, in units of the [0, 1] range; positive.
        stop: the lowest; positive.
        rho: how dense levels are where there is little noise; positive.
    """

    def __init__(self, start: float = 40.0, stop: float = 1e-3, rho: float = 7.0):
        _positive(start)
        if not 0 < stop < start:
            raise ValueError(f"stop must lie between 0 and start, got {stop}")
        if not rho > 0:
            raise ValueError(f"rho must be positive, got {rho}")
        self.start, self.stop, self.rho = float(start), float(stop), float(rho)

    def __call__(self, steps: int, prior: Prior) -> list[float]:
        high, low = min(self.start, prior.sigma_max), max(self.stop, prior.sigma_min)
        if not low < high:
            raise ValueError(f"start must exceed the lowest level, {low:g}, got {self.start:g}")
        roots = np.linspace(high ** (1 / self.rho), low ** (1 / self.rho), steps)
        levels: list[float] = (roots**self.rho).clip(low, high).tolist()
        return levels


def check_steps(steps: int) -> int:
    """`steps` as an integer.

    Raises:
        ValueError: if it is none of at least 2.
    """
    if int(steps) != steps or steps < 2:
        raise ValueError(f"steps must be an integer of at least 2, got {steps}")
    return int(steps)


def _positive(start: float) -> None:
    if not start > 0:
        raise ValueError(f"start must be positive, in units of the [0, 1] image range, got {start}")
