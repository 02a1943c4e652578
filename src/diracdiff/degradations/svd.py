"""Decompositions A = U S V^T of operators that keep the shape of the image.

U and V are changes of basis of an image, S multiplies every coefficient with its singular value. They are orthonormal
except in an `Eigenbasis`, where U = V and V^T stands for the inverse.
"""

from abc import ABC, abstractmethod

import torch
from torch import Tensor


class SVD(ABC):
    """A = U S V^T on images (B, C, H, W).

    Attributes:
        values: S, not negative, broadcasts over (B, C, H, W).
        frequencies: of rows and of columns of coefficients, (H,) and (W,), in half cycles per side; None for pixels.
    """

    values: Tensor
    frequencies: tuple[Tensor | None, Tensor | None] = (None, None)

    @abstractmethod
    def u(self, coefficients: Tensor) -> Tensor:
        """Return U c: an image, (B, C, H, W)."""

    @abstractmethod
    def ut(self, image: Tensor) -> Tensor:
        """Return U^T y: coefficients, (B, C, H, W)."""

    @abstractmethod
    def v(self, coefficients: Tensor) -> Tensor:
        """Return V c: an image, (B, C, H, W)."""

    @abstractmethod
    def vt(self, image: Tensor) -> Tensor:
        """Return V^T x: coefficients, (B, C, H, W)."""


class Mask(SVD):
    """Multiplication of the pixels, U = V = 1, with a mask: not negative, broadcasts over images."""

    def __init__(self, values: Tensor):
        self.values = values

    def u(self, coefficients: Tensor) -> Tensor:
        return coefficients

    def ut(self, image: Tensor) -> Tensor:
        return image

    v, vt = u, ut


class Separable(SVD):
    """x -> R x C^T with R, (H, H) or (B, H, H), and C, (W, W) or (B, W, W)."""

    def __init__(self, rows: Tensor, columns: Tensor):
        (self._u_rows, s_rows, self._vt_rows), (self._u_columns, s_columns, self._vt_columns) = (
            tuple(part.to(matrix.dtype) for part in torch.linalg.svd(matrix.double())) for matrix in (rows, columns)
        )
        self.values = (s_rows.unsqueeze(-1) * s_columns.unsqueeze(-2)).unsqueeze(-3)

    def u(self, coefficients: Tensor) -> Tensor:
        return both_sides(self._u_rows, coefficients, self._u_columns)

    def ut(self, image: Tensor) -> Tensor:
        return both_sides(self._u_rows.mT, image, self._u_columns.mT)

    def v(self, coefficients: Tensor) -> Tensor:
        return both_sides(self._vt_rows.mT, coefficients, self._vt_columns.mT)

    def vt(self, image: Tensor) -> Tensor:
        return both_sides(self._vt_rows, image, self._vt_columns)


class Eigenbasis(SVD):
    """A = T S T^-1 with a matrix T per direction, which does not depend on t and need not be orthonormal.

    Args:
        values: S, broadcasts over (B, C, H, W).
        rows: T of the vertical direction and its inverse, (H, H) each.
        columns: T of the horizontal direction and its inverse, (W, W) each.
        frequencies: see `SVD`.
    """

    def __init__(
        self,
        values: Tensor,
        rows: tuple[Tensor, Tensor],
        columns: tuple[Tensor, Tensor],
        frequencies: tuple[Tensor | None, Tensor | None],
    ):
        self.values, self.frequencies = values, frequencies
        (self._rows, self._rows_inverse), (self._columns, self._columns_inverse) = rows, columns

    def u(self, coefficients: Tensor) -> Tensor:
        return both_sides(self._rows, coefficients, self._columns)

    def ut(self, image: Tensor) -> Tensor:
        return both_sides(self._rows_inverse, image, self._columns_inverse)

    v, vt = u, ut


def both_sides(rows: Tensor, image: Tensor, columns: Tensor) -> Tensor:
    """Return R x C^T for images, (B, C, H, W), and matrices per direction, with or without a batch."""
    return rows.unsqueeze(-3) @ image @ columns.unsqueeze(-3).mT
