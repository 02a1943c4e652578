"""Data-consistency test: does a restored image explain its measurement?

Under the truth, y_1 = A_1(x) + sigma z with white noise z ~ N(0, 1), the standardised residuals r / sigma with
r = y_1 - A_1(x) are white noise, so that ||r||^2 / sigma^2 has a chi-square distribution with n degrees of freedom, n
the number of values. An image that was restored from y_1 itself differs:

- *A posterior sample* has, with its measurement, the same joint distribution as the truth.
- *A posterior mean* also explains some of the noise. For Gaussian images its residual has the spectrum
  sigma^4 / (s^2 S^2 + sigma^2), nowhere above sigma^2: chi-square is lower than n by the fitted degrees of freedom
  (Wahba 1983, J. R. Stat. Soc. B 45, 133), and neighbouring residuals are slightly opposed.

So evidence against an image is a residual that is larger than the noise (discrepancy principle, Morozov 1966), or one
whose neighbours agree, which is unexplained structure: both tests of `ResidualTest.consistent` are one-sided.

Files are quantised and clipped:

- Rounding to steps of d adds a variance of d^2 / 12 (Sheppard's correction; Widrow and Kollár 2008, Quantization
  Noise: right within a percent as soon as sigma is half a step).
- Of a clipped value it is only known that the noise took it beyond the end of the range. Leaving such values out would
  bias the rest. Their residual is drawn from the part of the normal distribution beyond that end, the randomised
  quantile residual (Dunn and Smyth 1996, J. Comput. Graph. Stat. 5, 236), so that all residuals are exactly standard
  normal under the truth.

The noise of a file that was compressed with losses is not white: the test is only a hint there.
"""

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from diracdiff.degradations.svd import Mask
from diracdiff.process import StochasticDegradation

LAGS = ((0, 1), (1, 0), (1, 1))
"""Rows and columns between the values whose residuals are correlated."""

LEVEL = 0.025
"""Fraction of true images that are called inconsistent, by both tests together."""

FAR = -8.0
"""Standard deviations below which the tail of the normal distribution is approximated by exp(-z^2 / 2)."""

RULE = (
    f"consistent: neither is the residual larger than the noise explains, nor do its neighbours agree more than those "
    f"of white noise (one-sided tests at a level of {LEVEL} together)"
)

HIGH_PASS = tuple(n / (4 * math.sqrt(2)) for n in (1 + 3**0.5, -3 - 3**0.5, 3 - 3**0.5, 3**0.5 - 1))
"""Daubechies' wavelet with two vanishing moments: orthonormal, and zero on planes."""

MEDIAN = 0.6744897501960817
"""Median of the absolute value of a standard normal variable."""

LEAST_COEFFICIENTS = 64
"""Fewest coefficients for an estimate of the noise level: a standard error of 15 %, and 1.17 / sqrt(n) in general."""

HIDDEN = 0.1
"""Fraction of the noise's deviation below which what is left of a white pixel counts as hidden."""


@dataclass(frozen=True)
class ResidualTest:
    """Tests of an image's standardised residuals.

    Attributes:
        values: number n of values of the measurement.
        clipped: fraction of them at an end of the range.
        chi_square: ||r||^2 / sigma^2; n degrees of freedom.
        p_value: two-sided, of chi_square: uniform in [0, 1] for the truth and for a posterior sample.
        p_larger: probability of a larger residual.
        correlations: correlations of the residuals at LAGS.
        p_white: two-sided, of whiteness: n rho_k^2 summed over LAGS is chi-square distributed (Box and Pierce 1970).
        p_structure: probability of neighbours that agree more, by the sum of sqrt(n) rho_k over LAGS.
    """

    values: int
    clipped: float
    chi_square: float
    p_value: float
    p_larger: float
    correlations: tuple[float, ...]
    p_white: float
    p_structure: float

    @property
    def ratio(self) -> float:
        """||r|| / (sqrt(n) sigma): 1 at the noise floor."""
        return math.sqrt(self.chi_square / self.values)

    @property
    def consistent(self) -> bool:
        """See RULE."""
        return min(self.p_larger, self.p_structure) >= LEVEL / 2

    def row(self) -> dict[str, Any]:
        """Return a dictionary for JSON."""
        return {
            "consistent": self.consistent,
            "residual_over_sigma": self.ratio,
            "chi_square": self.chi_square,
            "values": self.values,
            "clipped": self.clipped,
            "p_value": self.p_value,
            "p_larger": self.p_larger,
            "correlations": {f"{r},{c}": rho for (r, c), rho in zip(LAGS, self.correlations, strict=True)},
            "p_white": self.p_white,
            "p_structure": self.p_structure,
        }


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


def evaluate_residuals(z: Tensor, clipped: float = 0.0) -> ResidualTest:
    """Test standardised residuals, (C, H, W).

    Args:
        z: see `standardise`.
        clipped: fraction of clipped values, for the report.
    """
    z = z.double()
    n, chi_square = z.numel(), z.square().sum().item()
    half, square = torch.tensor([n / 2, chi_square / 2], dtype=torch.float64)
    larger, smaller = torch.special.gammaincc(half, square).item(), torch.special.gammainc(half, square).item()
    power = max(chi_square / n, 1e-300)
    correlations, scores = [], []
    for rows, columns in LAGS:
        pairs = z[..., : z.shape[-2] - rows, : z.shape[-1] - columns] * z[..., rows:, columns:]
        correlations.append(pairs.mean().item() / power if pairs.numel() else 0.0)
        scores.append(math.sqrt(pairs.numel()) * correlations[-1])
    together = torch.tensor(sum(scores) / math.sqrt(len(LAGS)), dtype=torch.float64)
    degrees, squares = torch.tensor([len(LAGS) / 2, sum(s**2 for s in scores) / 2], dtype=torch.float64)
    return ResidualTest(
        values=n,
        clipped=clipped,
        chi_square=chi_square,
        p_value=min(1.0, 2 * min(larger, smaller)),
        p_larger=larger,
        correlations=tuple(correlations),
        p_white=torch.special.gammaincc(degrees, squares).item(),
        p_structure=torch.special.ndtr(-together).item(),
    )


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


def is_hidden(y: Tensor, process: StochasticDegradation, t: float = 1.0) -> bool | None:
    """Decide if the pixels that the mask of a process hides are noise around 0.

    Their mean square is sigma^2 if they are, and about that of the other pixels, Q, if they are not. The likelier of
    two normal distributions around 0 with these variances is chosen: the first below
    sigma^2 Q ln(Q / sigma^2) / (Q - sigma^2).

    Args:
        y: measurement, (C, H, W).
        process: the assumed process.
        t: time of the measurement.

    Returns:
        None if undecidable: nothing or everything is hidden, the rest is dark as well, or A_t is no mask.
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
