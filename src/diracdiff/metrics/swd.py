"""Sliced Wasserstein distance of a set of images from a set of clean ones (Karras et al. 2018, Section 5).

It is a distance of distributions, what perception means in Blau and Michaeli (2018), and needs no weights.
"""

import math
from functools import lru_cache
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor

from diracdiff.metrics.metric import SetMetric
from diracdiff.utils.errors import UserError
from diracdiff.utils.validate import check_images

LEVELS, PATCH, PATCHES, DIRECTIONS, SEED = 3, 7, 64, 256, 0
"""Levels of the pyramid, side of a patch, patches per image and level, directions, seed: all part of the metric."""

LEAST_SPREAD = 1 / 510
"""Standard deviation of a patch's value, in units of the [0, 1] range, that standardisation divides by at least.

Half a grey level. Sets of two or more photographs have larger ones, so that only nearly constant images are affected.
"""


class Patches:
    """Patches of a Laplacian pyramid, as features.

    The places of the patches follow from the size of the images, so that sets of the same images share them.
    """

    def features(self, images: Tensor) -> Tensor:
        """Patches of images in [0, 1], (B, C, H, W), which are clipped: (B, L, P, 49 C), half precision, on the CPU.

        There are L = 3 levels, fewer where a level would be smaller than a patch. An image with a NaN has NaN patches.

        Raises:
            UserError: if the images are no batch, or smaller than a patch.
        """
        check_images(images, "images")
        if min(images.shape[-2:]) < PATCH:
            raise UserError(f"SWD needs images of at least {PATCH} pixels a side, got {tuple(images.shape)}")
        with torch.autocast(images.device.type, enabled=False):
            found = [self._patches(band) for band in laplacian_pyramid(images.float().clamp(0, 1))]
        return torch.stack(found, 1).half().cpu()

    @staticmethod
    def _patches(band: Tensor) -> Tensor:
        """(B, P, 49 C)."""
        rows, columns = _places(*band.shape[-2:])
        offset = torch.arange(PATCH)
        cut = band[:, :, rows.reshape(-1, 1, 1) + offset.reshape(-1, 1), columns.reshape(-1, 1, 1) + offset]
        return cut.permute(0, 2, 3, 4, 1).flatten(2)


@lru_cache
def _places(height: int, width: int) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(SEED)
    rows, columns = (torch.randint(n - PATCH + 1, (PATCHES,), generator=generator) for n in (height, width))
    return rows, columns


def laplacian_pyramid(images: Tensor) -> list[Tensor]:
    """What each level adds to the next one, and the last level itself: (B, C, H, W), (B, C, H / 2, W / 2), …"""
    levels = [images]
    while len(levels) < LEVELS and (min(levels[-1].shape[-2:]) + 1) // 2 >= PATCH:
        levels.append(_blurred(levels[-1])[..., ::2, ::2])
    finer = [fine - _enlarged(coarse, fine.shape) for fine, coarse in pairwise(levels)]
    return [*finer, levels[-1]]


def _blurred(images: Tensor) -> Tensor:
    kernel = torch.tensor([1.0, 4.0, 6.0, 4.0, 1.0], dtype=images.dtype, device=images.device) / 16
    channels = images.shape[1]
    for shape in ((5, 1), (1, 5)):
        padded = F.pad(images, (0, 0, 2, 2) if shape == (5, 1) else (2, 2, 0, 0), mode="reflect")
        images = F.conv2d(padded, kernel.reshape(1, 1, *shape).expand(channels, 1, *shape), groups=channels)
    return images


def _enlarged(images: Tensor, shape: torch.Size) -> Tensor:
    spread = images.new_zeros(shape)
    spread[..., ::2, ::2] = images
    return 4 * _blurred(spread)


SHARED = Patches()


class SWD(SetMetric):
    """1000 times the sliced Wasserstein distance of patches, the mean over the levels, see `swd`.

    Args:
        limit: of images: of a larger set an evaluation judges so many, and keeps 56 kB of each in RGB; at least 1.

    Raises:
        ValueError: if the limit breaks its rule.
    """

    title, target, higher_is_better, digits = "SWD", "swd", False, 1
    name = "swd"
    extractor = SHARED

    def __init__(self, limit: int = SetMetric.limit):
        if limit < 1:
            raise ValueError(f"limit must be at least 1 image, got {limit}")
        self.limit = limit

    def score(self, clean: Tensor, restored: Tensor, seed: int) -> float:
        return swd(clean, restored)


def swd(clean: Tensor, restored: Tensor) -> float:
    """1000 times the mean over levels of the sliced Wasserstein distance between two sets of features of `Patches`.

    Patches are standardised by the mean and the standard deviation, at least LEAST_SPREAD, of every value over the
    clean set; the distance is the mean absolute difference of their sorted projections onto random unit directions,
    which are always the same.

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
    distances = []
    for sets in zip(clean.float().unbind(1), restored.float().unbind(1), strict=True):
        real, fake = (patches.flatten(0, 1) for patches in sets)
        spread, mean = torch.std_mean(real, 0)
        directions = _directions(real.shape[1])
        lines = (
            (((patches - mean) / spread.clamp(min=LEAST_SPREAD)) @ directions).sort(0)[0] for patches in (real, fake)
        )
        first, second = lines
        distances.append((first - second).abs().mean())
    return 1000 * torch.stack(distances).mean().item()


@lru_cache
def _directions(dimensions: int) -> Tensor:
    directions = torch.randn(dimensions, DIRECTIONS, generator=torch.Generator().manual_seed(SEED))
    unit: Tensor = directions / directions.norm(dim=0)
    return unit
