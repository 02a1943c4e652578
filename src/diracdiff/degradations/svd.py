"""Singular value decompositions A = U S V^T of operators that keep the shape of the image.

U and V are changes of basis. S multiplies each coefficient with its singular value. The bases are orthonormal, except
those of `Degradation.diagonal`, where U = V and V^T denotes the inverse of V.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterable

import torch
from torch import Tensor

MatrixSVD = tuple[Tensor, Tensor, Tensor, Tensor, Tensor]
"""Decomposition of the matrix of one direction: S, (n,) or (B, n), then U, U^T, V and V^T, (n, n) or (B, n, n) each."""


class SVD(ABC):
    """Decomposition A = U S V^T of an operator on images, (B, C, H, W).

    Attributes:
        values: singular values S, at least 0. They broadcast over (B, C, H, W).
        frequencies: frequencies of the rows, (H,), and columns, (W,), of coefficients in half cycles per side. None for
            an axis of pixels.
    """

    values: Tensor
    frequencies: tuple[Tensor | None, Tensor | None] = (None, None)

    @abstractmethod
    def u(self, x: Tensor) -> Tensor:
        """Return U x, images, (B, C, H, W), for coefficients x, (B, C, H, W)."""

    @abstractmethod
    def ut(self, x: Tensor) -> Tensor:
        """Return U^T x, coefficients, (B, C, H, W), for images x, (B, C, H, W)."""

    @abstractmethod
    def v(self, x: Tensor) -> Tensor:
        """Return V x, images, (B, C, H, W), for coefficients x, (B, C, H, W)."""

    @abstractmethod
    def vt(self, x: Tensor) -> Tensor:
        """Return V^T x, coefficients, (B, C, H, W), for images x, (B, C, H, W)."""


class Mask(SVD):
    """Decomposition of the multiplication with a mask, U = V = I.

    Args:
        values: mask, at least 0. It broadcasts over images, (B, C, H, W).
    """

    def __init__(self, values: Tensor):
        self.values = values

    def u(self, x: Tensor) -> Tensor:
        return x

    ut = v = vt = u


class Separable(SVD):
    """Decomposition of a separable operator x -> R x C^T.

    Args:
        rows: decomposition of R, (H, H) or (B, H, H).
        columns: decomposition of C, (W, W) or (B, W, W).
        frequencies: see `SVD`.
    """

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
    """Return the singular value decomposition of matrices, (n, n) or (B, n, n), computed in double precision."""
    u, s, vt = (part.to(matrix.dtype) for part in torch.linalg.svd(matrix.double()))
    return s, u, u.mT, vt.mT, vt


def cosine_svd(x: Tensor, responses: Iterable[Tensor], bases: Iterable[tuple[Tensor, Tensor]]) -> Separable:
    """Return the decomposition of a separable operator that is diagonal in bases of cosines.

    Args:
        x: images, (B, C, H, W), that define size, precision and device.
        responses: eigenvalues of the vertical and the horizontal direction, (n,) or (B, n) each.
        bases: basis and inverse basis of each direction, (n, n) each.
    """
    rows, columns = ((s, *basis, *basis) for s, basis in zip(responses, bases, strict=True))
    height, width = (torch.arange(n, dtype=x.dtype, device=x.device) for n in x.shape[-2:])
    return Separable(rows, columns, (height, width))


def apply_separable(rows: Tensor, columns: Tensor, image: Tensor) -> Tensor:
    """Return R x C^T, (B, C, H, W).

    Args:
        rows: matrix R, (H, H) or (B, H, H).
        columns: matrix C, (W, W) or (B, W, W).
        image: images x, (B, C, H, W).
    """
    return rows.unsqueeze(-3) @ image @ columns.unsqueeze(-3).mT
