"""Decompositions A = U S V^T of operators that keep the shape of the image.

U and V are changes of basis of an image, S multiplies every coefficient with its singular value. They are orthonormal
except in the bases of `Degradation.diagonal`, where U = V and V^T stands for the inverse.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterable

import torch
from torch import Tensor

MatrixSVD = tuple[Tensor, Tensor, Tensor, Tensor, Tensor]
"""The decomposition of one direction: S, (n,) or (B, n), then U, U^T, V and V^T, (n, n) or (B, n, n) each."""


class SVD(ABC):
    """A = U S V^T on images (B, C, H, W).

    Attributes:
        values: S, not negative, broadcasts over (B, C, H, W).
        frequencies: of rows and of columns of coefficients, (H,) and (W,), in half cycles per side; None for pixels.
    """

    values: Tensor
    frequencies: tuple[Tensor | None, Tensor | None] = (None, None)

    @abstractmethod
    def u(self, x: Tensor) -> Tensor:
        """Return U x, an image, (B, C, H, W), for coefficients x."""

    @abstractmethod
    def ut(self, x: Tensor) -> Tensor:
        """Return U^T x, coefficients, (B, C, H, W), for an image x."""

    @abstractmethod
    def v(self, x: Tensor) -> Tensor:
        """Return V x, an image, (B, C, H, W), for coefficients x."""

    @abstractmethod
    def vt(self, x: Tensor) -> Tensor:
        """Return V^T x, coefficients, (B, C, H, W), for an image x."""


class Mask(SVD):
    """Multiplication of the pixels, U = V = 1, with a mask: not negative, broadcasts over images."""

    def __init__(self, values: Tensor):
        self.values = values

    def u(self, x: Tensor) -> Tensor:
        return x

    ut = v = vt = u


class Separable(SVD):
    """x -> R x C^T, with the decompositions of R, (H, H) or (B, H, H), and of C, (W, W) or (B, W, W)."""

    def __init__(
        self, rows: MatrixSVD, columns: MatrixSVD, frequencies: tuple[Tensor | None, Tensor | None] = (None, None)
    ):
        self.values = (rows[0].unsqueeze(-1) * columns[0].unsqueeze(-2)).unsqueeze(-3)
        self.frequencies = frequencies
        self._u, self._ut, self._v, self._vt = zip(rows[1:], columns[1:], strict=True)

    def u(self, x: Tensor) -> Tensor:
        return apply_separable(*self._u, x)

    def ut(self, x: Tensor) -> Tensor:
        return apply_separable(*self._ut, x)

    def v(self, x: Tensor) -> Tensor:
        return apply_separable(*self._v, x)

    def vt(self, x: Tensor) -> Tensor:
        return apply_separable(*self._vt, x)


def matrix_svd(matrix: Tensor) -> MatrixSVD:
    """Return the singular value decomposition of a matrix, (n, n) or (B, n, n), computed in double precision."""
    u, s, vt = (part.to(matrix.dtype) for part in torch.linalg.svd(matrix.double()))
    return s, u, u.mT, vt.mT, vt


def cosine_svd(x: Tensor, responses: Iterable[Tensor], bases: Iterable[tuple[Tensor, Tensor]]) -> Separable:
    """Return the operator with a response, (n,) or (B, n), and a basis of cosines and its inverse per direction."""
    rows, columns = ((s, *basis, *basis) for s, basis in zip(responses, bases, strict=True))
    height, width = (torch.arange(n, dtype=x.dtype, device=x.device) for n in x.shape[-2:])
    return Separable(rows, columns, (height, width))


def apply_separable(rows: Tensor, columns: Tensor, image: Tensor) -> Tensor:
    """Return R x C^T for images, (B, C, H, W), and matrices per direction, with or without a batch."""
    return rows.unsqueeze(-3) @ image @ columns.unsqueeze(-3).mT
