"""Common interface of comparison methods."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from diracdiff.baselines.prior import Prior
from diracdiff.degradations import Operator
from diracdiff.models import Denoiser
from diracdiff.samplers import ImageNoise
from diracdiff.utils.shapes import as_time, per_image


class BaselineOutput(NamedTuple):
    """Output of a comparison method.

    Attributes:
        images: restored images, (B, C, H, W), not clipped.
        nfe: number of function evaluations (NFE) per image.
    """

    images: Tensor
    nfe: int


class CountingNetwork:
    """Wrapper of a network that counts its function evaluations in `nfe`.

    Args:
        network: prior or denoiser; None for methods without a network.
    """

    sigma_min: float
    sigma_max: float

    def __init__(self, network: Prior | Denoiser | None):
        self.network, self.nfe = network, 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self.network, name)

    def __call__(self, *arguments: Any) -> Tensor:
        assert self.network is not None
        self.nfe += 1
        return self.network(*arguments)


class Baseline(ABC):
    """Base class of methods that restore measurements y = A(x) + sigma z.

    The result of an image does not depend on other images of the batch. Its randomness is determined by its seed.

    Attributes:
        needs_prior: True if the method needs a denoiser for all noise levels.
        needs_linear: True if A must be linear.
        needs_svd: True if A must have a singular value decomposition in closed form.
        extra_nfe: NFE per image in addition to those of `denoiser`.
        denoiser: network to use instead of the prior, or None.
    """

    needs_prior: bool = False
    needs_linear: bool = True
    needs_svd: bool = False
    extra_nfe: int = 0
    denoiser: Prior | Denoiser | None = None

    @torch.no_grad()
    def __call__(
        self,
        measurement: Tensor,
        operator: Operator,
        sigma: float | Tensor,
        prior: Prior | None = None,
        seeds: Sequence[int] | None = None,
    ) -> BaselineOutput:
        """Restore a batch of measurements.

        Args:
            measurement: measurements y, (B, C, H, W), in the [0, 1] range up to noise; not modified.
            operator: degradation operator A.
            sigma: standard deviation of the noise in units of the [0, 1] range, positive, () or (B,).
            prior: denoiser, for methods that need a prior.
            seeds: seed of each image; 0, 1, ... by default.

        Returns:
            Restored images and NFE.

        Raises:
            ValueError: if the method does not support the operator or needs a prior, or `sigma` or `seeds` are invalid.
        """
        self.check(operator, prior)
        level = per_image(as_time(sigma, measurement), measurement)
        seeds = range(len(measurement)) if seeds is None else seeds
        if not (level > 0).all():
            raise ValueError(f"sigma={sigma}: must be positive, in units of the [0, 1] image range.")
        if len(seeds) != len(measurement):
            raise ValueError(f"seeds: must be one per image, {len(measurement)}, got {len(seeds)}.")
        noise = ImageNoise(seeds, measurement.device)
        network = CountingNetwork(self.denoiser if self.denoiser is not None else prior)
        images = self.restore(measurement.clone(), operator, level, network, noise)
        return BaselineOutput(images, self.extra_nfe + network.nfe)

    def check(self, operator: Operator, prior: Prior | None) -> None:
        """Check that the method supports an operator and has its prior.

        Args:
            operator: degradation operator.
            prior: denoiser, or None.

        Raises:
            ValueError: if the operator is not supported, or a prior is missing.
        """
        name = type(self).__name__
        if self.needs_linear and not operator.linear:
            raise ValueError(f"{name}: needs a linear degradation, and {operator.name} is not linear. Omit {name}.")
        if self.needs_svd and operator.svd is None:
            raise ValueError(f"{name}: needs a closed-form SVD, and {operator.name} has none. Omit {name}.")
        if self.needs_prior and self.denoiser is None and prior is None:
            raise ValueError(f"{name}: needs a prior. Train one with task=prior and set prior=runs/…/best.ckpt.")

    @abstractmethod
    def restore(
        self, y: Tensor, operator: Operator, sigma: Tensor, prior: CountingNetwork, noise: ImageNoise
    ) -> Tensor:
        """Restore a batch, without gradients.

        Args:
            y: measurements, (B, C, H, W).
            operator: degradation operator A.
            sigma: standard deviation of the noise, broadcastable to y.
            prior: `denoiser` of the method, or the common prior.
            noise: random streams of the images.

        Returns:
            Restored images, (B, C, H, W), not clipped.
        """


class Measurement(Baseline):
    """Identity baseline x = y, as a reference for all methods."""

    needs_linear = False

    def restore(
        self, y: Tensor, operator: Operator, sigma: Tensor, prior: CountingNetwork, noise: ImageNoise
    ) -> Tensor:
        return y
