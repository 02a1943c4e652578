"""Argument checks of the Python API. Each message names the argument, its value and a remedy."""

import math
from collections.abc import Sequence
from typing import Any, NoReturn

import torch
from torch import Tensor

COMPUTED_IN = (torch.float32, torch.float64)
"""Precisions of degradations and samplers."""


def check_images(
    images: Any,
    name: str,
    channels: int | None = None,
    device: torch.device | None = None,
    dtypes: Sequence[torch.dtype] | None = None,
    finite: bool = False,
) -> None:
    """Check that an argument is a batch of floating-point images, (B, C, H, W).

    Args:
        images: value of the argument.
        name: name of the argument.
        channels: required number of channels; None: any.
        device: required device; None: any.
        dtypes: valid precisions; None: any.
        finite: refuse NaN and infinity.

    Raises:
        ValueError: if the argument breaks a rule.
    """

    def refuse(rule: str, remedy: str) -> NoReturn:
        raise ValueError(f"{name}: must {rule}. {remedy}")

    if not isinstance(images, Tensor):
        remedy = "Convert 8-bit pixels (H, W, C) with torch.from_numpy(pixels).permute(2, 0, 1)[None] / 255."
        refuse(f"be a torch.Tensor (B, C, H, W), got {type(images).__module__}.{type(images).__qualname__}", remedy)
    shape = tuple(images.shape)
    if not images.is_floating_point():
        refuse(f"be floating-point in [0, 1], got {images.dtype}", "Divide 8-bit pixels by 255.")
    if images.ndim != 4:
        refuse(f"have the shape (B, C, H, W), got {shape}", "Put channels first; add the batch with images[None].")
    if not images.numel():
        refuse(f"hold at least one image and one pixel, got the shape {shape}", "Leave it out.")
    if channels is not None and shape[1] != channels:
        rule = f"have {channels} channels, (B, {channels}, H, W), got {shape}"
        refuse(rule, "Put channels first, or repeat a grey channel with images.expand(-1, 3, -1, -1).")
    if dtypes is not None and images.dtype not in dtypes:
        refuse(f"be {' or '.join(map(str, dtypes))}, got {images.dtype}", f"Convert with images.to({dtypes[0]}).")
    if device is not None and images.device != device:
        refuse(f"be on {device}, got {images.device}", f"Move them with images.to({str(device)!r}).")
    if finite and not images.isfinite().all():
        refuse("be finite, got NaN or infinity", "Leave these images out.")


def check_range(images: Tensor, name: str, margin: float) -> None:
    """Raise ValueError if images, (B, C, H, W), have values outside [-margin, 1 + margin]."""
    low, high = (end.item() for end in images.detach().aminmax())
    if not (low >= -margin and high <= 1 + margin):
        raise range_error(name, low, high)


def range_error(name: str, low: float, high: float, noise: str = "") -> ValueError:
    """Return the error for images outside [0, 1]. It suggests a scaling for their range.

    Args:
        name: name of the argument.
        low: smallest value.
        high: largest value.
        noise: text about a tolerance, for the message.
    """
    remedy = (
        "Divide 8-bit pixels by 255." if high > 8 else "Scale [-1, 1] with (images + 1) / 2 and [0, 2] with images / 2."
    )
    return ValueError(f"{name}: must lie in [0, 1]{noise}, got values from {low:.4g} to {high:.4g}. {remedy}")


def check_names(names: Sequence[str] | None, count: int) -> list[str]:
    """Return the names of a batch of images.

    Args:
        names: one name per image; None: the indices.
        count: number of images.

    Raises:
        ValueError: if the number of names differs from `count`, or a name occurs twice. Equal names have equal noise.
    """
    if names is None:
        return [str(i) for i in range(count)]
    checked = [] if isinstance(names, str) else [str(name) for name in names]
    if not checked or len(checked) != count:
        raise ValueError(f"names: must be a list with one name for each of {count} images, got {names!r}.")
    if twice := next((name for i, name in enumerate(checked) if name in checked[:i]), None):
        raise ValueError(f"names: must differ, because noise follows from them, got {twice!r} twice. Use paths.")
    return checked


def check_count(count: Any, name: str, minimum: int = 1) -> None:
    """Raise ValueError if a value is not an integer of at least `minimum`."""
    if isinstance(count, bool) or not isinstance(count, int) or count < minimum:
        raise ValueError(f"{name}={'null' if count is None else count}: must be an integer of at least {minimum}.")


def check_between(low: float, high: float, **values: Any) -> None:
    """Raise ValueError if a value is not a number in [low, high]."""
    for name, value in values.items():
        if not (_is_number(value) and low <= value <= high):
            raise ValueError(f"{name}={value}: must lie in [{low:g}, {high:g}].")


def check_positive(**values: Any) -> None:
    """Raise ValueError if a value is not a positive, finite number."""
    for name, value in values.items():
        if not (_is_number(value) and 0 < value < math.inf):
            raise ValueError(f"{name}={value}: must be positive and finite.")


def check_option(options: Sequence[str], **values: Any) -> None:
    """Raise ValueError if a value is not one of the options."""
    for name, value in values.items():
        if value not in options:
            raise ValueError(f"{name}={value}: must be one of {', '.join(options)}.")


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
