"""Inpainting with a centred mask that grows with t, A_t(x) = m_t * x.

The centre is between pixels, so that a mask of width 0 hides no pixel for even and odd image sizes.
"""

from abc import abstractmethod

import torch
from torch import Tensor

from diracdiff.degradations.base import REFERENCE_SIZE, Degradation
from diracdiff.degradations.severity import Severity
from diracdiff.degradations.svd import SVD, Mask
from diracdiff.utils.validate import check_between


class Masking(Degradation):
    """Base class of degradations that multiply images with a mask in [0, 1]."""

    def apply(self, x: Tensor, severity: Tensor) -> Tensor:
        return self.masks(x, severity) * x

    def decompose(self, x: Tensor, severity: Tensor) -> SVD:
        return Mask(self.masks(x, severity))

    diagonalise = decompose

    @abstractmethod
    def masks(self, x: Tensor, severity: Tensor) -> Tensor:
        """Return masks in [0, 1] that broadcast over images x, (B, C, H, W), for a severity as in `apply`."""


class GaussianInpainting(Masking):
    """Gaussian mask m = (1 - g(u; s) / g(0; s))^4 with an isotropic Gaussian density g of standard deviation s.

    The severity is s in pixels at 256 px (paper, Section 4: 0.1 to 50 px for CelebA-HQ, to 30 px for ImageNet).

    Args:
        severity: standard deviation s over t, in pixels at 256 px, at least 0.
        image_size: side of the training images in pixels.
        centre: offset of the centre from pixel n // 2 in pixels, in [-1, 1]. -0.5 is between pixels. With 0, as in the
            authors' code, A_0 masks the central pixel.

    Raises:
        ValueError: if an argument is out of range.
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
    """Box mask in the centre of the image (paper, Definition 3.1).

    The severity is the side of the box in pixels at 256 px. The mask of a pixel is the fraction of its area outside the
    box, so it is continuous in t.
    """

    def masks(self, x: Tensor, severity: Tensor) -> Tensor:
        severity = severity.to(x.dtype).reshape(*severity.shape, 1, 1, 1)
        rows, columns = ((severity / 2 - distance.abs() + 0.5).clamp(0, 1) for distance in _from_centre(x, -0.5))
        return 1 - rows * columns


def _from_centre(x: Tensor, centre: float) -> tuple[Tensor, Tensor]:
    """Return vertical and horizontal distances from the centre, (H, 1) and (W,), in pixels."""
    rows, columns = (torch.arange(n, dtype=x.dtype, device=x.device) - (n // 2 + centre) for n in x.shape[-2:])
    return rows.unsqueeze(-1), columns
