"""Does a restored image explain its measurement? A certificate for every image.

Under the truth, y_1 = A_1(x) + sigma z with z ~ N(0, 1), independent in every value, so the standardised residuals
(y_1 - A_1(x)) / sigma are white noise: ||r||^2 / sigma^2 follows a chi-square law with n degrees of freedom, n the
number of values.

What is tested of an image that was restored from y_1 itself:

- *A sample of the posterior* has, with its measurement, the same joint law as the truth has, so the same laws hold.
- *A posterior mean* explains some of the noise as well. For Gaussian images its residual has the spectrum
  sigma^4 / (s^2 S^2 + sigma^2), nowhere above sigma^2, so that chi-square falls short of n by the degrees of freedom
  that were fitted (Wahba 1983, J. R. Stat. Soc. B 45, 133), and neighbours in the residual are slightly opposed.

So what speaks against an image is a residual that is larger than the noise, or one whose neighbours agree, which is
structure of the image that was not explained: both tests of `Certificate.consistent` have one side. That the residual
is not larger than the noise is the discrepancy principle (Morozov 1966).

Files are quantised and clipped:

- Rounding to steps of d adds a variance of d^2 / 12 (Sheppard's correction; Widrow and Kollár 2008, Quantization
  Noise: right within a percent as soon as sigma is half a step).
- Of a clipped value it is only known that the noise took it beyond the end of the range. Leaving such values out
  would bias the rest, from which the noise of one sign is missing. They get a residual that is drawn from the part of
  the normal law beyond that end, the randomised quantile residual (Dunn and Smyth 1996, J. Comput. Graph. Stat. 5,
  236). Under the truth all residuals together so are exactly standard normal.

A file that was compressed with losses has another noise than white: its certificate says so, and is a hint only.
"""

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

LAGS = ((0, 1), (1, 0), (1, 1))
"""Rows and columns between the values whose residuals are correlated."""

LEVEL = 0.025
"""Share of the truths that are called inconsistent, in all."""

FAR = -8.0
"""Standard deviations from which on the tail of the normal law is taken as exp(-z^2 / 2)."""

RULE = (
    f"consistent: neither is the residual larger than the noise explains, nor do its neighbours agree more than those "
    f"of white noise (one-sided tests at a level of {LEVEL} together)"
)


@dataclass(frozen=True)
class Certificate:
    """Tests of an image's residual.

    Attributes:
        values: n, of the measurement.
        clipped: share of them that lie at an end of the range.
        chi_square: ||r||^2 / sigma^2; n degrees of freedom.
        p_value: two-sided, of chi_square: uniform in [0, 1] for the truth and for a posterior sample.
        p_larger: of a residual that is larger than this.
        correlations: of the residual with itself at LAGS.
        p_white: two-sided, of whiteness: n rho_k^2 summed over LAGS has a chi-square law (Box and Pierce 1970).
        p_structure: of neighbours that agree more than these, by the sum of sqrt(n) rho_k over LAGS.
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
        """As JSON holds it, but for RULE."""
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


def standardised(y: Tensor, mean: Tensor, sigma: float, step: float = 0.0, seed: int = 0) -> Tensor:
    """Residuals that are standard normal under the truth, of the shape of y.

    Args:
        y: a measurement, (C, H, W): as it is, or clipped to [0, 1] and rounded to multiples of `step`.
        mean: A_1(x_hat), like y.
        sigma: standard deviation of the noise, in units of the [0, 1] range.
        step: between two values of the file, 1 / 255 say; 0: neither clipped nor rounded.
        seed: of the residuals that are drawn.

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
                z[at_end] = sign * _below(bound, generator).to(z.dtype)
    return z


def certify(z: Tensor, clipped: float = 0.0) -> Certificate:
    """Test standardised residuals, (C, H, W).

    Args:
        z: see `standardised`.
        clipped: share of clipped values, to be told.
    """
    z = z.double()
    n, chi_square = z.numel(), z.square().sum().item()
    half, square = torch.tensor([n / 2, chi_square / 2], dtype=torch.float64)
    larger, smaller = torch.special.gammaincc(half, square).item(), torch.special.gammainc(half, square).item()
    power, found, scores = max(chi_square / n, 1e-300), [], []
    for rows, columns in LAGS:
        pairs = z[..., : z.shape[-2] - rows, : z.shape[-1] - columns] * z[..., rows:, columns:]
        found.append(pairs.mean().item() / power if pairs.numel() else 0.0)
        scores.append(math.sqrt(pairs.numel()) * found[-1])
    together = torch.tensor(sum(scores) / math.sqrt(len(LAGS)), dtype=torch.float64)
    white = torch.special.gammaincc(
        torch.tensor(len(LAGS) / 2, dtype=torch.float64), torch.tensor(sum(s**2 for s in scores) / 2).double()
    )
    return Certificate(
        n,
        clipped,
        chi_square,
        min(1.0, 2 * min(larger, smaller)),
        larger,
        tuple(found),
        white.item(),
        torch.special.ndtr(-together).item(),
    )


def _below(bound: Tensor, generator: torch.Generator) -> Tensor:
    """Draws of a standard normal law, each below its bound, float64 like it."""
    share = torch.rand(bound.shape, generator=generator, dtype=torch.float64).clamp(2**-53, 1 - 2**-53)
    share = share.to(bound.device)
    near = torch.special.ndtri(torch.special.ndtr(bound.clamp(min=FAR)) * share)
    far = -(bound.square() - 2 * share.log()).sqrt()
    return torch.where(bound > FAR, near, far)
