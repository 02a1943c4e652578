"""Artifacts that PSNR, LPIPS and SWD miss or reward: residual noise in flat regions, and seams between blocks."""

import torch
from torch import Tensor
from torch.nn import functional as F

from diracdiff.metrics.metric import ImageMetric, Reference

PATCH = 12
"""Side in pixels of the patches in which flatness is decided."""

FLAT = 0.02
"""Standard deviation of a clean patch, in units of the [0, 1] range, below which it is flat."""


class ResidualNoise(ImageMetric):
    """Noise in flat patches of the clean image, in units of the measurement's noise level.

    The error x_hat - x is high-passed by subtracting its blur with the binomial filter [1, 2, 1] / 4 in both
    directions, and scaled such that white noise keeps its standard deviation. The value is the root mean square inside
    all 12 x 12 patches whose clean pixels have a standard deviation below 0.02; NaN for images without a flat patch.
    """

    name = "residual_noise"
    title, digits, higher_is_better = "residual noise", 3, False
    min_side, may_be_nan = PATCH, True

    def measure(self, images: Tensor, reference: Reference) -> Tensor:
        """See `ImageMetric`.

        Raises:
            ValueError: if the reference has no measurement or no process.
        """
        clean = reference.clean.float()
        noise, flat = high_pass(images - clean).square().mean(1, keepdim=True), flat_patches(clean)
        inside = F.pad(noise.new_ones(PATCH - 2, PATCH - 2), (1, 1, 1, 1))  # the filter reaches one pixel further
        energy = F.conv2d(noise, inside[None, None] / inside.sum(), stride=PATCH)
        return ((energy * flat).sum((1, 2, 3)) / flat.sum((1, 2, 3))).sqrt() / reference.noise_level("residual_noise")


class Seams(ImageMetric):
    """Excess of gradients on the boundaries of square blocks: 1 without seams.

    The mean absolute difference of neighbouring pixels across block boundaries, over that of all other neighbours, and
    relative to the same ratio of the clean image.

    Args:
        block: side of the blocks in pixels, such as the step between tiles.
    """

    name = "seams"
    title, digits = "seams", 3

    def __init__(self, block: int = 8):
        if block < 2:
            raise ValueError(f"block={block}: must be at least 2.")
        self.block, self.min_side = block, 2 * block

    def measure(self, images: Tensor, reference: Reference) -> Tensor:
        return self._ratio(images.clamp(0, 1)) / self._ratio(reference.clean.float())

    def _ratio(self, images: Tensor) -> Tensor:
        across, within = [], []
        for dim in (-2, -1):
            step = images.diff(dim=dim).abs().mean(1).transpose(dim, -1).flatten(1, -2)  # differences last
            boundary = torch.arange(1, step.shape[-1] + 1, device=step.device) % self.block == 0
            across.append(step[..., boundary].flatten(1))
            within.append(step[..., ~boundary].flatten(1))
        floor = torch.finfo(images.dtype).eps
        return torch.cat(across, 1).mean(1).clamp(min=floor) / torch.cat(within, 1).mean(1).clamp(min=floor)


def high_pass(images: Tensor) -> Tensor:
    """Return images, (B, C, H, W), without their low frequencies; white noise keeps its standard deviation."""
    blur = images.new_tensor([1.0, 2.0, 1.0]) / 4
    kernel = -torch.outer(blur, blur)
    kernel[1, 1] += 1
    kernel = kernel / kernel.square().sum().sqrt()
    channels = images.shape[1]
    padded = F.pad(images, (1, 1, 1, 1), "reflect")
    return F.conv2d(padded, kernel.expand(channels, 1, 3, 3), groups=channels)


def flat_patches(clean: Tensor) -> Tensor:
    """Return which patches of clean images, (B, C, H, W), are flat, as 0 or 1: (B, 1, H // PATCH, W // PATCH)."""
    mean, square = F.avg_pool2d(clean, PATCH), F.avg_pool2d(clean.square(), PATCH)
    variance = (square - mean.square()).mean(1, keepdim=True)
    return (variance < FLAT**2).to(clean.dtype)
