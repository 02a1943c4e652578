"""Gaussian blur whose width grows with t (paper, Section 4: 61x61 kernel, std 0.3 to 3 px, reflection)."""

import torch
from torch import Tensor

from diracdiff.degradations.base import REFERENCE_SIZE, Degradation
from diracdiff.degradations.svd import SVD, Separable

SUPPORT = 61


class GaussianBlur(Degradation):
    """Convolution with a sampled, normalised Gaussian, reflected at the border (edge pixel not repeated).

    The severity is the standard deviation in pixels at 256 px; the support is 61 pixels at 256 px and scales
    alike. The blur is separable and each direction is one matrix, (B, n, n), with the reflection folded in, so
    a batch with a width per image costs two batched matrix products. A_0 is the identity up to
    2 exp(-1 / (2 std^2)) per direction: 8e-3 at the paper's 0.3 px, below 1e-30 at 64 px.
    """

    def apply(self, x: Tensor, size: Tensor) -> Tensor:
        rows, columns = self.matrices(x, size)
        return rows.unsqueeze(-3) @ x @ columns.unsqueeze(-3).mT

    def decompose(self, x: Tensor, size: Tensor) -> SVD:
        return Separable(*self.matrices(x, size))

    def matrices(self, x: Tensor, size: Tensor) -> tuple[Tensor, Tensor]:
        """The matrices of the two directions, (H, H) and (W, W), or with a batch of widths."""
        rows, columns = (blur_matrix(size.to(x.dtype), n, self.radius) for n in x.shape[-2:])
        return rows, columns

    @property
    def radius(self) -> int:
        """Half the support, in pixels: 30 at 256 px."""
        return max(1, round((SUPPORT // 2) * self.image_size / REFERENCE_SIZE))


def blur_matrix(std: Tensor, n: int, radius: int) -> Tensor:
    """The matrix of a 1-D Gaussian blur of n samples with reflection.

    Args:
        std: standard deviations in samples, () or (B,), at least 0 (0 is the identity).
        n: length of the signal.
        radius: half-width of the kernel; cut to n - 1, which is all that one reflection can fill.

    Returns:
        (n, n) or (B, n, n); rows sum to 1.
    """
    radius = min(radius, n - 1)
    offset = torch.arange(-radius, radius + 1, device=std.device)
    exponent = -(offset.to(std.dtype) ** 2) / (2 * std.clamp(min=1e-3).unsqueeze(-1) ** 2)
    kernel = exponent.softmax(-1).unsqueeze(-2).expand(*std.shape, n, -1)
    source = (torch.arange(n, device=std.device).unsqueeze(-1) + offset).abs()
    source = torch.where(source >= n, 2 * (n - 1) - source, source).expand(kernel.shape)
    return torch.zeros(*std.shape, n, n, dtype=std.dtype, device=std.device).scatter_add(-1, source, kernel)
