"""Images as 8-bit pixels and back."""

from torch import Tensor


def to_pixels(images: Tensor) -> Tensor:
    """Clip images in [0, 1] and round them to 8 bits: uint8 of the same shape, on the same device."""
    return images.detach().float().clamp(0, 1).mul(255).round().byte()


def from_pixels(pixels: Tensor) -> Tensor:
    """Convert uint8 pixels to float32 images in [0, 1] of the same shape."""
    return pixels.float() / 255
