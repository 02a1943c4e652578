"""Images of data sets: uint8 RGB tensors, cropped to squares and shrunk with Pillow's antialiased bicubic filter."""

from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from diracdiff.data.image_io import ImageError, read_rgb8
from diracdiff.utils.escaping import for_terminal


def load_image(path: str | Path) -> Tensor:
    """Read an image file as uint8 (3, H, W). Raises ImageError, naming the file, if it is not a readable image."""
    return _to_tensor(read_rgb8(path))


def load_square(source: str | Path | bytes, size: int, name: str = "") -> Tensor:
    """Read the central square of an image and shrink it to uint8 (3, size, size).

    Args:
        source: a path, or the bytes of a file.
        size: side of the result.
        name: name of bytes in messages.

    Raises:
        ImageError: naming the file, if it is not a readable image or has a side below `size`.
    """
    return _square(read_rgb8(source, name), size, name if isinstance(source, bytes) else source)


def center_crop_resize(image: Tensor, size: int, name: str | Path = "the image") -> Tensor:
    """Crop the central square of uint8 (3, H, W) and shrink it to (3, size, size).

    Raises:
        ImageError: if the shorter side is below `size`; nothing is enlarged.
    """
    return _square(image.permute(1, 2, 0).numpy(), size, name)


def check_side(name: str | Path, width: int, height: int, size: int) -> None:
    """Raise ImageError, with `name`, for an image whose shorter side is below `size`."""
    if min(width, height) < size:
        raise ImageError(
            f"{for_terminal(str(name))}: {width}x{height} pixels, smaller than data.image_size={size}. "
            "Use a smaller data.image_size or remove the file."
        )


def _square(pixels: NDArray[np.uint8], size: int, name: str | Path) -> Tensor:
    height, width = pixels.shape[:2]
    check_side(name, width, height, size)
    side = min(width, height)
    left, top = (width - side) // 2, (height - side) // 2
    crop = np.ascontiguousarray(pixels[top : top + side, left : left + side])
    if side != size:
        crop = np.asarray(Image.fromarray(crop).resize((size, size), Image.Resampling.BICUBIC))
    return _to_tensor(crop)


def _to_tensor(pixels: NDArray[np.uint8]) -> Tensor:
    return torch.from_numpy(np.array(pixels.transpose(2, 0, 1), order="C"))
