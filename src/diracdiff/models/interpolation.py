"""Interpolation of masked pixels from visible pixels with a multiscale Gaussian prior.

In the prior, a pixel is the sum of independent details at all scales. The variance of details of 2^k pixels is
proportional to 2^(k (exponent - 2)). It is the variance of an octave of images whose spectrum is frequency^-exponent.

The upward pass sums the information of neighbouring pixels and doubles their distance at each level. In the downward
pass, the coarser estimate is the prior of the finer one (Chou, Willsky and Benveniste 1994, IEEE Trans. Autom. Control
39, 464). Levels are not decimated ("a trous" pyramid), so the estimate has no block boundaries. As an approximation,
neighbours are treated as independent given the coarser level.
"""

import math

import torch
from torch import Tensor


def interpolate(information: Tensor, precision: Tensor, exponent: float, size: int) -> tuple[Tensor, Tensor]:
    """Return the posterior mean and variance of each pixel under a prior with mean 0 and variance 1.

    Args:
        information: precision times value of the observed pixels, (B, C, H, W).
        precision: precision of the observed pixels, at least 0, (B or 1, C or 1, H, W). 0: masked pixel.
        exponent: exponent of the spectrum of images, positive.
        size: side in pixels of images whose details have a total variance of 1.

    Returns:
        Mean and variance, (B, C, H, W) each.
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
    """Return the variances of details of 1, 2, 4, … pixels.

    Args:
        side: side of the image in pixels. Details are smaller than it.
        exponent: exponent of the spectrum of images, positive.
        size: side in pixels of images whose details have a total variance of 1.
    """
    octaves, levels = (max(1, math.ceil(math.log2(n))) for n in (size, side))
    growth = 2 ** (exponent - 2)
    total = sum(growth**k for k in range(octaves))
    return [growth ** min(k, octaves - 1) / total for k in range(levels)]


def dilated_sum(images: Tensor, distance: int) -> Tensor:
    """Convolve images with the dilated filter [1/2, 1, 1/2] per axis, with reflection at the borders.

    Args:
        images: images, (B, C, H, W).
        distance: dilation in pixels, at least 1.
    """
    for axis in (-2, -1):
        n = images.shape[axis]
        index = torch.arange(-distance, n + distance, device=images.device) % (2 * n)
        padded = images.index_select(axis, torch.where(index < n, index, 2 * n - 1 - index))
        neighbours = padded.narrow(axis, 0, n) + padded.narrow(axis, 2 * distance, n)
        images = images + neighbours / 2
    return images
