"""Checks of the arguments of the Python API. Each message names the argument, its value and the remedy."""

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

COMPUTED_IN = (torch.float32, torch.float64)
"""Precisions that degradations and samplers compute in."""


def check_images(
    images: Any,
    name: str,
    channels: int | None = None,
    device: torch.device | None = None,
    dtypes: Sequence[torch.dtype] | None = None,
    finite: bool = False,
) -> None:
    """Refuse anything but a batch of floating-point images, (B, C, H, W).

    Args:
        images: the argument.
        name: its name.
        channels: number that is needed, or None.
        device: where the images must be, or None.
        dtypes: precisions that are computed in; None: every one, for callers that convert.
        finite: refuse NaN and infinity.

    Raises:
        ValueError: naming the argument, its value and the remedy.
    """
    if not isinstance(images, Tensor):
        raise ValueError(
            f"{name}: must be a torch.Tensor (B, C, H, W), got {type(images).__module__}.{type(images).__qualname__}. "
            "Convert 8-bit pixels (H, W, C) with torch.from_numpy(pixels).permute(2, 0, 1)[None] / 255."
        )
    shape = tuple(images.shape)
    if not images.is_floating_point():
        raise ValueError(f"{name}: must be floating-point in [0, 1], got {images.dtype}. Divide 8-bit pixels by 255.")
    if images.ndim != 4:
        remedy = "Add the batch dimension: images[None]."
        if images.ndim == 3 and shape[2] in (1, 3) and shape[0] not in (1, 3):
            remedy = "Put channels first and add the batch dimension: images.permute(2, 0, 1)[None]."
        raise ValueError(f"{name}: must have the shape (B, C, H, W), got {shape}. {remedy}")
    if not images.numel():
        raise ValueError(f"{name}: must hold at least one image and one pixel, got the shape {shape}.")
    if channels is not None and shape[1] != channels:
        remedy = "Convert grey images with images.expand(-1, 3, -1, -1)." if shape[1] == 1 else "Select the channels."
        if shape[3] == channels:
            remedy = "Put channels first: images.permute(0, 3, 1, 2)."
        raise ValueError(f"{name}: must have {channels} channels, (B, {channels}, H, W), got {shape}. {remedy}")
    if dtypes is not None and images.dtype not in dtypes:
        wanted = " or ".join(map(str, dtypes))
        raise ValueError(f"{name}: must be {wanted}, got {images.dtype}. Convert with images.to({dtypes[0]}).")
    if device is not None and images.device != device:
        raise ValueError(f"{name}: must be on {device}, got {images.device}. Move them: images.to({str(device)!r}).")
    if finite and not images.isfinite().all():
        raise ValueError(f"{name}: must be finite, got NaN or infinity. Leave these images out.")


def check_range(images: Tensor, name: str, margin: float) -> None:
    """Refuse images, (B, C, H, W), that leave [0, 1] by more than a margin.

    Raises:
        ValueError: naming the range of the images, and the remedy.
    """
    low, high = (end.item() for end in images.detach().aminmax())
    if not (low >= -margin and high <= 1 + margin):
        raise out_of_range(name, low, high)


def out_of_range(name: str, low: float, high: float, noise: str = "") -> ValueError:
    """Return the error of images that leave [0, 1], with the scaling that their range suggests."""
    remedy = (
        "Divide 8-bit pixels by 255." if high > 8 else "Scale [-1, 1] with (images + 1) / 2 and [0, 2] with images / 2."
    )
    return ValueError(f"{name}: must lie in [0, 1]{noise}, got values from {low:.4g} to {high:.4g}. {remedy}")


def check_names(names: Sequence[str] | None, count: int) -> list[str]:
    """Return the names of a batch of images, by default their numbers.

    Raises:
        ValueError: unless there is one name per image, and each name once: equal names would give equal noise.
    """
    if names is None:
        return [str(i) for i in range(count)]
    if isinstance(names, str):
        raise ValueError(f"names: must be a list with one name per image, got the text {names!r}. Use [{names!r}].")
    if not count:
        raise ValueError("names: must be at least one. Give a list of names.")
    found = [str(name) for name in names]
    if len(found) != count:
        raise ValueError(f"names: must be as many as images, got {len(found)} for {count}. Give one name per image.")
    if twice := next((name for i, name in enumerate(found) if name in found[:i]), None):
        raise ValueError(f"names: must differ, because noise follows from them, got {twice!r} twice. Use paths.")
    return found


def check_count(count: Any, name: str, least: int = 1) -> None:
    """Refuse anything but an integer of at least `least`.

    Raises:
        ValueError: naming the argument and the rule.
    """
    if isinstance(count, bool) or not isinstance(count, int) or count < least:
        raise ValueError(f"{name}={'null' if count is None else count}: must be an integer of at least {least}.")


def check_between(low: float, high: float, **values: Any) -> None:
    """Refuse anything but numbers in [low, high].

    Raises:
        ValueError: naming the argument and the rule.
    """
    for name, value in values.items():
        if isinstance(value, bool) or not isinstance(value, int | float) or not low <= value <= high:
            raise ValueError(f"{name}={value}: must lie in [{low:g}, {high:g}].")


def check_positive(**values: Any) -> None:
    """Refuse anything but positive, finite numbers.

    Raises:
        ValueError: naming the argument and the rule.
    """
    for name, value in values.items():
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < math.inf:
            raise ValueError(f"{name}={value}: must be positive and finite.")


def check_option(options: Sequence[str], **values: Any) -> None:
    """Refuse anything but one of the options.

    Raises:
        ValueError: naming the argument and the options.
    """
    for name, value in values.items():
        if value not in options:
            raise ValueError(f"{name}={value}: must be one of {', '.join(options)}.")
