"""Noise levels of a diffusion, decreasing, in units of the [0, 1] range.

All samplers with a prior have the variance-exploding form x_sigma = x + sigma z. A variance-preserving chain
u = sqrt(abar) (2 x - 1) + sqrt(1 - abar) z on images in [-1, 1] is the same chain: u / sqrt(abar) = 2 x_sigma - 1 with
sigma^2 = (1 - abar) / abar / 4, and sqrt(abar) = 1 / sqrt(1 + 4 sigma^2).
"""

import math

import numpy as np

from diracdiff.baselines.prior import Prior
from diracdiff.utils.validate import check_count


class DDPMLevels:
    """Levels of the DDPM chain (Ho et al. 2020): beta linear, 1000 training steps.

    Of the training levels in [prior.sigma_min, min(start, prior.sigma_max)], `steps` that are evenly spaced in their
    index; between two training levels log sigma is linear. The highest is sigma = 79, the lowest 0.005.

    Args:
        start: upper limit, in units of the [0, 1] range; positive.
        beta_min: beta of the first training step.
        beta_max: of the last.
        training_steps: their number.
    """

    def __init__(
        self, start: float = math.inf, beta_min: float = 1e-4, beta_max: float = 0.02, training_steps: int = 1000
    ):
        if not start > 0:
            raise ValueError(f"start={start}: must be positive, in units of the [0, 1] image range.")
        if not 0 < beta_min <= beta_max < 1:
            raise ValueError(f"beta_min={beta_min}, beta_max={beta_max}: must satisfy 0 < beta_min <= beta_max < 1.")
        check_count(training_steps, "training_steps", 2)
        self.start, self.beta_min, self.beta_max = float(start), float(beta_min), float(beta_max)
        self.training_steps = training_steps

    def __call__(self, steps: int, prior: Prior) -> list[float]:
        abar = np.cumprod(1 - np.linspace(self.beta_min, self.beta_max, self.training_steps))
        sigma = np.sqrt((1 - abar) / abar) / 2
        low, high = prior.sigma_min, min(self.start, prior.sigma_max)
        trained = sigma[(sigma >= low) & (sigma <= high)]
        if len(trained) < 2:
            raise ValueError(f"start must leave two training levels or more above {low:g}, got {self.start:g}")
        index = np.linspace(len(trained) - 1, 0, steps)
        return np.exp(np.interp(index, np.arange(len(trained)), np.log(trained))).clip(low, high).tolist()
