"""Conversion between images in [0, 1] and 8-bit pixels."""

from torch import Tensor


def to_pixels(images: Tensor) -> Tensor:
    """Clip images to [0, 1] and round them to uint8, with the same shape and device."""
    return images.detach().float().clamp(0, 1).mul(255).round().byte()


def from_pixels(pixels: Tensor) -> Tensor:
    """Convert uint8 pixels to float32 images in [0, 1], with the same shape and device."""
    return pixels.float() / 255
