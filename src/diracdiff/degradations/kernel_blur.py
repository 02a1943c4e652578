"""Blur by a per-image kernel in fractional powers: A_t is the kernel K to the power s, the severity.

Images are periodic here, so that A_t multiplies their discrete Fourier transform with K^s, its magnitude to the power s
and its phase times s. The phase of the four self-conjugate frequencies is left out, since a part of it would make
images complex. As |K| <= 1 for non-negative weights that sum to 1, there is the transition A_t = K^(t - s) A_s, which
amplifies nothing. For the borders of photographs see `make_periodic`.
"""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from diracdiff.degradations.base import PerImageDegradation
from diracdiff.degradations.kernels import random_kernel
from diracdiff.degradations.svd import SVD

MIN_MAGNITUDE = 1e-12
"""Magnitude below which a frequency counts as lost."""


class KernelBlur(PerImageDegradation):
    """Convolution of periodic images with a per-image kernel: a Gaussian, a disc, a path of the camera.

    The parameters are kernels, (B, 1, h, w), with odd sides, that sum to 1; random ones are 25 x 25.

    Args:
        severity: power of the kernel, in [0, 1].
        image_size: side in pixels of the training images; kernels are in pixels of any image.
    """

    in_pixels = False
    limits = (0.0, 1.0)

    def sample_params(self, seeds: Sequence[int], like: Tensor) -> Tensor:
        return torch.stack([random_kernel(seed) for seed in seeds]).unsqueeze(1).to(like)

    def apply(self, x: Tensor, severity: Tensor) -> Tensor:
        return self.decompose(x, severity).operator(x)

    def decompose(self, x: Tensor, severity: Tensor) -> "HartleyBasis":
        transform = torch.fft.fft2(pad_kernels(self.params_for(x).double(), *x.shape[-2:]))
        power = severity.to(x.dtype).reshape(*severity.shape, 1, 1, 1)
        magnitude, phase = (part.to(x.dtype) for part in _polar(transform))
        return HartleyBasis(magnitude**power, phase * power)

    diagonalise = decompose


class HartleyBasis(SVD):
    """U S V^T with Hartley's waves as V and the same waves, each with its phase shifted, as U.

    Args:
        values: S, (B, 1, H, W), the same for opposite frequencies.
        phases: phase shifts, (B, 1, H, W), of opposite sign for opposite frequencies.
    """

    def __init__(self, values: Tensor, phases: Tensor):
        self.values, self.phases = values, phases
        rows, columns = (torch.arange(n, dtype=values.dtype, device=values.device) for n in values.shape[-2:])
        self.frequencies = 2 * torch.minimum(rows, len(rows) - rows), 2 * torch.minimum(columns, len(columns) - columns)

    def v(self, x: Tensor) -> Tensor:
        transform = torch.fft.fft2(x, norm="ortho")
        return transform.real - transform.imag

    vt = v

    def u(self, x: Tensor) -> Tensor:
        return self._shifted(torch.fft.fft2(self.v(x)), 1)

    def ut(self, x: Tensor) -> Tensor:
        return self.v(self._shifted(torch.fft.fft2(x), -1))

    def operator(self, x: Tensor) -> Tensor:
        """Return A x, (B, C, H, W), with fewer changes of basis than U S V^T x."""
        return self._shifted(torch.fft.fft2(x) * self.values, 1)

    def _shifted(self, transform: Tensor, sign: int) -> Tensor:
        return torch.fft.ifft2(transform * torch.exp(sign * 1j * self.phases)).real


def pad_kernels(kernels: Tensor, height: int, width: int) -> Tensor:
    """Put kernels, (B, 1, h, w) with odd sides, around the first pixel of periodic images: (B, 1, H, W)."""
    rows, columns = kernels.shape[-2:]
    at = (torch.arange(rows, device=kernels.device) - rows // 2).remainder(height).unsqueeze(1) * width
    at = (at + (torch.arange(columns, device=kernels.device) - columns // 2).remainder(width)).flatten()
    flat = kernels.new_zeros(*kernels.shape[:-2], height * width).index_add(-1, at, kernels.flatten(-2))
    return flat.reshape(*kernels.shape[:-2], height, width)


def make_periodic(y: Tensor, kernels: Tensor) -> tuple[Tensor, int]:
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
    magnitude, angle = transform.abs().clamp(MIN_MAGNITUDE, 1.0), transform.angle()
    opposite = [part.flip(-2, -1).roll((1, 1), (-2, -1)) for part in (magnitude, angle)]
    return torch.where(half < 0, opposite[0], magnitude), torch.where(half < 0, -opposite[1], angle * half)


def _sign(n: int, like: Tensor) -> Tensor:
    """Return 1 for frequencies, -1 for their opposites, 0 for self-conjugate ones, (n,)."""
    k = torch.arange(n, device=like.device)
    return ((n - 2 * k).sign() * (k > 0)).to(like.dtype)
