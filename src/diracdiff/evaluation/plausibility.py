"""What a measurement tells of itself: how noisy it is, and whether that is hidden which should be."""

import math

import torch
from torch import Tensor
from torch.nn import functional as F

from diracdiff.degradations.svd import Mask
from diracdiff.process import StochasticDegradation

HIGH_PASS = tuple(n / (4 * math.sqrt(2)) for n in (1 + 3**0.5, -3 - 3**0.5, 3 - 3**0.5, 3**0.5 - 1))
"""Daubechies' wavelet with two vanishing moments: orthonormal, and blind to planes."""

MEDIAN = 0.6744897501960817
"""Of the absolute value of a standard normal variable."""

LEAST_COEFFICIENTS = 64
"""From which on the noise level is estimated; its standard error is then 15 %, and 1.17 / sqrt(n) in general."""

HIDDEN = 0.1
"""Share of the noise's deviation below which a white pixel that is left counts as hidden."""


def estimate_sigma(y: Tensor, step: float = 0.0) -> float | None:
    """Standard deviation of white noise in a measurement, in units of the [0, 1] range.

    The median of the absolute finest diagonal wavelet coefficients over 0.6745 (Donoho and Johnstone 1994, Biometrika
    81, 425), which edges, being rare, hardly move; less the variance step^2 / 12 of rounding. Texture counts as noise;
    what was compressed, or enlarged, after the noise came seems to have less of it, and so has what is much clipped.

    Args:
        y: a measurement, (C, H, W).
        step: between two values of a file, which is clipped to [0, 1]; coefficients with a clipped value are left out.
            0: neither rounded nor clipped.

    Returns:
        None where there are too few coefficients.
    """
    if min(y.shape[-2:]) < len(HIGH_PASS):
        return None
    line = torch.tensor(HIGH_PASS, dtype=y.dtype, device=y.device)
    found = F.conv2d(y.unsqueeze(1), torch.outer(line, line)[None, None], stride=2)
    if step > 0:
        ends = ((y <= 0) | (y >= 1)).to(y.dtype)
        found = found[F.max_pool2d(ends.unsqueeze(1), len(HIGH_PASS), stride=2) == 0]
    if found.numel() < LEAST_COEFFICIENTS:
        return None
    sigma = found.abs().median().item() / MEDIAN
    return math.sqrt(max(0.0, sigma**2 - step**2 / 12))


def is_hidden(y: Tensor, process: StochasticDegradation, t: float = 1.0) -> bool | None:
    """Whether the pixels that the mask of a process hides are noise around 0.

    Their mean square is sigma^2 if they are, and about that of the other pixels, Q, if they are not. The likelier of
    two normal laws around 0 with these variances is taken: the first below sigma^2 Q ln(Q / sigma^2) / (Q - sigma^2).

    Args:
        y: a measurement, (C, H, W).
        process: that should have made it.
        t: time of the measurement.

    Returns:
        None where that cannot be told: nothing is hidden, everything is, the rest is dark, too, or A_t is no mask.
    """
    images = y.unsqueeze(0)
    mask = process.degradation.svd(images, t)
    if not isinstance(mask, Mask):
        return None
    sigma = process.sigma_of_measurement(images, t).max().item()
    hidden = (mask.values < HIDDEN * sigma).expand_as(images)
    if not hidden.any() or hidden.all():
        return None
    inside, outside = (images[part].square().double().mean().item() for part in (hidden, ~hidden))
    if outside <= sigma**2:
        return None
    return inside < sigma**2 * outside * math.log(outside / sigma**2) / (outside - sigma**2)
