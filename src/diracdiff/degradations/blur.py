"""Gaussian blur whose width grows with t (paper, Section 4: 61x61 kernel, std 0.3 to 3 px, reflection)."""

import math

import torch
from torch import Tensor

from diracdiff.degradations.base import REFERENCE_SIZE, Degradation
from diracdiff.degradations.svd import SVD, Separable, apply_separable, cosine_svd, matrix_svd

SUPPORT = 61


class GaussianBlur(Degradation):
    """Convolution with a sampled, normalised Gaussian, reflected at the border (edge pixel not repeated).

    The severity is the standard deviation in pixels at 256 px; the support is 61 pixels at 256 px and scales alike.
    Each direction is one matrix, (B, n, n), with the reflection folded in, so a batch with a width per image costs two
    batched matrix products. A_0 is the identity up to 2 exp(-1 / (2 std^2)) per direction: 8e-3 at the paper's 0.3 px,
    below 1e-30 at 64 px.
    """

    @property
    def radius(self) -> int:
        """Half the support, in pixels: 30 at 256 px."""
        return max(1, round((SUPPORT // 2) * self.image_size / REFERENCE_SIZE))

    def apply(self, x: Tensor, severity: Tensor) -> Tensor:
        return apply_separable(*self._matrices(x, severity), x)

    def decompose(self, x: Tensor, severity: Tensor) -> SVD:
        rows, columns = map(matrix_svd, self._matrices(x, severity))
        return Separable(rows, columns)

    def diagonalise(self, x: Tensor, severity: Tensor) -> SVD:
        responses = (blur_response(severity.to(x.dtype), n, self.radius) for n in x.shape[-2:])
        return cosine_svd(x, responses, (cosine_basis(n, x) for n in x.shape[-2:]))

    def _matrices(self, x: Tensor, severity: Tensor) -> tuple[Tensor, Tensor]:
        """Return the matrices of the two directions."""
        height, width = x.shape[-2:]
        rows = blur_matrix(severity.to(x.dtype), height, self.radius)
        return rows, rows if width == height else blur_matrix(severity.to(x.dtype), width, self.radius)


def blur_matrix(std: Tensor, n: int, radius: int) -> Tensor:
    """Return the matrix of a 1-D Gaussian blur with reflection, (n, n) or (B, n, n); rows sum to 1.

    Args:
        std: standard deviations in samples, () or (B,), at least 0 (0 is the identity).
        n: length of the signal.
        radius: half-width of the kernel; cut to n - 1, the most that one reflection can fill.
    """
    offset, kernel = _kernel(std, n, radius)
    kernel = kernel.unsqueeze(-2).expand(*std.shape, n, -1)
    source = (torch.arange(n, device=std.device).unsqueeze(-1) + offset).abs()
    source = torch.where(source >= n, 2 * (n - 1) - source, source).expand(kernel.shape)
    return torch.zeros(*std.shape, n, n, dtype=std.dtype, device=std.device).scatter_add(-1, source, kernel)


def blur_response(std: Tensor, n: int, radius: int) -> Tensor:
    """Return the eigenvalues of `blur_matrix` in the basis of `cosine_basis`, (n,) or (B, n)."""
    offset, kernel = _kernel(std, n, radius)
    return kernel @ _cosines(offset, n, std)


def cosine_basis(n: int, like: Tensor) -> tuple[Tensor, Tensor]:
    """Return the eigenvectors of a reflection with the edge pixel not repeated (DCT-I), as columns, and the inverse.

    Orthonormal except for the pixels at the ends, (n, n) each; device and precision are those of `like`.
    """
    k = torch.arange(n, device=like.device)
    ends = torch.where((n > 1) & ((k == 0) | (k == n - 1)), 0.5, 1.0).to(like.dtype)
    basis = _cosines(k, n, ends) * (2 / max(1, n - 1) * ends).sqrt()
    return basis, basis.mT * ends


def _kernel(std: Tensor, n: int, radius: int) -> tuple[Tensor, Tensor]:
    """Return offsets of a kernel, (k,), and its weights, (k,) or (B, k)."""
    radius = min(radius, n - 1)
    offset = torch.arange(-radius, radius + 1, device=std.device)
    exponent = -(offset.to(std.dtype) ** 2) / (2 * std.clamp(min=1e-3).unsqueeze(-1) ** 2)
    return offset, exponent.softmax(-1)


def _cosines(position: Tensor, n: int, like: Tensor) -> Tensor:
    """Return cos(pi position k / (n - 1)) for k = 0 … n - 1, one frequency a column."""
    k = torch.arange(n, device=like.device)
    # Whole periods are removed in integers: a large angle would cost single precision three digits.
    angle = (position.unsqueeze(-1) * k).remainder(max(1, 2 * (n - 1)))
    return (angle.to(like.dtype) * (math.pi / max(1, n - 1))).cos()
