"""Super-resolution: an anti-aliased low-pass whose cut-off falls with t, on the full grid of pixels.

An image that is smaller by a factor f holds the frequencies below Nyquist / f. Here the measurement is the image
low-passed with this cut-off on its own grid, so A_t keeps the shape of the image.
"""

import math

import torch
from torch import Tensor

from diracdiff.degradations.base import Degradation
from diracdiff.degradations.svd import SVD, Separable, both_sides, factors, in_cosines

ROLL_OFF = 0.5


class SuperResolution(Degradation):
    """Multiplication of the cosine transform (DCT-II, even reflection at the border) with a response, per direction.

    The severity is the factor f, at least 1. With u = k f / n, the k-th of n frequencies relative to the cut-off,
    the response is S((1 - u) / (r (1 - 1 / f))) with S(a) = a^2 (3 - 2 a) on [0, 1], and roll-off r = 1/2: 1 up to
    the fraction 1 - r (1 - 1 / f) of the cut-off, and 0 from the cut-off on. At f = 1 it is 1 at all frequencies, and
    at no frequency does it grow with f, so the transition from s to t is the ratio of the responses.
    """

    in_pixels = False
    limits = (1.0, math.inf)

    def apply(self, x: Tensor, size: Tensor) -> Tensor:
        rows, columns = (low_pass_matrix(size.to(x.dtype), n) for n in x.shape[-2:])
        return both_sides(rows, columns, x)

    def decompose(self, x: Tensor, size: Tensor) -> SVD:
        rows, columns = (factors(low_pass_matrix(size.to(x.dtype), n)) for n in x.shape[-2:])
        return Separable(rows, columns)

    def diagonalise(self, x: Tensor, size: Tensor) -> SVD:
        responses = (1 - _removed(size.to(x.dtype), n) for n in x.shape[-2:])
        return in_cosines(x, responses, ((dct.mT, dct) for dct in (dct_matrix(n, x) for n in x.shape[-2:])))


def low_pass_matrix(factor: Tensor, n: int) -> Tensor:
    """Return the matrix of the low-pass on n samples, (n, n) or (B, n, n), for factors () or (B,) of at least 1."""
    basis, removed = dct_matrix(n, factor), _removed(factor, n)
    return torch.eye(n, dtype=basis.dtype, device=basis.device) - basis.mT @ (removed.unsqueeze(-1) * basis)


def dct_matrix(n: int, like: Tensor) -> Tensor:
    """Return the orthonormal DCT-II of n samples, (n, n), one frequency a row, in the precision of `like`."""
    k = torch.arange(n, device=like.device)
    # Whole periods are removed in integers: a large angle would cost single precision three digits.
    angle = (k.unsqueeze(-1) * (2 * k + 1)).remainder(4 * n).to(like.dtype) * (math.pi / (2 * n))
    return angle.cos() * (torch.where(k == 0, 1, 2).to(like.dtype) / n).sqrt().unsqueeze(-1)


def _removed(factor: Tensor, n: int) -> Tensor:
    """Return 1 - response of every frequency, (n,) or (B, n)."""
    factor = factor.unsqueeze(-1)
    relative = torch.arange(n, dtype=factor.dtype, device=factor.device) * factor / n
    a = ((1 - relative) / (ROLL_OFF * (1 - 1 / factor).clamp(min=1e-6))).clamp(0, 1)
    return 1 - a**2 * (3 - 2 * a)
