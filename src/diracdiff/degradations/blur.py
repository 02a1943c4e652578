"""Gaussian blur with a time-dependent width (paper, Section 4: 61x61 kernel, std 0.3 to 3 px, reflection)."""

import math

import torch
from torch import Tensor

from diracdiff.degradations.base import REFERENCE_SIZE, Degradation
from diracdiff.degradations.svd import SVD, Separable, apply_separable, cosine_svd, matrix_svd

SUPPORT = 61


class GaussianBlur(Degradation):
    """Gaussian blur: convolution with a sampled, normalised Gaussian kernel.

    Images are reflected at the border without repetition of the edge pixel. The severity is the standard deviation in
    pixels at 256 px. The support of the kernel is 61 pixels at 256 px and scales with `image_size`. The blur is
    separable, and each direction is one matrix, (B, n, n), that includes the reflection.

    A_0 differs from the identity by 2 exp(-1 / (2 std^2)) per direction: 8e-3 at the paper's 0.3 px.
    """

    @property
    def radius(self) -> int:
        """Half-width of the kernel in pixels, 30 at 256 px."""
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
        """Return the matrices of the vertical and the horizontal direction."""
        height, width = x.shape[-2:]
        rows = blur_matrix(severity.to(x.dtype), height, self.radius)
        return rows, rows if width == height else blur_matrix(severity.to(x.dtype), width, self.radius)


def blur_matrix(std: Tensor, n: int, radius: int) -> Tensor:
    """Return the matrix of a one-dimensional Gaussian blur with reflection. Each row sums to 1.

    Args:
        std: standard deviations in samples, () or (B,), at least 0. 0 is the identity.
        n: length of the signal.
        radius: half-width of the kernel, limited to n - 1 because the signal is reflected once.

    Returns:
        Matrices, (n, n) or (B, n, n).
    """
    offset, kernel = _kernel(std, n, radius)
    kernel = kernel.unsqueeze(-2).expand(*std.shape, n, -1)
    source = (torch.arange(n, device=std.device).unsqueeze(-1) + offset).abs()
    source = torch.where(source >= n, 2 * (n - 1) - source, source).expand(kernel.shape)
    return torch.zeros(*std.shape, n, n, dtype=std.dtype, device=std.device).scatter_add(-1, source, kernel)


def blur_response(std: Tensor, n: int, radius: int) -> Tensor:
    """Return the eigenvalues of `blur_matrix` in the basis of `cosine_basis`, (n,) or (B, n).

    The arguments are those of `blur_matrix`.
    """
    offset, kernel = _kernel(std, n, radius)
    return kernel @ _cosines(offset, n, std)


def cosine_basis(n: int, like: Tensor) -> tuple[Tensor, Tensor]:
    """Return the basis of the DCT-I and its inverse.

    Its columns are the eigenvectors of symmetric filters with reflection without repetition of the edge sample. They
    are orthonormal except at the first and the last sample.

    Args:
        n: length of the signal.
        like: tensor that defines precision and device.

    Returns:
        The basis and its inverse, (n, n) each.
    """
    k = torch.arange(n, device=like.device)
    ends = torch.where((n > 1) & ((k == 0) | (k == n - 1)), 0.5, 1.0).to(like.dtype)
    basis = _cosines(k, n, ends) * (2 / max(1, n - 1) * ends).sqrt()
    return basis, basis.mT * ends


def _kernel(std: Tensor, n: int, radius: int) -> tuple[Tensor, Tensor]:
    """Return the offsets, (k,), and the weights, (k,) or (B, k), of a kernel."""
    radius = min(radius, n - 1)
    offset = torch.arange(-radius, radius + 1, device=std.device)
    exponent = -(offset.to(std.dtype) ** 2) / (2 * std.clamp(min=1e-3).unsqueeze(-1) ** 2)
    return offset, exponent.softmax(-1)


def _cosines(position: Tensor, n: int, like: Tensor) -> Tensor:
    """Return cos(pi position k / (n - 1)) with one column per frequency k = 0 … n - 1."""
    k = torch.arange(n, device=like.device)
    # Integers remove whole periods exactly. Large angles would lose three digits in single precision.
    angle = (position.unsqueeze(-1) * k).remainder(max(1, 2 * (n - 1)))
    return (angle.to(like.dtype) * (math.pi / max(1, n - 1))).cos()
