"""Images of data sets: 8-bit RGB tensors, cropped to squares and shrunk.

Resizing for evaluation always uses Pillow's antialiased bicubic filter, so that numbers do not depend on the device.
`diracdiff.data.jpeg` reads JPEG files faster, for training.
"""

from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from diracdiff.data.image_headers import MAX_PIXELS, Limits
from diracdiff.data.image_io import ImageError, printable, read_rgb8

__all__ = ["MAX_PIXELS", "ImageError", "center_crop_resize", "crop_resize", "load_image", "load_square"]


def data_set_limits(max_pixels: int) -> Limits:
    """Return the limits of an image of a data set, whose messages name `dataset.max_pixels`."""
    return Limits(max_pixels=max_pixels, setting="dataset.max_pixels")


def load_image(path: str | Path, max_pixels: int = MAX_PIXELS) -> Tensor:
    """Read an image file as 8-bit RGB, uint8 (3, H, W); see `diracdiff.data.image_io.read_rgb8`.

    Raises:
        UserError: naming the file, if it is not a readable image or has more than `max_pixels` pixels.
    """
    return to_tensor(read_rgb8(path, data_set_limits(max_pixels)))


def load_square(path: str | Path, size: int, max_pixels: int = MAX_PIXELS) -> Tensor:
    """Read the central square of an image file and shrink it: uint8 (3, size, size).

    Raises:
        UserError: naming the file, if it is not a readable image, has more than `max_pixels` pixels or a side below
            `size`.
    """
    return square(read_rgb8(path, data_set_limits(max_pixels)), size, path)


def center_crop_resize(image: Tensor, size: int, name: str | Path = "the image") -> Tensor:
    """Crop the central square and shrink it with Pillow's antialiased bicubic filter.

    Args:
        image: uint8 (3, H, W).
        size: side of the result, uint8 (3, size, size).
        name: of the image, for messages.

    Raises:
        UserError: if the shorter side is below `size`; nothing is enlarged.
    """
    return square(image.permute(1, 2, 0).numpy(), size, name)


def crop_resize(image: Tensor, left: int, top: int, side: int, size: int) -> Tensor:
    """Crop a square of uint8 (3, H, W) and shrink it with Pillow's bicubic filter to uint8 (3, size, size)."""
    return center_crop_resize(image[:, top : top + side, left : left + side], size)


def square(pixels: NDArray[np.uint8], size: int, name: str | Path) -> Tensor:
    """Crop the central square of uint8 (H, W, 3) and shrink it to uint8 (3, size, size), as `center_crop_resize`."""
    height, width = pixels.shape[:2]
    check_side(name, width, height, size)
    left, top, side = central_square(width, height)
    crop = np.ascontiguousarray(pixels[top : top + side, left : left + side])
    return to_tensor(crop if side == size else resize(crop, size))


def resize(
    pixels: NDArray[np.uint8], size: int, box: tuple[float, float, float, float] | None = None
) -> NDArray[np.uint8]:
    """Resize a box (left, top, right, bottom) of uint8 (H, W, 3) to (size, size) with Pillow's bicubic filter."""
    return np.asarray(Image.fromarray(pixels).resize((size, size), Image.Resampling.BICUBIC, box))


def check_side(name: str | Path, width: int, height: int, size: int) -> None:
    """Raise UserError, with `name`, for an image whose shorter side is below `size`: nothing is enlarged."""
    if min(width, height) < size:
        raise ImageError(
            f"{printable(name)}: {width}x{height} pixels, smaller than dataset.image_size={size}. "
            "Use a smaller dataset.image_size or remove the file."
        )


def central_square(width: int, height: int) -> tuple[int, int, int]:
    """Return the largest square in the middle of an image: (left, top, side)."""
    side = min(width, height)
    return (width - side) // 2, (height - side) // 2, side


def to_tensor(pixels: NDArray[np.uint8]) -> Tensor:
    """Convert uint8 (H, W, 3) to a contiguous tensor (3, H, W) with its own memory."""
    return torch.from_numpy(np.array(pixels.transpose(2, 0, 1), order="C"))
