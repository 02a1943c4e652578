"""Denoisers that are exactly right, for tests and for demonstrations without training."""

import torch
from torch import Tensor

from diracdiff.process import StochasticDegradation
from diracdiff.shapes import as_time


class FiniteDataOracle:
    """E[x | y_t] where x is one of N known images with equal probability.

    The posterior weights are a softmax of -||y - A_t(x_i)||^2 / (2 sigma_t^2).

    Args:
        process: the degradation process.
        images: the N images, (N, C, H, W), in [0, 1].
    """

    def __init__(self, process: StochasticDegradation, images: Tensor):
        self.process, self.images = process, images

    def __call__(self, y: Tensor, t: Tensor) -> Tensor:
        """Posterior means, (B, C, H, W), of y (B, C, H, W) at times t, () or (B,)."""
        t = as_time(t, y).expand(len(y))
        count = len(self.images)
        candidates = self.images.repeat(len(y), 1, 1, 1)
        degraded = self.process.mean(candidates, t.repeat_interleave(count)).unflatten(0, (len(y), count))
        distance = (y.unsqueeze(1) - degraded).flatten(2).square().sum(2)
        weights = (-distance / (2 * self.process.sigma(t, y).flatten(1) ** 2)).softmax(1)
        return torch.einsum("bn,nchw->bchw", weights, self.images)


class GaussianOracle:
    """E[x | y_t] where the pixels of x are independent, N(mean, std^2), and A_t multiplies them by a mask.

    With m = A_t(1): E[x | y] = mean + m std^2 / (m^2 std^2 + sigma_t^2) (y - m mean). Exact for inpainting.

    Args:
        process: a degradation process with a mask.
        mean: mean of a pixel.
        std: standard deviation of a pixel; positive.
    """

    def __init__(self, process: StochasticDegradation, mean: float = 0.5, std: float = 0.2):
        if not std > 0:
            raise ValueError(f"std must be positive, got {std}")
        self.process, self.mean, self.std = process, mean, std

    def __call__(self, y: Tensor, t: Tensor) -> Tensor:
        """Posterior means, (B, C, H, W), of y (B, C, H, W) at times t, () or (B,)."""
        mask = self.process.mean(torch.ones_like(y), t)
        gain = mask * self.std**2 / (mask**2 * self.std**2 + self.process.sigma(t, y) ** 2)
        return self.mean + gain * (y - mask * self.mean)
