"""Data-consistency test: does a restored image explain its measurement?

Under the truth, the residuals of y_1 = A_1(x) + sigma z, divided by sigma, are white noise: the squared norm of their n
values has a chi-square distribution with n degrees of freedom. A posterior sample has the same joint distribution with
its measurement as the truth. A posterior mean has a smaller residual, with slightly opposed neighbours (Wahba 1983, J.
R. Stat. Soc. B 45, 133). So evidence against an image is a residual that is larger than the noise (discrepancy
principle, Morozov 1966), or one whose neighbours agree, which is unexplained structure. Both tests are one-sided.

Files are quantised and clipped. Rounding to steps of d adds a variance of d^2 / 12 (Sheppard's correction). Of a
clipped value only a bound is known: its residual is drawn from the part of the normal distribution beyond that bound,
the randomised quantile residual (Dunn and Smyth 1996, J. Comput. Graph. Stat. 5, 236). Then all residuals are exactly
standard normal under the truth. The noise of a file that was compressed with losses is not white: the test is only a
hint there.
"""

import math
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

LAGS = ((0, 1), (1, 0), (1, 1))  # rows and columns between values whose residuals are correlated
LEVEL = 0.025  # fraction of true images that are called inconsistent, by both tests together
FAR = -8.0  # below it the tail of the normal distribution is approximated by exp(-z^2 / 2)
MEDIAN = 0.6744897501960817  # of the absolute value of a standard normal variable
LEAST_COEFFICIENTS = 64  # for an estimate of the noise level: a standard error of 15 %, 1.17 / sqrt(n)

HIGH_PASS = tuple(n / (4 * math.sqrt(2)) for n in (1 + 3**0.5, -3 - 3**0.5, 3 - 3**0.5, 3**0.5 - 1))
"""Daubechies' wavelet with two vanishing moments: orthonormal, and zero on planes."""


def standardise(y: Tensor, mean: Tensor, sigma: float, step: float = 0.0, seed: int = 0) -> Tensor:
    """Return residuals that are standard normal under the truth, of the shape of y.

    Args:
        y: measurement, (C, H, W): unclipped, or clipped to [0, 1] and rounded to multiples of `step`.
        mean: A_1(x_hat), like y.
        sigma: standard deviation of the noise, in units of the [0, 1] range.
        step: step between two values of the file, such as 1 / 255; 0: neither clipped nor rounded.
        seed: seed of the residuals of clipped values.

    Raises:
        ValueError: if there is neither noise nor rounding.
    """
    if not sigma**2 + step**2 > 0:
        raise ValueError(f"residuals need noise, sigma > 0, got sigma={sigma}")
    deviation = math.sqrt(sigma**2 + step**2 / 12)
    z = (y - mean) / deviation
    if step > 0:
        generator = torch.Generator().manual_seed(seed)
        for at_end, sign, end in ((y <= 0, 1, step / 2), (y >= 1, -1, 1 - step / 2)):
            if at_end.any():
                bound = sign * (end - mean[at_end].double()) / deviation
                z[at_end] = sign * _normal_below(bound, generator).to(z.dtype)
    return z


def evaluate_residuals(z: Tensor) -> dict[str, Any]:
    """Test standardised residuals, (C, H, W), see `standardise`.

    Returns:
        consistent: neither test finds evidence against the image, at LEVEL together.
        residual_over_sigma: ||r|| / (sqrt(n) sigma): 1 at the noise floor.
        chi_square: ||r||^2 / sigma^2.
        p_larger: probability of a larger residual under the truth, uniform in [0, 1] for the truth.
        p_structure: probability of neighbours that agree more, by the sum over LAGS of sqrt(n) times the correlation.
    """
    z = z.double()
    n, chi_square = z.numel(), z.square().sum().item()
    half, square = torch.tensor([n / 2, chi_square / 2], dtype=torch.float64)
    p_larger = torch.special.gammaincc(half, square).item()
    power, scores = max(chi_square / n, 1e-300), []
    for rows, columns in LAGS:
        pairs = z[..., : z.shape[-2] - rows, : z.shape[-1] - columns] * z[..., rows:, columns:]
        scores.append(math.sqrt(pairs.numel()) * (pairs.mean().item() / power) if pairs.numel() else 0.0)
    together = torch.tensor(sum(scores) / math.sqrt(len(LAGS)), dtype=torch.float64)
    p_structure = torch.special.ndtr(-together).item()
    return {
        "consistent": min(p_larger, p_structure) >= LEVEL / 2,
        "residual_over_sigma": math.sqrt(chi_square / n),
        "chi_square": chi_square,
        "p_larger": p_larger,
        "p_structure": p_structure,
    }


def _normal_below(bound: Tensor, generator: torch.Generator) -> Tensor:
    """Draw standard normal values, each below its bound, float64."""
    uniform = torch.rand(bound.shape, generator=generator, dtype=torch.float64).clamp(2**-53, 1 - 2**-53)
    uniform = uniform.to(bound.device)
    near = torch.special.ndtri(torch.special.ndtr(bound.clamp(min=FAR)) * uniform)
    far = -(bound.square() - 2 * uniform.log()).sqrt()
    return torch.where(bound > FAR, near, far)


def estimate_sigma(y: Tensor, step: float = 0.0) -> float | None:
    """Estimate the standard deviation of white noise in a measurement, in units of the [0, 1] range.

    The median of the absolute finest diagonal wavelet coefficients over 0.6745 (Donoho and Johnstone 1994, Biometrika
    81, 425), less the variance step^2 / 12 of rounding. Edges are rare and hardly matter; texture counts as noise.
    Images that were compressed or enlarged after the noise, or are much clipped, seem to have less noise.

    Args:
        y: measurement, (C, H, W).
        step: step between two values of a file, which is clipped to [0, 1]; coefficients with a clipped value are left
            out. 0: neither rounded nor clipped.

    Returns:
        None if there are too few coefficients.
    """
    if min(y.shape[-2:]) < len(HIGH_PASS):
        return None
    line = torch.tensor(HIGH_PASS, dtype=y.dtype, device=y.device)
    coefficients = F.conv2d(y.unsqueeze(1), torch.outer(line, line)[None, None], stride=2)
    if step > 0:
        ends = ((y <= 0) | (y >= 1)).to(y.dtype)
        coefficients = coefficients[F.max_pool2d(ends.unsqueeze(1), len(HIGH_PASS), stride=2) == 0]
    if coefficients.numel() < LEAST_COEFFICIENTS:
        return None
    sigma = coefficients.abs().median().item() / MEDIAN
    return math.sqrt(max(0.0, sigma**2 - step**2 / 12))
