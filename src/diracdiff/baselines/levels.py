"""Decreasing noise levels of diffusion samplers, in units of the [0, 1] range.

The samplers use the variance-exploding form x_sigma = x + sigma z. It is equivalent to the variance-preserving chain
u = sqrt(abar) (2 x - 1) + sqrt(1 - abar) z on images in [-1, 1]: u / sqrt(abar) = 2 x_sigma - 1 with
sigma^2 = (1 - abar) / abar / 4, and sqrt(abar) = 1 / sqrt(1 + 4 sigma^2).
"""

import math

import numpy as np

from diracdiff.baselines.prior import Prior
from diracdiff.utils.validate import check_count


class DDPMLevels:
    """Noise levels of the DDPM chain (Ho et al. 2020) with linear beta.

    The levels are evenly spaced in the index of the training levels inside [prior.sigma_min, min(start,
    prior.sigma_max)]. log sigma is interpolated linearly between training levels. With the defaults, the training
    levels extend from sigma = 0.005 to 79.

    Args:
        start: upper limit of the levels, positive, in units of the [0, 1] range.
        beta_min: beta of the first training step, in (0, beta_max].
        beta_max: beta of the last training step, below 1.
        training_steps: number of training steps, at least 2.

    Raises:
        ValueError: if an argument is out of range.
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

    def __call__(self, num_steps: int, prior: Prior) -> list[float]:
        """Return `num_steps` decreasing noise levels for a prior.

        Raises:
            ValueError: if fewer than two training levels are in the range.
        """
        abar = np.cumprod(1 - np.linspace(self.beta_min, self.beta_max, self.training_steps))
        sigma = np.sqrt((1 - abar) / abar) / 2
        low, high = prior.sigma_min, min(self.start, prior.sigma_max)
        trained = sigma[(sigma >= low) & (sigma <= high)]
        if len(trained) < 2:
            raise ValueError(f"start={self.start:g}: must leave at least two training levels above {low:g}. Raise it.")
        index = np.linspace(len(trained) - 1, 0, num_steps)
        return np.exp(np.interp(index, np.arange(len(trained)), np.log(trained))).clip(low, high).tolist()
