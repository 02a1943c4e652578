"""Inpainting with a mask in the centre of the image that grows with t. A_t(x) = m_t * x.

The centre lies between pixels, so that the mask of width 0 hides nothing whatever the parity of the size.
"""

from abc import abstractmethod

import torch
from torch import Tensor

from diracdiff.degradations.base import REFERENCE_SIZE, Degradation
from diracdiff.degradations.severity import Severity
from diracdiff.degradations.svd import SVD, Mask
from diracdiff.utils.validate import check_between


class Masking(Degradation):
    """Multiplication with a mask of values in [0, 1]."""

    def apply(self, x: Tensor, severity: Tensor) -> Tensor:
        return self.masks(x, severity) * x

    def decompose(self, x: Tensor, severity: Tensor) -> SVD:
        return Mask(self.masks(x, severity))

    diagonalise = decompose

    @abstractmethod
    def masks(self, x: Tensor, severity: Tensor) -> Tensor:
        """Return masks that broadcast over images like x, (B, C, H, W), for a severity as in `apply`."""


class GaussianInpainting(Masking):
    """m = (1 - g(u; s) / g(0; s))^4 with an isotropic Gaussian density g of standard deviation s.

    The severity is s in pixels at 256 px (paper, Section 4: 0.1 to 50 px for faces, to 30 px for ImageNet).

    Args:
        severity: s over t.
        image_size: side in pixels of the training images.
        centre: position of the centre in pixels from pixel n // 2: between pixels (-0.5), or on that pixel (0), as in
            the authors' code; then A_0 hides this one pixel.
    """

    def __init__(self, severity: Severity, image_size: int = REFERENCE_SIZE, centre: float = -0.5):
        super().__init__(severity, image_size)
        check_between(-1, 1, centre=centre)
        self.centre = float(centre)

    def masks(self, x: Tensor, severity: Tensor) -> Tensor:
        rows, columns = _from_centre(x, self.centre)
        severity = severity.to(x.dtype).reshape(*severity.shape, 1, 1, 1)
        return (-torch.expm1(-(rows**2 + columns**2) / (2 * severity.clamp(min=1e-3) ** 2))) ** 4


class BoxInpainting(Masking):
    """A centred box is masked; its side is the severity, in pixels at 256 px (paper, Definition 3.1).

    A rim one pixel wide, in which the mask is the fraction of the pixel outside the box, makes it continuous in t.
    """

    def masks(self, x: Tensor, severity: Tensor) -> Tensor:
        severity = severity.to(x.dtype).reshape(*severity.shape, 1, 1, 1)
        rows, columns = ((severity / 2 - distance.abs() + 0.5).clamp(0, 1) for distance in _from_centre(x, -0.5))
        return 1 - rows * columns


def _from_centre(x: Tensor, centre: float) -> tuple[Tensor, Tensor]:
    """Return the distances of pixels from the centre, (H, 1) and (W,), which is `centre` pixels from pixel n // 2."""
    rows, columns = (torch.arange(n, dtype=x.dtype, device=x.device) - (n // 2 + centre) for n in x.shape[-2:])
    return rows.unsqueeze(-1), columns
