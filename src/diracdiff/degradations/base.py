"""The interface of a degradation process (paper, Definition 3.1).

A_0 is the identity and A_t is more severe than A_s for s < t: there is a transition G with A_t = G(A_s). A severity
curve maps t to the family's one parameter (a width, a factor, a fraction).

Widths are given in pixels of a 256-pixel image and scale with `image_size`, the side of the training images, not with
the image that is restored. Factors and fractions (`in_pixels = False`) do not scale.
"""

import copy
import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Self

import torch
from torch import Tensor

from diracdiff.degradations.severity import LinearSeverity, Severity
from diracdiff.degradations.svd import SVD, Mask
from diracdiff.utils.shapes import as_time
from diracdiff.utils.validate import COMPUTED_IN, check_count, check_images

REFERENCE_SIZE = 256
TOLERANCE = 1e-6
"""Tolerance of times, in which rounding must not decide."""


class Degradation(ABC):
    """A_t, batched over t, closed form, differentiable in x and t, on the device of x.

    Args:
        severity: maps t of any shape, in [0, 1], to the parameter of the family: in pixels at 256 px, or without
            a unit where `in_pixels` is False.
        image_size: side in pixels of the training images; pixels scale by `image_size / 256`.

    Attributes:
        linear: A_t(x) - A_t(x') = A_t(x - x').
        in_pixels: the severity is a length, which scales with `image_size`.
        limits: the lowest and the highest severity of the family.

    Raises:
        ValueError: if `image_size` is not positive or the severity leaves `limits` at t = 0 or t = 1.
    """

    linear: bool = True
    in_pixels: bool = True
    limits: tuple[float, float] = (0.0, math.inf)

    def __init__(self, severity: Severity, image_size: int = REFERENCE_SIZE):
        check_count(image_size, "image_size")
        ends, (low, high) = severity(torch.tensor([0.0, 1.0])), self.limits
        if not ((ends >= low) & (ends <= high) & ends.isfinite()).all():
            rule = f"severity of {type(self).__name__} must lie in [{low:g}, {high:g}]"
            raise ValueError(f"{rule}, got {ends.tolist()} at t = 0 and t = 1")
        self.severity, self.image_size = severity, image_size

    def __call__(self, x: Tensor, t: float | Tensor) -> Tensor:
        """Return A_t(x), (B, C, H, W), in the precision of x even under autocast.

        Args:
            x: images, (B, C, H, W).
            t: times in [0, 1], () or (B,).

        Raises:
            ValueError: if x is no batch of float32 or float64 images, t lies outside [0, 1], or `apply` returns another
                shape than that of x.
        """
        check_images(x, "x", dtypes=COMPUTED_IN)
        with torch.autocast(x.device.type, enabled=False):
            degraded = self.apply(x, self._severity_at(x, t))
        if degraded.shape != x.shape:
            shapes = f"{tuple(x.shape)}, got {tuple(degraded.shape)}"
            raise ValueError(f"{type(self).__name__}.apply must keep the shape of x, {shapes}")
        return degraded

    def svd(self, x: Tensor, t: float | Tensor) -> SVD | None:
        """Return the decomposition of A_t on images like x, (B, C, H, W), t () or (B,); None without a closed form."""
        return self.decompose(x, self._severity_at(x, t)) if self.linear else None

    def diagonal(self, x: Tensor, t: float | Tensor) -> SVD | None:
        """Return A_t on images like x, (B, C, H, W), in a basis that is the same for every t, () or (B,).

        White noise in pixels is white noise in the basis, except for the pixels at the border. None without a closed
        form.
        """
        return self.diagonalise(x, self._severity_at(x, t)) if self.linear else None

    def _severity_at(self, x: Tensor, t: float | Tensor) -> Tensor:
        if not isinstance(t, Tensor) and not -TOLERANCE <= t <= 1 + TOLERANCE:
            raise ValueError(f"t={t}: must lie in [0, 1].")
        return self.severity(as_time(t, x)) * (self.image_size / REFERENCE_SIZE if self.in_pixels else 1.0)

    @abstractmethod
    def apply(self, x: Tensor, severity: Tensor) -> Tensor:
        """Degrade x, (B, C, H, W), with the parameter `severity`, () or (B,), in pixels of x where `in_pixels`."""

    def decompose(self, x: Tensor, severity: Tensor) -> SVD | None:
        """Return `svd` for the parameter `severity`, see `apply`."""
        return None

    def diagonalise(self, x: Tensor, severity: Tensor) -> SVD | None:
        """Return `diagonal` for the parameter `severity`, see `apply`."""
        return None

    @property
    def is_bound(self) -> bool:
        """The operator of every image is fixed; False for per-image operators without their parameters."""
        return True

    def sample_params(self, seeds: Sequence[int], like: Tensor) -> Tensor | None:
        """Draw the parameters, (B, …), of per-image operators for images like `like`, (B, C, H, W), one seed each.

        None where all images have the same operator.
        """
        return None

    def bind(self, params: Tensor | None) -> Self:
        """Return this degradation with the per-image parameters `params`, (B, …); itself for None.

        Raises:
            ValueError: if all images have the same operator and params are given.
        """
        if params is not None:
            raise ValueError(f"params: {type(self).__name__} has no per-image parameters. Leave them out.")
        return self


class PerImageDegradation(Degradation):
    """A degradation whose operator differs from image to image, such as a kernel or a mask.

    Unbound, all images have the operator of seed 0.

    Attributes:
        params: per-image parameters, (B or 1, …), set by `bind`; None: unbound.
    """

    params: Tensor | None = None

    @property
    def is_bound(self) -> bool:
        return self.params is not None

    @abstractmethod
    def sample_params(self, seeds: Sequence[int], like: Tensor) -> Tensor: ...

    def bind(self, params: Tensor | None) -> Self:
        if params is None:
            return self
        bound = copy.copy(self)
        bound.params = params
        return bound

    def params_for(self, x: Tensor) -> Tensor:
        """Return the parameters, (B or 1, …), in the precision and on the device of images, (B, C, H, W).

        Raises:
            ValueError: if they belong to another number of images.
        """
        params = self.sample_params([0], x) if self.params is None else self.params.to(x)
        if len(params) not in (1, len(x)):
            raise ValueError(f"operators of {len(params)} images do not fit images of {tuple(x.shape)}")
        return params


class Identity(Degradation):
    """A_t(x) = x for every t: the process is a variance-exploding diffusion (Song et al. 2021).

    Args:
        severity: not used; 0 at all times by default.
        image_size: side in pixels of the training images; not used.
    """

    in_pixels = False

    def __init__(self, severity: Severity | None = None, image_size: int = REFERENCE_SIZE):
        super().__init__(LinearSeverity(0, 0) if severity is None else severity, image_size)

    def apply(self, x: Tensor, severity: Tensor) -> Tensor:
        return x

    def decompose(self, x: Tensor, severity: Tensor) -> SVD:
        return Mask(torch.ones(*severity.shape, 1, 1, 1, dtype=x.dtype, device=x.device))

    diagonalise = decompose
