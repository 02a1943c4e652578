"""Interpolation of masked pixels from visible ones, with a multiscale Gaussian prior.

In the prior, a pixel is the sum of independent details at all scales. Details at 2^k pixels have a variance
proportional to 2^(k (exponent - 2)): that of an octave of images whose spectrum falls as frequency^-exponent.

The upward pass sums the information around a pixel, at twice the distance in each level. In the downward pass, the
coarser estimate is the prior of the finer one (Chou, Willsky and Benveniste 1994, IEEE Trans. Autom. Control 39, 464).
Levels are not decimated ("a trous" pyramid), so the estimate has no block boundaries. As an approximation, neighbours
are treated as independent given the coarser level.
"""

import math

import torch
from torch import Tensor


def interpolate(information: Tensor, precision: Tensor, exponent: float, size: int) -> tuple[Tensor, Tensor]:
    """Return the posterior mean and variance of each pixel, both (B, C, H, W), for images with mean 0 and variance 1.

    Args:
        information: precision times value of the observation of each pixel, (B, C, H, W).
        precision: precision of the observations, at least 0, (B | 1, C | 1, H, W); 0 for masked pixels.
        exponent: exponent of the images' spectrum, above 0.
        size: side in pixels of images whose details have total variance 1.
    """
    channels, variances = information.shape[1], detail_variances(max(information.shape[-2:]), exponent, size)
    level = torch.cat([information, precision.expand(len(information), -1, -1, -1)], 1)
    levels = [level]
    for k, detail in enumerate(variances):
        gain = 1 / (1 + detail * level[:, channels:])
        gain = torch.cat([gain.expand(-1, channels, -1, -1), gain], 1)
        level = dilated_sum(level * gain, 2**k)
        levels.append(level)
    mean, variance = torch.zeros_like(information), torch.ones_like(precision)
    for level, detail in zip(reversed(levels), [0.0, *reversed(variances)], strict=True):
        prior = variance + detail
        variance = 1 / (level[:, channels:] + 1 / prior)
        mean = (level[:, :channels] + mean / prior) * variance
    return mean, variance.expand_as(mean)


def detail_variances(side: int, exponent: float, size: int) -> list[float]:
    """Return the variances of the details at 1, 2, 4, … pixels, below `side`. For `side` = `size` their sum is 1."""
    octaves, levels = (max(1, math.ceil(math.log2(n))) for n in (size, side))
    growth = 2 ** (exponent - 2)
    total = sum(growth**k for k in range(octaves))
    return [growth ** min(k, octaves - 1) / total for k in range(levels)]


def dilated_sum(part: Tensor, distance: int) -> Tensor:
    """Return sums of pixels at offsets 0 and ±distance, weighted by 1 and 1/2 per axis, reflected at borders."""
    for axis in (-2, -1):
        n = part.shape[axis]
        index = torch.arange(-distance, n + distance, device=part.device) % (2 * n)
        wide = part.index_select(axis, torch.where(index < n, index, 2 * n - 1 - index))
        sides = wide.narrow(axis, 0, n) + wide.narrow(axis, 2 * distance, n)
        part = part + sides / 2
    return part
