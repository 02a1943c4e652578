"""Operators of every image's own, told by files: holes and kernels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from diracdiff.degradations import FreeformInpainting
from diracdiff.degradations.kernel_blur import extended
from diracdiff.restorer import Restorer
from diracdiff.samplers import ImageNoise
from diracdiff.seeds import image_seed


@dataclass(frozen=True)
class Told:
    """What is told of the operators of some images.

    Attributes:
        own: for `Degradation.of`.
        holes: bool (B, H, W), where files tell holes.
        kernels: whether files tell kernels.
    """

    own: Tensor | None
    holes: Tensor | None = None
    kernels: bool = False

    @classmethod
    def of(cls, restorer: Restorer, names: Sequence[str], like: Tensor, files: Sequence[Tensor] = ()) -> Told:
        """What files tell, a hole or a kernel each, of images like these, (B, C, H, W), or what follows from names.

        All of one size: how far a photograph is extended must not depend on the kernels of others.
        """
        degradation = restorer.process.degradation
        if not files:
            return cls(degradation.draw([image_seed(restorer.seed, name) for name in names], like))
        if isinstance(degradation, FreeformInpainting):
            holes = torch.stack(list(files)).to(like.device)
            return cls(degradation.holes(holes), holes)
        return cls(torch.stack(list(files)).unsqueeze(1).to(like), None, True)

    def one(self, i: int) -> Tensor | None:
        """That of one image."""
        return None if self.own is None else self.own[i : i + 1]

    def prepared(self, restorer: Restorer, images: Tensor, names: Sequence[str]) -> tuple[Tensor, int]:
        """Files' images, (B, C, H, W), as measurements, and by how many pixels they were extended to each side."""
        if self.kernels and self.own is not None:
            return extended(images, self.own)
        return (images, 0) if self.holes is None else (emptied(restorer, images, self.holes, names), 0)


def emptied(restorer: Restorer, images: Tensor, holes: Tensor, names: Sequence[str]) -> Tensor:
    """Images, (B, C, H, W), as measurements whose holes, bool (B, H, W), have noise alone, whatever they had."""
    noise = ImageNoise([image_seed(restorer.seed, name) for name in names], images.device)
    sigma = restorer.process.sigma_of_measurement(images, restorer.sampler.start)
    return torch.where(holes.unsqueeze(1), sigma * noise.normal(images.shape[1:], images.dtype), images)


def inner(images: Tensor, margin: int) -> Tensor:
    """Images, (…, H, W), without a margin."""
    height, width = images.shape[-2:]
    return images[..., margin : height - margin, margin : width - margin]
