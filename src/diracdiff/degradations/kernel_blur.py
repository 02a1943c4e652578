"""Blur by a per-image kernel in fractional powers: A_t is the kernel K to the power s, the severity.

Images are periodic here, so that A_t multiplies their discrete Fourier transform with K^s, its magnitude to the power s
and its phase times s. The phase of the four self-conjugate frequencies is left out, since a part of it would make
images complex. As |K| <= 1 for non-negative weights that sum to 1, there is the transition A_t = K^(t - s) A_s, which
amplifies nothing. For the borders of photographs see `extended`.
"""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from diracdiff.degradations.base import PerImageDegradation
from diracdiff.degradations.kernels import drawn
from diracdiff.degradations.svd import SVD

LEAST = 1e-12
"""Magnitude below which a frequency counts as lost."""


class KernelBlur(PerImageDegradation):
    """Convolution of periodic images with a per-image kernel: a Gaussian, a disc, a path of the camera.

    Args:
        severity: power of the kernel, in [0, 1].
        image_size: side in pixels of the training images; kernels are in pixels of any image.
    """

    in_pixels = False
    limits = (0.0, 1.0)

    def sample_params(self, seeds: Sequence[int], like: Tensor) -> Tensor:
        """Return kernels, (B, 1, 25, 25), one per seed."""
        return torch.stack([drawn(seed) for seed in seeds]).unsqueeze(1).to(like)

    def apply(self, x: Tensor, size: Tensor) -> Tensor:
        return self.decompose(x, size).of(x)

    def diagonalise(self, x: Tensor, size: Tensor) -> SVD:
        return self.decompose(x, size)

    def decompose(self, x: Tensor, size: Tensor) -> "Waves":
        height, width = x.shape[-2:]
        transform = torch.fft.fft2(placed(self.params_for(x).double(), height, width))
        power = size.to(x.dtype).reshape(*size.shape, 1, 1, 1)
        magnitude, phase = (part.to(x.dtype) for part in _polar(transform))
        return Waves(magnitude**power, phase * power)


class Waves(SVD):
    """U S V^T with Hartley's waves as V and the same waves, each with its phase shifted, as U.

    Args:
        values: S, (B, 1, H, W), the same for opposite frequencies.
        phases: phase shifts, (B, 1, H, W), of opposite sign for opposite frequencies.
    """

    def __init__(self, values: Tensor, phases: Tensor):
        self.values, self.phases = values, phases
        self.frequencies = (_half_cycles(values, -2), _half_cycles(values, -1))

    def v(self, coefficients: Tensor) -> Tensor:
        transform = torch.fft.fft2(coefficients, norm="ortho")
        waves: Tensor = transform.real - transform.imag
        return waves

    def vt(self, image: Tensor) -> Tensor:
        return self.v(image)

    def u(self, coefficients: Tensor) -> Tensor:
        return self._shifted(torch.fft.fft2(self.v(coefficients)), 1)

    def ut(self, image: Tensor) -> Tensor:
        return self.v(self._shifted(torch.fft.fft2(image), -1))

    def of(self, image: Tensor) -> Tensor:
        """Return A x, (B, C, H, W), with fewer changes of basis than U S V^T x."""
        return self._shifted(torch.fft.fft2(image) * self.values, 1)

    def _shifted(self, transform: Tensor, sign: int) -> Tensor:
        image: Tensor = torch.fft.ifft2(transform * torch.exp(sign * 1j * self.phases)).real
        return image


def placed(kernels: Tensor, height: int, width: int) -> Tensor:
    """Put kernels, (B, 1, h, w) with odd sides, around the first pixel of periodic images: (B, 1, H, W)."""
    rows, columns = kernels.shape[-2:]
    at = (torch.arange(rows, device=kernels.device) - rows // 2).remainder(height).unsqueeze(1) * width
    at = (at + (torch.arange(columns, device=kernels.device) - columns // 2).remainder(width)).flatten()
    flat = kernels.new_zeros(*kernels.shape[:-2], height * width).index_add(-1, at, kernels.flatten(-2))
    return flat.reshape(*kernels.shape[:-2], height, width)


def extended(y: Tensor, kernels: Tensor) -> tuple[Tensor, int]:
    """Make blurred photographs, (B, C, H, W), periodic: reflect them at their borders, and blend opposite ends.

    Returns:
        The extended photographs, and the margin in pixels on each side.
    """
    margin = min(2 * (max(kernels.shape[-2:]) // 2) + 1, min(y.shape[-2:]) - 1)
    padded = F.pad(y, (margin,) * 4, mode="reflect")
    for axis in (-2, -1):
        ramp = torch.ones(padded.shape[axis], dtype=y.dtype, device=y.device)
        rise = 0.5 + 0.5 * (torch.arange(margin, dtype=y.dtype, device=y.device) + 0.5) / margin
        ramp[:margin], ramp[len(ramp) - margin :] = rise, rise.flip(0)
        weight = ramp.unsqueeze(-1) if axis == -2 else ramp
        padded = weight * padded + (1 - weight) * padded.flip(axis)
    return padded, margin


def _polar(transform: Tensor) -> tuple[Tensor, Tensor]:
    """Return magnitudes and phases that are exactly conjugate for opposite frequencies, 0 for self-conjugate ones."""
    rows, columns = (_sign(n, transform.real) for n in transform.shape[-2:])
    half = torch.where(rows.unsqueeze(1) != 0, rows.unsqueeze(1), columns)
    magnitude, angle = transform.abs().clamp(LEAST, 1.0), transform.angle()
    opposite = [part.flip(-2, -1).roll((1, 1), (-2, -1)) for part in (magnitude, angle)]
    return torch.where(half < 0, opposite[0], magnitude), torch.where(half < 0, -opposite[1], angle * half)


def _sign(n: int, like: Tensor) -> Tensor:
    """Return 1 for frequencies, -1 for their opposites, 0 for self-conjugate ones, (n,)."""
    k = torch.arange(n, device=like.device)
    return ((n - 2 * k).sign() * (k > 0)).to(like.dtype)


def _half_cycles(values: Tensor, axis: int) -> Tensor:
    n = values.shape[axis]
    k = torch.arange(n, dtype=values.dtype, device=values.device)
    return 2 * torch.minimum(k, n - k)
