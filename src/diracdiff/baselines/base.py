"""The common signature of comparison methods, and the checks before anything runs."""

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


class Restored(NamedTuple):
    """The result of a method: images, (B, C, H, W), not clipped, and network calls per image."""

    images: Tensor
    calls: int


class Counted:
    """The network of a method, or None, which counts its calls."""

    sigma_min: float
    sigma_max: float

    def __init__(self, network: Prior | Denoiser | None):
        self.network, self.calls = network, 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self.network, name)

    def __call__(self, *arguments: Any) -> Tensor:
        assert self.network is not None
        self.calls += 1
        return self.network(*arguments)


class Baseline(ABC):
    """A method that restores measurements y = A(x) + sigma z.

    Results do not depend on the rest of the batch, and randomness follows from seeds.

    Attributes:
        needs_prior: it needs a denoiser for all noise levels.
        needs_linear: A must be linear.
        needs_svd: A must have a singular value decomposition in closed form.
        extra_nfe: NFE per image in addition to those of `denoiser`.
        denoiser: the method's network, used in place of the prior, or None.
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
    ) -> Restored:
        """Restore a batch.

        Args:
            measurement: y, (B, C, H, W), in the [0, 1] range up to its noise; it is not changed.
            operator: A.
            sigma: standard deviation of the noise in units of the [0, 1] range, () or (B,); positive.
            prior: a denoiser, for methods that need one.
            seeds: one per image; 0, 1, … by default.

        Raises:
            ValueError: if the method cannot work with the operator or lacks its prior, or sigma or seeds do not fit.
        """
        self.check(operator, prior)
        level = per_image(as_time(sigma, measurement), measurement)
        seeds = range(len(measurement)) if seeds is None else seeds
        if not (level > 0).all():
            raise ValueError(f"sigma={sigma}: must be positive, in units of the [0, 1] image range.")
        if len(seeds) != len(measurement):
            raise ValueError(f"seeds: must be one per image, {len(measurement)}, got {len(seeds)}.")
        noise = ImageNoise(seeds, measurement.device)
        counted = Counted(self.denoiser if self.denoiser is not None else prior)
        images = self.restore(measurement.clone(), operator, level, counted, noise)
        return Restored(images, self.extra_nfe + counted.calls)

    def check(self, operator: Operator, prior: Prior | None) -> None:
        """Raise ValueError if the method cannot work with this operator or without a prior."""
        name = type(self).__name__
        if self.needs_linear and not operator.linear:
            raise ValueError(f"{name} needs a linear degradation, and {operator.name} is not: leave {name} out")
        if self.needs_svd and operator.svd is None:
            raise ValueError(f"{name} needs a closed-form SVD, and {operator.name} has none: leave {name} out")
        if self.needs_prior and self.denoiser is None and prior is None:
            raise ValueError(f"{name} needs a prior: train one with task=prior and give prior=runs/…/best.ckpt")

    @abstractmethod
    def restore(self, y: Tensor, operator: Operator, sigma: Tensor, prior: Counted, noise: ImageNoise) -> Tensor:
        """Return restored images, (B, C, H, W). `sigma` broadcasts over y; gradients are off.

        `prior` is the method's `denoiser`, or else the common prior.
        """


class Measurement(Baseline):
    """x = y: the row that every method must beat."""

    needs_linear = False

    def restore(self, y: Tensor, operator: Operator, sigma: Tensor, prior: Counted, noise: ImageNoise) -> Tensor:
        return y
