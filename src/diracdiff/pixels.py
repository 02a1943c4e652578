"""Images as 8-bit pixels and back: the one place where [0, 1] meets 0 … 255."""

from torch import Tensor

from diracdiff.errors import UserError


def to_pixels(images: Tensor) -> Tensor:
    """Images in [0, 1], clipped and rounded to 8 bits: uint8 of the same shape, on the same device."""
    return images.detach().float().clamp(0, 1).mul(255).round().byte()


def from_pixels(pixels: Tensor) -> Tensor:
    """uint8 pixels as float32 images in [0, 1], of the same shape."""
    return pixels.float() / 255


def check_range(images: Tensor, what: str, margin: float) -> None:
    """Refuse images that are not in [0, 1]: those in 0 … 255, say, which would come back white.

    Args:
        images: of any shape.
        what: they are.
        margin: by how much they may leave the range.

    Raises:
        UserError: naming the range that they have, and the remedy.
    """
    if not images.is_floating_point():
        raise UserError(f"{what} must be floating-point numbers in [0, 1], got {images.dtype}: divide pixels by 255")
    low, high = (end.item() for end in images.detach().aminmax()) if images.numel() else (0.0, 1.0)
    if not (low >= -margin and high <= 1 + margin):
        remedy = "divide by 255" if high > 2 else "scale them, and leave out what is not a number"
        raise UserError(f"{what} must lie in [0, 1], got values from {low:.4g} to {high:.4g}: {remedy}")
