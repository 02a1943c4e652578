"""Blur with fractional powers of a per-image kernel. A_t is the kernel K to the power of the severity s.

Images are periodic, so A_t multiplies their discrete Fourier transform with K^s. The magnitude is raised to the power
s, and the phase is multiplied by s. The phase of self-conjugate frequencies is set to 0, because a fraction of it would
make images complex. Kernels with non-negative weights that sum to 1 have |K| <= 1. The transition between severities
s < s' is K^(s' - s), which amplifies no frequency. `make_periodic` prepares the borders of photographs.
"""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from diracdiff.degradations.base import PerImageDegradation
from diracdiff.degradations.kernels import random_kernel
from diracdiff.degradations.svd import SVD

MIN_MAGNITUDE = 1e-12
"""Smallest magnitude of a frequency. Smaller magnitudes are raised to it."""


class KernelBlur(PerImageDegradation):
    """Convolution of periodic images with a power of a per-image kernel.

    The parameters are kernels, (B, 1, h, w), with odd sides and sum 1. Random kernels have 25 x 25 pixels, see
    `random_kernel`.

    Args:
        severity: power of the kernel over t, in [0, 1].
        image_size: side of the training images in pixels. Kernels do not scale with it.
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
    """Decomposition U S V^T of a periodic convolution. V is the Hartley basis, U the same basis with shifted phases.

    Args:
        values: singular values S, (B, 1, H, W), equal for opposite frequencies.
        phases: phase shifts in radians, (B, 1, H, W), of opposite sign for opposite frequencies.
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
        """Return A x, (B, C, H, W), for images x, (B, C, H, W). It needs fewer transforms than U S V^T x."""
        return self._shifted(torch.fft.fft2(x) * self.values, 1)

    def _shifted(self, transform: Tensor, sign: int) -> Tensor:
        return torch.fft.ifft2(transform * torch.exp(sign * 1j * self.phases)).real


def pad_kernels(kernels: Tensor, height: int, width: int) -> Tensor:
    """Pad kernels to the size of periodic images, with the centre of the kernel at pixel (0, 0).

    Args:
        kernels: kernels with odd sides, (B, 1, h, w).
        height: height H of the images in pixels.
        width: width W of the images in pixels.

    Returns:
        Padded kernels, (B, 1, H, W). Kernels larger than the image wrap around.
    """
    rows, columns = kernels.shape[-2:]
    index = (torch.arange(rows, device=kernels.device) - rows // 2).remainder(height).unsqueeze(1) * width
    index = (index + (torch.arange(columns, device=kernels.device) - columns // 2).remainder(width)).flatten()
    flat = kernels.new_zeros(*kernels.shape[:-2], height * width).index_add(-1, index, kernels.flatten(-2))
    return flat.reshape(*kernels.shape[:-2], height, width)


def make_periodic(y: Tensor, kernels: Tensor) -> tuple[Tensor, int]:
    """Extend blurred photographs to periodic images: reflect them at the borders and blend opposite borders.

    Args:
        y: photographs, (B, C, H, W).
        kernels: kernels, (B, 1, h, w). Their size determines the margin.

    Returns:
        The extended photographs and the margin on each side in pixels.
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
    """Return magnitudes and phases that are exactly conjugate for opposite frequencies."""
    rows, columns = (_sign(n, transform.real) for n in transform.shape[-2:])
    half = torch.where(rows.unsqueeze(1) != 0, rows.unsqueeze(1), columns)
    magnitude, angle = transform.abs().clamp(MIN_MAGNITUDE, 1.0), transform.angle()
    opposite = [part.flip(-2, -1).roll((1, 1), (-2, -1)) for part in (magnitude, angle)]
    return torch.where(half < 0, opposite[0], magnitude), torch.where(half < 0, -opposite[1], angle * half)


def _sign(n: int, like: Tensor) -> Tensor:
    """Return the sign of each frequency, (n,): 1, -1 for opposite and 0 for self-conjugate frequencies."""
    k = torch.arange(n, device=like.device)
    return ((n - 2 * k).sign() * (k > 0)).to(like.dtype)
