"""Metrics of artifacts that PSNR, LPIPS and SWD do not penalise: residual noise and seams between blocks."""

import torch
from torch import Tensor
from torch.nn import functional as F

from diracdiff.metrics.metric import ImageMetric, Reference

PATCH = 12
"""Side of flat patches in pixels."""

FLAT = 0.02
"""Standard deviation below which a clean patch is flat, in units of the [0, 1] range."""


class ResidualNoise(ImageMetric):
    """Residual noise in flat patches of the clean image, in units of the noise level of the measurement.

    The error x_hat - x is high-pass filtered: its blur with the separable filter [1, 2, 1] / 4 is subtracted. The
    result is scaled such that white noise keeps its standard deviation. The value is its root mean square inside all
    12 x 12 patches with a standard deviation of the clean pixels below 0.02. Images without flat patches have the value
    NaN.
    """

    name = "residual_noise"
    title, digits, higher_is_better = "residual noise", 3, False
    min_side, may_be_nan = PATCH, True

    def measure(self, images: Tensor, reference: Reference) -> Tensor:
        """Compute the values, (B,), see `ImageMetric.measure`.

        Raises:
            ValueError: if the reference has no measurement or no process.
        """
        clean = reference.clean.float()
        noise, flat = high_pass(images - clean).square().mean(1, keepdim=True), flat_patches(clean)
        # The border of a patch is excluded, because the filter uses neighbouring pixels.
        inside = F.pad(noise.new_ones(PATCH - 2, PATCH - 2), (1, 1, 1, 1))
        energy = F.conv2d(noise, inside[None, None] / inside.sum(), stride=PATCH)
        return ((energy * flat).sum((1, 2, 3)) / flat.sum((1, 2, 3))).sqrt() / reference.noise_level("residual_noise")


class Seams(ImageMetric):
    """Relative strength of gradients at the boundaries of square blocks. The value is 1 without seams.

    The ratio of an image is the mean absolute difference of neighbouring pixels across block boundaries, divided by
    that of all other neighbouring pixels. The metric is the ratio of the restored image divided by that of the clean
    image.

    Args:
        block: side of the blocks in pixels, at least 2, such as the step between tiles.

    Raises:
        ValueError: if `block` is below 2.
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
            gradient = images.diff(dim=dim).abs().mean(1).transpose(dim, -1).flatten(1, -2)
            boundary = torch.arange(1, gradient.shape[-1] + 1, device=gradient.device) % self.block == 0
            across.append(gradient[..., boundary].flatten(1))
            within.append(gradient[..., ~boundary].flatten(1))
        eps = torch.finfo(images.dtype).eps
        return torch.cat(across, 1).mean(1).clamp(min=eps) / torch.cat(within, 1).mean(1).clamp(min=eps)


def high_pass(images: Tensor) -> Tensor:
    """Return high-pass filtered images, (B, C, H, W). White noise keeps its standard deviation."""
    blur = images.new_tensor([1.0, 2.0, 1.0]) / 4
    kernel = -torch.outer(blur, blur)
    kernel[1, 1] += 1
    kernel = kernel / kernel.square().sum().sqrt()
    channels = images.shape[1]
    padded = F.pad(images, (1, 1, 1, 1), "reflect")
    return F.conv2d(padded, kernel.expand(channels, 1, 3, 3), groups=channels)


def flat_patches(clean: Tensor) -> Tensor:
    """Return 1 for flat patches of clean images, (B, C, H, W), and 0 for others: (B, 1, H // PATCH, W // PATCH)."""
    mean, square = F.avg_pool2d(clean, PATCH), F.avg_pool2d(clean.square(), PATCH)
    variance = (square - mean.square()).mean(1, keepdim=True)
    return (variance < FLAT**2).to(clean.dtype)
