"""Sliced Wasserstein distance of a set of images from a set of clean ones (Karras et al. 2018, Section 5).

A distance of distributions, which is perception in the sense of Blau and Michaeli (2018). It needs no weights.
"""

import math
from dataclasses import dataclass
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor

from diracdiff.metrics.metric import SetMetric
from diracdiff.utils.validate import check_images

LEVELS, PATCH, PATCHES, DIRECTIONS, SEED = 3, 7, 64, 256, 0
"""Levels of the pyramid, side of a patch, patches per image and level, directions, seed: all part of the metric."""

MIN_STD = 1 / 510
"""Least standard deviation of a patch's value that standardisation divides by: half a grey level.

Sets of two or more photographs exceed it, so that only nearly constant images are affected.
"""


@dataclass(frozen=True)
class Patches:
    """Patches of a Laplacian pyramid, as features.

    The places of the patches follow from the size of the images, so that sets of the same images share them.
    """

    def features(self, images: Tensor) -> Tensor:
        """Return patches of images in [0, 1], (B, C, H, W), which are clipped: (B, L, P, 49 C), float16, on the CPU.

        There are L = 3 levels, fewer where a level would be smaller than a patch. An image with a NaN has NaN patches.

        Raises:
            ValueError: if the images are no batch, or smaller than a patch.
        """
        check_images(images, "images")
        if min(images.shape[-2:]) < PATCH:
            raise ValueError(f"SWD needs images of at least {PATCH} pixels a side, got {tuple(images.shape)}")
        with torch.autocast(images.device.type, enabled=False):
            levels = [_patches(band) for band in laplacian_pyramid(images.float().clamp(0, 1))]
        return torch.stack(levels, 1).half().cpu()


def _patches(band: Tensor) -> Tensor:
    """Cut patches out of a level, (B, C, H, W), at places that follow from its size: (B, P, 49 C)."""
    generator = torch.Generator().manual_seed(SEED)
    rows, columns = (torch.randint(n - PATCH + 1, (PATCHES,), generator=generator) for n in band.shape[-2:])
    offset = torch.arange(PATCH)
    patches = band[:, :, rows.reshape(-1, 1, 1) + offset.reshape(-1, 1), columns.reshape(-1, 1, 1) + offset]
    return patches.permute(0, 2, 3, 4, 1).flatten(2)


def laplacian_pyramid(images: Tensor) -> list[Tensor]:
    """Return the difference of each level to the next one, and the last level: (B, C, H, W), (B, C, H / 2, W / 2), …"""
    levels = [images]
    while len(levels) < LEVELS and (min(levels[-1].shape[-2:]) + 1) // 2 >= PATCH:
        levels.append(_blur(levels[-1])[..., ::2, ::2])
    return [*(fine - _enlarge(coarse, fine.shape) for fine, coarse in pairwise(levels)), levels[-1]]


def _blur(images: Tensor) -> Tensor:
    kernel = torch.tensor([1.0, 4.0, 6.0, 4.0, 1.0], dtype=images.dtype, device=images.device) / 16
    channels = images.shape[1]
    for shape, padding in (((5, 1), (0, 0, 2, 2)), ((1, 5), (2, 2, 0, 0))):
        weight = kernel.reshape(1, 1, *shape).expand(channels, 1, *shape)
        images = F.conv2d(F.pad(images, padding, mode="reflect"), weight, groups=channels)
    return images


def _enlarge(images: Tensor, shape: torch.Size) -> Tensor:
    spread = images.new_zeros(shape)
    spread[..., ::2, ::2] = images
    return 4 * _blur(spread)


class SWD(SetMetric):
    """1000 times the sliced Wasserstein distance of patches, the mean over the levels, see `swd`.

    Args:
        limit: number of images whose patches are kept, 56 kB each in RGB: of a larger set so many are compared;
            at least 1.

    Raises:
        ValueError: if the limit is below 1.
    """

    title, target, higher_is_better, digits = "SWD", "swd", False, 1
    name = "swd"
    extractor = Patches()

    def __init__(self, limit: int = SetMetric.limit):
        if limit < 1:
            raise ValueError(f"limit must be at least 1 image, got {limit}")
        self.limit = limit

    def score(self, clean: Tensor, restored: Tensor, seed: int) -> float:
        return swd(clean, restored)


def swd(clean: Tensor, restored: Tensor) -> float:
    """Return 1000 times the sliced Wasserstein distance of two sets of features of `Patches`, the mean over levels.

    Patches are standardised by the mean and the standard deviation, at least MIN_STD, of every value over the
    clean set. The distance is the mean absolute difference of their sorted projections onto fixed random directions.

    Args:
        clean: patches of the clean images, (N, L, P, D): L levels, P patches of D values each.
        restored: patches of as many restored images, like `clean`.

    Returns:
        0 or more; NaN if a feature is.

    Raises:
        ValueError: if the shapes differ.
    """
    if clean.shape != restored.shape or clean.ndim != 4:
        raise ValueError(f"patches must both be (N, L, P, D), got {tuple(clean.shape)} and {tuple(restored.shape)}")
    if clean.isnan().any() or restored.isnan().any():
        return math.nan
    directions = torch.randn(clean.shape[-1], DIRECTIONS, generator=torch.Generator().manual_seed(SEED))
    directions = directions / directions.norm(dim=0)
    distances = []
    for level in zip(clean.float().unbind(1), restored.float().unbind(1), strict=True):
        real, fake = (patches.flatten(0, 1) for patches in level)
        spread, mean = torch.std_mean(real, 0)
        first, second = (
            (((patches - mean) / spread.clamp(min=MIN_STD)) @ directions).sort(0)[0] for patches in (real, fake)
        )
        distances.append((first - second).abs().mean())
    return 1000 * torch.stack(distances).mean().item()
