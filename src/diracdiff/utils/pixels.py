"""Images as 8-bit pixels and back: the one place where [0, 1] meets 0 … 255."""

from torch import Tensor


def to_pixels(images: Tensor) -> Tensor:
    """Images in [0, 1], clipped and rounded to 8 bits: uint8 of the same shape, on the same device."""
    return images.detach().float().clamp(0, 1).mul(255).round().byte()


def from_pixels(pixels: Tensor) -> Tensor:
    """uint8 pixels as float32 images in [0, 1], of the same shape."""
    return pixels.float() / 255
