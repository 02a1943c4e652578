"""No degradation except noise."""

import torch
from torch import Tensor

from diracdiff.degradations.base import REFERENCE_SIZE, Degradation, Severity
from diracdiff.degradations.severity import LinearSeverity
from diracdiff.degradations.svd import SVD, Mask


class Identity(Degradation):
    """A_t(x) = x for every t: the process is a variance-exploding diffusion (Song et al. 2021).

    Args:
        severity: not used; 0 at all times by default.
        image_size: side in pixels of the training images; not used.
    """

    in_pixels = False

    def __init__(self, severity: Severity | None = None, image_size: int = REFERENCE_SIZE):
        super().__init__(LinearSeverity(0, 0) if severity is None else severity, image_size)

    def apply(self, x: Tensor, size: Tensor) -> Tensor:
        return x

    def decompose(self, x: Tensor, size: Tensor) -> SVD:
        return Mask(torch.ones(*size.shape, 1, 1, 1, dtype=x.dtype, device=x.device))

    diagonalise = decompose
