"""Blur by any kernel, every image's own, in fractional powers: A_t is the kernel K to the power s, the severity.

Images are periodic here, so that A_t multiplies their discrete Fourier transform with K^s, its magnitude to the power s
and its phase times s: a shift grows in proportion, a Gaussian's variance too. Of the four frequencies that are their
own opposites the phase is left out, since a part of it would make images complex. As |K| <= 1 for weights that are not
negative and sum to 1, there is the transition A_t = K^(t - s) A_s, which amplifies nothing. What a photograph's border
makes of that: `extended`.
"""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from diracdiff.degradations.base import PerImageDegradation
from diracdiff.degradations.kernels import drawn
from diracdiff.degradations.svd import SVD

LEAST = 1e-12
"""Magnitude below which a frequency is as good as lost."""


class KernelBlur(PerImageDegradation):
    """Convolution of periodic images with a kernel of every image's own: a Gaussian, a disc, a path of the camera.

    Args:
        severity: power of the kernel, in [0, 1].
        image_size: side in pixels of the images the process is made for; kernels are in pixels of any image.
    """

    in_pixels = False
    limits = (0.0, 1.0)

    def sample_params(self, seeds: Sequence[int], like: Tensor) -> Tensor:
        """Kernels, (B, 1, 25, 25), one per seed."""
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
    """U S V^T with Hartley's waves as V and the same waves, each with its phase moved, as U.

    Args:
        values: S, (B, 1, H, W), the same for opposite frequencies.
        phases: by which waves are moved, (B, 1, H, W), of opposite sign for opposite frequencies.
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
        return self._moved(torch.fft.fft2(self.v(coefficients)), 1)

    def ut(self, image: Tensor) -> Tensor:
        return self.v(self._moved(torch.fft.fft2(image), -1))

    def of(self, image: Tensor) -> Tensor:
        """A x, (B, C, H, W), with fewer changes of basis than U S V^T x."""
        return self._moved(torch.fft.fft2(image) * self.values, 1)

    def _moved(self, transform: Tensor, sign: int) -> Tensor:
        image: Tensor = torch.fft.ifft2(transform * torch.exp(sign * 1j * self.phases)).real
        return image


def placed(kernels: Tensor, height: int, width: int) -> Tensor:
    """Kernels, (B, 1, h, w) with odd sides, around the first pixel of images: (B, 1, H, W); what is larger wraps."""
    rows, columns = kernels.shape[-2:]
    found = kernels.new_zeros(*kernels.shape[:-2], height, width)
    at = (torch.arange(rows, device=kernels.device) - rows // 2).remainder(height).unsqueeze(1) * width
    at = (at + (torch.arange(columns, device=kernels.device) - columns // 2).remainder(width)).flatten()
    found = found.flatten(-2).index_add(-1, at, kernels.flatten(-2))
    return found.reshape(*kernels.shape[:-2], height, width)


def extended(y: Tensor, kernels: Tensor) -> tuple[Tensor, int]:
    """Blurred photographs, (B, C, H, W), made periodic, and by how many pixels they were extended to each side.

    They are reflected at their borders, and the far ends blend into each other.
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
    """Magnitudes, and phases: of opposite frequencies the same and of opposite sign, whatever rounding makes of them.

    Phases of frequencies that are their own opposites are 0.
    """
    rows, columns = (_sign(n, transform.real) for n in transform.shape[-2:])
    half = torch.where(rows.unsqueeze(1) != 0, rows.unsqueeze(1), columns)
    magnitude, angle = transform.abs().clamp(LEAST, 1.0), transform.angle()
    opposite = [part.flip(-2, -1).roll((1, 1), (-2, -1)) for part in (magnitude, angle)]
    return torch.where(half < 0, opposite[0], magnitude), torch.where(half < 0, -opposite[1], angle * half)


def _sign(n: int, like: Tensor) -> Tensor:
    """1 for frequencies, -1 for their opposites, 0 for those that are their own, (n,)."""
    k = torch.arange(n, device=like.device)
    return ((n - 2 * k).sign() * (k > 0)).to(like.dtype)


def _half_cycles(values: Tensor, axis: int) -> Tensor:
    n = values.shape[axis]
    k = torch.arange(n, dtype=values.dtype, device=values.device)
    return 2 * torch.minimum(k, n - k)
