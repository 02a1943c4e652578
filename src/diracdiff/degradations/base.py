"""Interface of deterministic degradation processes (paper, Definition 3.1).

A_0 is the identity. A_t is more severe than A_s for s < t: there is a transition G with A_t = G(A_s). A severity curve
maps t to the severity, the only parameter of a family of operators: a width, a factor or a fraction.

Widths are in pixels of an image of 256 x 256 pixels. They scale with `image_size`, the side of the training images, and
not with the restored image. Factors and fractions (`in_pixels = False`) do not scale.
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
"""Tolerance for rounding errors of times."""


class Degradation(ABC):
    """Base class of degradation processes A_t.

    Subclasses implement `apply` in closed form, batched over t, and differentiable in x and t.

    Args:
        severity: severity curve. Maps times in [0, 1] of any shape to severities, in pixels at 256 px, or without a
            unit if `in_pixels` is False.
        image_size: side of the training images in pixels, at least 1. Lengths scale by `image_size / 256`.

    Attributes:
        linear: A_t(x) - A_t(x') = A_t(x - x').
        in_pixels: the severity is a length in pixels and scales with `image_size`.
        limits: smallest and largest severity of the family.

    Raises:
        ValueError: if `image_size` is not positive, or the severity at t = 0 or t = 1 is outside `limits`.
    """

    linear: bool = True
    in_pixels: bool = True
    limits: tuple[float, float] = (0.0, math.inf)

    def __init__(self, severity: Severity, image_size: int = REFERENCE_SIZE):
        check_count(image_size, "image_size")
        ends, (low, high) = severity(torch.tensor([0.0, 1.0])), self.limits
        if not ((ends >= low) & (ends <= high) & ends.isfinite()).all():
            rule = f"must lie in [{low:g}, {high:g}] for {type(self).__name__}"
            raise ValueError(f"severity: {rule}, got {ends.tolist()} at t = 0 and t = 1. Change the severity curve.")
        self.severity, self.image_size = severity, image_size

    def __call__(self, x: Tensor, t: float | Tensor) -> Tensor:
        """Return A_t(x), (B, C, H, W), in the precision of x even under autocast.

        Args:
            x: images, (B, C, H, W), float32 or float64.
            t: times in [0, 1], () or (B,).

        Raises:
            ValueError: if x is not a batch of float32 or float64 images, t is outside [0, 1], or `apply` changes the
                shape of x.
        """
        check_images(x, "x", dtypes=COMPUTED_IN)
        with torch.autocast(x.device.type, enabled=False):
            degraded = self.apply(x, self._severity_at(x, t))
        if degraded.shape != x.shape:
            shapes = f"{tuple(x.shape)}, got {tuple(degraded.shape)}"
            raise ValueError(f"{type(self).__name__}.apply: must keep the shape of x, {shapes}.")
        return degraded

    def svd(self, x: Tensor, t: float | Tensor) -> SVD | None:
        """Return the singular value decomposition of A_t, or None without a closed form.

        Args:
            x: images, (B, C, H, W), that define size, precision and device.
            t: times in [0, 1], () or (B,).
        """
        return self.decompose(x, self._severity_at(x, t)) if self.linear else None

    def diagonal(self, x: Tensor, t: float | Tensor) -> SVD | None:
        """Return a diagonal form of A_t in a basis that is the same for all t, or None without a closed form.

        White noise of the pixels is white noise in this basis, except for the pixels at the border.

        Args:
            x: images, (B, C, H, W), that define size, precision and device.
            t: times in [0, 1], () or (B,).
        """
        return self.diagonalise(x, self._severity_at(x, t)) if self.linear else None

    def _severity_at(self, x: Tensor, t: float | Tensor) -> Tensor:
        if not isinstance(t, Tensor) and not -TOLERANCE <= t <= 1 + TOLERANCE:
            raise ValueError(f"t={t}: must lie in [0, 1].")
        return self.severity(as_time(t, x)) * (self.image_size / REFERENCE_SIZE if self.in_pixels else 1.0)

    @abstractmethod
    def apply(self, x: Tensor, severity: Tensor) -> Tensor:
        """Degrade images.

        Args:
            x: images, (B, C, H, W).
            severity: severities, () or (B,), in pixels of x if `in_pixels`.

        Returns:
            Degraded images, like x.
        """

    def decompose(self, x: Tensor, severity: Tensor) -> SVD | None:
        """Return the singular value decomposition for a severity, see `svd` and `apply`."""
        return None

    def diagonalise(self, x: Tensor, severity: Tensor) -> SVD | None:
        """Return the diagonal form for a severity, see `diagonal` and `apply`."""
        return None

    @property
    def is_bound(self) -> bool:
        """True unless the operators are per-image and their parameters are not set."""
        return True

    def sample_params(self, seeds: Sequence[int], like: Tensor) -> Tensor | None:
        """Draw random parameters of per-image operators.

        Args:
            seeds: one seed per image.
            like: images, (B, C, H, W), that define size, precision and device.

        Returns:
            Parameters, (B, …), or None if all images have the same operator.
        """
        return None

    def bind(self, params: Tensor | None) -> Self:
        """Return a copy of this degradation with per-image parameters.

        Args:
            params: parameters, (B, …). None: return this degradation.

        Raises:
            ValueError: if all images have the same operator and `params` is not None.
        """
        if params is not None:
            raise ValueError(f"params: {type(self).__name__} has no per-image parameters. Leave them out.")
        return self


class PerImageDegradation(Degradation):
    """Base class of degradations with one operator per image, such as a kernel or a mask.

    Before `bind`, all images have the operator of seed 0.

    Attributes:
        params: per-image parameters, (B or 1, …), set by `bind`, or None.
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
            ValueError: if the number of parameters is neither 1 nor the number of images.
        """
        params = self.sample_params([0], x) if self.params is None else self.params.to(x)
        if len(params) not in (1, len(x)):
            rule = f"must have 1 or {len(x)} entries for images of {tuple(x.shape)}, got {len(params)}"
            raise ValueError(f"params: {rule}. Bind one operator per image.")
        return params


class Identity(Degradation):
    """Identity A_t(x) = x. The process is a variance-exploding diffusion (Song et al. 2021).

    Args:
        severity: severity curve, not used. None: 0 at all times.
        image_size: side of the training images in pixels, not used.
    """

    in_pixels = False

    def __init__(self, severity: Severity | None = None, image_size: int = REFERENCE_SIZE):
        super().__init__(LinearSeverity(0, 0) if severity is None else severity, image_size)

    def apply(self, x: Tensor, severity: Tensor) -> Tensor:
        return x

    def decompose(self, x: Tensor, severity: Tensor) -> SVD:
        return Mask(torch.ones(*severity.shape, 1, 1, 1, dtype=x.dtype, device=x.device))

    diagonalise = decompose
