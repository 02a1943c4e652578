"""Sliced Wasserstein distance between sets of restored and clean images (Karras et al. 2018, Section 5).

It is a distance of distributions, that is, a measure of perception in the sense of Blau and Michaeli (2018). It needs
no network.
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
"""Number of pyramid levels, side of a patch, patches per image and level, directions, seed. They define the metric."""

MIN_STD = 1 / 510
"""Smallest standard deviation in the standardisation of patches: half a grey level.

Sets of two or more photographs exceed it. It changes the values of nearly constant images only.
"""


@dataclass(frozen=True)
class Patches:
    """Patches of a Laplacian pyramid as features.

    The positions of the patches depend on the size of the images only.
    """

    def features(self, images: Tensor) -> Tensor:
        """Return the patches of images.

        Args:
            images: images, (B, C, H, W). They are clipped to [0, 1].

        Returns:
            Patches, (B, L, P, 49 C), float16, on the CPU. There are L = 3 levels, or fewer if a level would be smaller
            than a patch. Images with NaN have NaN patches.

        Raises:
            ValueError: if `images` is not a batch of images, or the images are smaller than a patch.
        """
        check_images(images, "images")
        if min(images.shape[-2:]) < PATCH:
            rule = f"SWD needs at least {PATCH} pixels a side, got {tuple(images.shape)}"
            raise ValueError(f"images: {rule}. Use larger images or omit the metric.")
        with torch.autocast(images.device.type, enabled=False):
            levels = [_patches(band) for band in laplacian_pyramid(images.float().clamp(0, 1))]
        return torch.stack(levels, 1).half().cpu()


def _patches(band: Tensor) -> Tensor:
    """Return patches, (B, P, 49 C), of a level, (B, C, H, W), at positions that depend on its size only."""
    generator = torch.Generator().manual_seed(SEED)
    rows, columns = (torch.randint(n - PATCH + 1, (PATCHES,), generator=generator) for n in band.shape[-2:])
    offset = torch.arange(PATCH)
    patches = band[:, :, rows.reshape(-1, 1, 1) + offset.reshape(-1, 1), columns.reshape(-1, 1, 1) + offset]
    return patches.permute(0, 2, 3, 4, 1).flatten(2)


def laplacian_pyramid(images: Tensor) -> list[Tensor]:
    """Return the Laplacian pyramid: the difference of each level to the upscaled next level, and the last level.

    Args:
        images: images, (B, C, H, W).

    Returns:
        Levels, (B, C, H, W), (B, C, H / 2, W / 2), …
    """
    levels = [images]
    while len(levels) < LEVELS and (min(levels[-1].shape[-2:]) + 1) // 2 >= PATCH:
        levels.append(_blur(levels[-1])[..., ::2, ::2])
    return [*(fine - _upscale(coarse, fine.shape) for fine, coarse in pairwise(levels)), levels[-1]]


def _blur(images: Tensor) -> Tensor:
    kernel = torch.tensor([1.0, 4.0, 6.0, 4.0, 1.0], dtype=images.dtype, device=images.device) / 16
    channels = images.shape[1]
    for shape, padding in (((5, 1), (0, 0, 2, 2)), ((1, 5), (2, 2, 0, 0))):
        weight = kernel.reshape(1, 1, *shape).expand(channels, 1, *shape)
        images = F.conv2d(F.pad(images, padding, mode="reflect"), weight, groups=channels)
    return images


def _upscale(images: Tensor, shape: torch.Size) -> Tensor:
    upsampled = images.new_zeros(shape)
    upsampled[..., ::2, ::2] = images
    return 4 * _blur(upsampled)


class SWD(SetMetric):
    """Sliced Wasserstein distance of patches times 1000, averaged over the levels of the pyramid, see `swd`.

    Args:
        limit: largest number of images that are compared, at least 1. The patches of an RGB image need 56 kB.

    Raises:
        ValueError: if `limit` is below 1.
    """

    title, target, higher_is_better, digits = "SWD", "swd", False, 1
    name = "swd"
    extractor = Patches()

    def __init__(self, limit: int = SetMetric.limit):
        if limit < 1:
            raise ValueError(f"limit={limit}: must be at least 1.")
        self.limit = limit

    def score(self, clean: Tensor, restored: Tensor, seed: int) -> float:
        return swd(clean, restored)


def swd(clean: Tensor, restored: Tensor) -> float:
    """Compute the sliced Wasserstein distance of two sets of patches times 1000, averaged over levels.

    Patches are standardised by the mean and the standard deviation of the clean set, at least `MIN_STD`, for each of
    the D values. The distance is the mean absolute difference of sorted projections onto fixed random directions.

    Args:
        clean: patches of the clean images, (N, L, P, D), with L levels and P patches of D values.
        restored: patches of the restored images, like `clean`.

    Returns:
        The distance, at least 0. NaN if a feature is NaN.

    Raises:
        ValueError: if the shapes differ.
    """
    if clean.shape != restored.shape or clean.ndim != 4:
        shapes = f"{tuple(clean.shape)} and {tuple(restored.shape)}"
        raise ValueError(f"patches: must both have the shape (N, L, P, D), got {shapes}. Use the same images.")
    if clean.isnan().any() or restored.isnan().any():
        return math.nan
    directions = torch.randn(clean.shape[-1], DIRECTIONS, generator=torch.Generator().manual_seed(SEED))
    directions = directions / directions.norm(dim=0)
    distances = []
    for level in zip(clean.float().unbind(1), restored.float().unbind(1), strict=True):
        real, fake = (patches.flatten(0, 1) for patches in level)
        std, mean = torch.std_mean(real, 0)
        first, second = (
            (((patches - mean) / std.clamp(min=MIN_STD)) @ directions).sort(0)[0] for patches in (real, fake)
        )
        distances.append((first - second).abs().mean())
    return 1000 * torch.stack(distances).mean().item()
