"""Super-resolution: low-pass filter with a falling cut-off frequency, on the grid of the clean image.

An image that is downscaled by a factor f contains the frequencies below Nyquist / f. Here the measurement is the image
after a low-pass filter with this cut-off, at full size, so A_t keeps the shape of the image. `downscale` and `upscale`
convert between the two grids.
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from diracdiff.degradations.base import Degradation, PerImageDegradation
from diracdiff.degradations.svd import SVD, Separable, apply_separable, cosine_svd, matrix_svd

ROLL_OFF = 0.5

FACTORS = (2, 3, 4)
"""Random factors of `MultiScaleSuperResolution`."""


class SuperResolution(Degradation):
    """Anti-aliasing low-pass filter of super-resolution by a factor f.

    The filter multiplies the cosine transform (DCT-II, reflection at the border) with a response per direction. The
    severity is the factor f, at least 1. Let u = k f / n be the k-th of n frequencies relative to the cut-off. The
    response is S((1 - u) / (r (1 - 1 / f))) with S(a) = a^2 (3 - 2 a) on [0, 1] and roll-off r = 1/2.

    The response is 1 below the fraction 1 - r (1 - 1 / f) of the cut-off, and 0 above the cut-off. For f = 1 it is 1 at
    all frequencies. It does not increase with f, so the transition from s to t is the ratio of the responses.
    """

    in_pixels = False
    limits = (1.0, math.inf)

    def apply(self, x: Tensor, severity: Tensor) -> Tensor:
        rows, columns = (low_pass_matrix(severity.to(x.dtype), n) for n in x.shape[-2:])
        return apply_separable(rows, columns, x)

    def decompose(self, x: Tensor, severity: Tensor) -> SVD:
        rows, columns = (matrix_svd(low_pass_matrix(severity.to(x.dtype), n)) for n in x.shape[-2:])
        return Separable(rows, columns)

    def diagonalise(self, x: Tensor, severity: Tensor) -> SVD:
        responses = (1 - _attenuation(severity.to(x.dtype), n) for n in x.shape[-2:])
        return cosine_svd(x, responses, ((dct.mT, dct) for dct in (dct_matrix(n, x) for n in x.shape[-2:])))


class MultiScaleSuperResolution(PerImageDegradation, SuperResolution):
    """Super-resolution with a per-image factor f. A_t is `SuperResolution` with factor f^s.

    The parameters are factors, (B, 1), at least 1. Random factors are 2, 3 and 4 as in MDSR (Lim et al. 2017).

    Args:
        severity: exponent s of the factor over t, in [0, 1].
        image_size: side of the training images in pixels. Factors do not scale with it.
    """

    limits = (0.0, 1.0)

    def sample_params(self, seeds: Sequence[int], like: Tensor) -> Tensor:
        generators = (torch.Generator().manual_seed(seed) for seed in seeds)
        factors = [FACTORS[int(torch.randint(len(FACTORS), (), generator=generator))] for generator in generators]
        return torch.tensor(factors).unsqueeze(1).to(like)

    def apply(self, x: Tensor, severity: Tensor) -> Tensor:
        return super().apply(x, self._factor(x, severity))

    def decompose(self, x: Tensor, severity: Tensor) -> SVD:
        return super().decompose(x, self._factor(x, severity))

    def diagonalise(self, x: Tensor, severity: Tensor) -> SVD:
        return super().diagonalise(x, self._factor(x, severity))

    def _factor(self, x: Tensor, severity: Tensor) -> Tensor:
        return self.params_for(x).squeeze(1) ** severity.to(x.dtype)


def downscale(y: Tensor, factor: int) -> Tensor:
    """Downscale images by an integer factor. Only the cosines below Nyquist / factor remain.

    White noise with standard deviation sigma becomes white noise with standard deviation sigma / factor.

    Args:
        y: images, (..., H, W).
        factor: factor, at least 1.

    Returns:
        Images, (..., H / factor, W / factor).

    Raises:
        ValueError: if the sides are not multiples of the factor.
    """
    height, width = y.shape[-2:]
    if height % factor or width % factor:
        raise ValueError(f"factor={factor}: must divide the sides of images of {width}x{height} pixels. Crop them.")
    coefficients = dct_matrix(height, y)[: height // factor] @ y @ dct_matrix(width, y)[: width // factor].mT
    rows, columns = dct_matrix(height // factor, y), dct_matrix(width // factor, y)
    return rows.mT @ coefficients @ columns / factor


def upscale(y: Tensor, factor: int) -> Tensor:
    """Upscale images by an integer factor, the inverse of `downscale` for images without higher frequencies.

    Args:
        y: images, (..., H, W).
        factor: factor, at least 1.

    Returns:
        Images, (..., factor H, factor W).
    """
    height, width = y.shape[-2:]
    coefficients = dct_matrix(height, y) @ y @ dct_matrix(width, y).mT
    rows, columns = dct_matrix(factor * height, y)[:height], dct_matrix(factor * width, y)[:width]
    return factor * rows.mT @ coefficients @ columns


def low_pass_matrix(factor: Tensor, n: int) -> Tensor:
    """Return the matrix of the low-pass filter for signals of length n.

    Args:
        factor: factors, at least 1, () or (B,).
        n: length of the signal.

    Returns:
        Matrices, (n, n) or (B, n, n).
    """
    basis, attenuation = dct_matrix(n, factor), _attenuation(factor, n)
    return torch.eye(n, dtype=basis.dtype, device=basis.device) - basis.mT @ (attenuation.unsqueeze(-1) * basis)


def dct_matrix(n: int, like: Tensor) -> Tensor:
    """Return the orthonormal matrix of the DCT-II, (n, n), with one row per frequency.

    Args:
        n: length of the signal.
        like: tensor that defines precision and device.
    """
    k = torch.arange(n, device=like.device)
    # Integers remove whole periods exactly. Large angles would lose three digits in single precision.
    angle = (k.unsqueeze(-1) * (2 * k + 1)).remainder(4 * n).to(like.dtype) * (math.pi / (2 * n))
    return angle.cos() * (torch.where(k == 0, 1, 2).to(like.dtype) / n).sqrt().unsqueeze(-1)


def _attenuation(factor: Tensor, n: int) -> Tensor:
    """Return 1 - response of each frequency, (n,) or (B, n)."""
    factor = factor.unsqueeze(-1)
    relative = torch.arange(n, dtype=factor.dtype, device=factor.device) * factor / n
    a = ((1 - relative) / (ROLL_OFF * (1 - 1 / factor).clamp(min=1e-6))).clamp(0, 1)
    return 1 - a**2 * (3 - 2 * a)
