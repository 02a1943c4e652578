"""Broadcasting of times over batches, and padding of images to multiples of a size."""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor


def as_time(t: float | Tensor, x: Tensor) -> Tensor:
    """Return `t` as a floating-point tensor on the device of `x`, with shape () or (B,).

    Raises:
        ValueError: if `t` has another shape than () or (B,).
    """
    if type(t) is float:
        return torch.full((), t, dtype=torch.get_default_dtype(), device=x.device)  # does not wait for a GPU
    t = torch.as_tensor(t, device=x.device)
    t = t if t.is_floating_point() else t.to(x.dtype)
    if t.ndim > 1 or (t.ndim == 1 and t.shape[0] != x.shape[0]):
        raise ValueError(f"t must have shape () or ({x.shape[0]},), got {tuple(t.shape)}")
    return t


def per_image(value: Tensor, x: Tensor) -> Tensor:
    """Reshape a value of shape () or (B,) to broadcast over `x`, (B, C, H, W)."""
    return value.to(x.dtype).reshape(-1, *(1,) * (x.ndim - 1))


def apply_padded(function: Callable[[Tensor], Tensor], images: Tensor, multiple: int) -> Tensor:
    """Pad images at the bottom and right, apply a function, and crop the result to the original size.

    Args:
        function: function of images whose height and width are multiples of `multiple`; it keeps their shape.
        images: (B, C, H, W); padded by reflection, or by replication if they are too small.
        multiple: divisor of height and width, in pixels.
    """
    height, width = images.shape[-2:]
    bottom, right = -height % multiple, -width % multiple
    if not bottom and not right:
        return function(images)
    mode = "reflect" if bottom < height and right < width else "replicate"
    return function(F.pad(images, (0, right, 0, bottom), mode=mode))[..., :height, :width]
