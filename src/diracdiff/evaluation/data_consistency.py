"""Data-consistency test of a restored image with its measurement.

For the true image x, the residuals of y_1 = A_1(x) + sigma z, divided by sigma, are white noise. The squared norm of n
residuals then has a chi-square distribution with n degrees of freedom. A posterior sample and its measurement have the
same joint distribution as x and y_1. A posterior mean has smaller residuals with slightly negative correlations (Wahba
1983, J. R. Stat. Soc. B 45, 133). The test rejects an image in two cases. The residual is larger than the noise
(discrepancy principle, Morozov 1966), or neighbouring residuals are positively correlated. Both tests are one-sided.

Values in files are quantised and clipped. Rounding to steps of d adds a variance of d^2 / 12 (Sheppard's correction).
A clipped value gives only a bound. Its residual is sampled from the normal distribution beyond this bound (randomised
quantile residual, Dunn and Smyth 1996, J. Comput. Graph. Stat. 5, 236). All residuals are then standard normal for the
true image. The noise of files with lossy compression is not white, and the test is only an indication.
"""

import math
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

LAGS = ((0, 1), (1, 0), (1, 1))  # offsets (rows, columns) of the correlations
LEVEL = 0.025  # significance level of both tests together
TAIL_BOUND = -8.0  # below this value, exp(-z^2 / 2) approximates the tail of the normal distribution
MEDIAN = 0.6744897501960817  # median of the absolute value of a standard normal variable
MIN_COEFFICIENTS = 64  # gives a standard error of the noise estimate of 15 %, 1.17 / sqrt(n)

HIGH_PASS = tuple(n / (4 * math.sqrt(2)) for n in (1 + 3**0.5, -3 - 3**0.5, 3 - 3**0.5, 3**0.5 - 1))
"""High-pass filter of the Daubechies wavelet with two vanishing moments: orthonormal, and zero on planes."""


def standardise(y: Tensor, mean: Tensor, sigma: float, step: float = 0.0, seed: int = 0) -> Tensor:
    """Compute standardised residuals, which are standard normal for the true image.

    Args:
        y: measurement, (C, H, W), in the [0, 1] range; clipped and rounded to multiples of `step` if `step` > 0.
        mean: A_1(x_hat), (C, H, W).
        sigma: standard deviation of the noise, in units of the [0, 1] range.
        step: quantisation step of the file, such as 1 / 255; 0 for values that are neither clipped nor rounded.
        seed: seed of the residuals of clipped values.

    Returns:
        Residuals, (C, H, W).

    Raises:
        ValueError: if `sigma` and `step` are both 0.
    """
    if not sigma**2 + step**2 > 0:
        raise ValueError(f"sigma={sigma}: must be positive for values without rounding. Set the noise level.")
    deviation = math.sqrt(sigma**2 + step**2 / 12)
    z = (y - mean) / deviation
    if step > 0:
        generator = torch.Generator().manual_seed(seed)
        for clipped, sign, edge in ((y <= 0, 1, step / 2), (y >= 1, -1, 1 - step / 2)):
            if clipped.any():
                bound = sign * (edge - mean[clipped].double()) / deviation
                z[clipped] = sign * _sample_truncated_normal(bound, generator).to(z.dtype)
    return z


def evaluate_residuals(z: Tensor) -> dict[str, Any]:
    """Test standardised residuals for consistency with white noise.

    Args:
        z: residuals of `standardise`, (C, H, W).

    Returns:
        Dictionary with
        consistent: True if neither test rejects the image, at the level `LEVEL` for both tests together;
        residual_over_sigma: ||r|| / (sqrt(n) sigma), 1 at the noise floor;
        chi_square: ||r||^2 / sigma^2;
        p_larger: p-value of the norm of the residual;
        p_structure: p-value of the sum over `LAGS` of sqrt(n) times the correlation.
    """
    z = z.double()
    n, chi_square = z.numel(), z.square().sum().item()
    half, square = torch.tensor([n / 2, chi_square / 2], dtype=torch.float64)
    p_larger = torch.special.gammaincc(half, square).item()
    power, scores = max(chi_square / n, 1e-300), []
    for rows, columns in LAGS:
        pairs = z[..., : z.shape[-2] - rows, : z.shape[-1] - columns] * z[..., rows:, columns:]
        scores.append(math.sqrt(pairs.numel()) * (pairs.mean().item() / power) if pairs.numel() else 0.0)
    combined = torch.tensor(sum(scores) / math.sqrt(len(LAGS)), dtype=torch.float64)
    p_structure = torch.special.ndtr(-combined).item()
    return {
        "consistent": min(p_larger, p_structure) >= LEVEL / 2,
        "residual_over_sigma": math.sqrt(chi_square / n),
        "chi_square": chi_square,
        "p_larger": p_larger,
        "p_structure": p_structure,
    }


def _sample_truncated_normal(bound: Tensor, generator: torch.Generator) -> Tensor:
    """Sample standard normal values that are each below their bound, float64."""
    uniform = torch.rand(bound.shape, generator=generator, dtype=torch.float64).clamp(2**-53, 1 - 2**-53)
    uniform = uniform.to(bound.device)
    near = torch.special.ndtri(torch.special.ndtr(bound.clamp(min=TAIL_BOUND)) * uniform)
    far = -(bound.square() - 2 * uniform.log()).sqrt()
    return torch.where(bound > TAIL_BOUND, near, far)


def estimate_sigma(y: Tensor, step: float = 0.0) -> float | None:
    """Estimate the standard deviation of white noise in a measurement, in units of the [0, 1] range.

    The estimate is the median of the absolute finest diagonal wavelet coefficients divided by 0.6745 (Donoho and
    Johnstone 1994, Biometrika 81, 425). The variance step^2 / 12 of rounding is subtracted. Edges have little effect,
    but texture counts as noise. Compression, enlargement and strong clipping after the noise lower the estimate.

    Args:
        y: measurement, (C, H, W), in the [0, 1] range.
        step: quantisation step of a file that is clipped to [0, 1]; coefficients with clipped values are ignored. 0 for
            values that are neither rounded nor clipped.

    Returns:
        Standard deviation, or None for fewer than `MIN_COEFFICIENTS` coefficients.
    """
    if min(y.shape[-2:]) < len(HIGH_PASS):
        return None
    line = torch.tensor(HIGH_PASS, dtype=y.dtype, device=y.device)
    coefficients = F.conv2d(y.unsqueeze(1), torch.outer(line, line)[None, None], stride=2)
    if step > 0:
        clipped = ((y <= 0) | (y >= 1)).to(y.dtype)
        coefficients = coefficients[F.max_pool2d(clipped.unsqueeze(1), len(HIGH_PASS), stride=2) == 0]
    if coefficients.numel() < MIN_COEFFICIENTS:
        return None
    sigma = coefficients.abs().median().item() / MEDIAN
    return math.sqrt(max(0.0, sigma**2 - step**2 / 12))
