"""Reading of images as square uint8 RGB tensors, resized with the antialiased bicubic filter of Pillow."""

from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from diracdiff.data.image_io import ImageError, read_rgb8
from diracdiff.utils.escaping import for_terminal


def load_image(path: str | Path) -> Tensor:
    """Read an image file as uint8 (3, H, W).

    Raises:
        ImageError: if the file is not a readable image.
    """
    return _to_tensor(read_rgb8(path))


def load_square(source: str | Path | bytes, size: int, name: str = "") -> Tensor:
    """Read the central square of an image, resized to uint8 (3, size, size).

    Args:
        source: path, or content of a file.
        size: side of the result in pixels.
        name: name for messages if `source` is the content of a file.

    Raises:
        ImageError: if the image cannot be read, or its shorter side is below `size`.
    """
    return _square(read_rgb8(source, name), size, name if isinstance(source, bytes) else source)


def center_crop_resize(image: Tensor, size: int, name: str | Path = "the image") -> Tensor:
    """Crop the central square of an image and resize it to (3, size, size).

    Args:
        image: uint8 (3, H, W).
        size: side of the result in pixels.
        name: name for messages.

    Raises:
        ImageError: if the shorter side is below `size`, since images are never enlarged.
    """
    return _square(image.permute(1, 2, 0).numpy(), size, name)


def check_side(name: str | Path, width: int, height: int, size: int) -> None:
    """Check that the shorter side of an image is at least `size` pixels.

    Args:
        name: name for messages.
        width: width of the image in pixels.
        height: height of the image in pixels.
        size: minimum in pixels.

    Raises:
        ImageError: if the image is too small.
    """
    if min(width, height) < size:
        raise ImageError(
            f"{for_terminal(str(name))}: has {width}x{height} pixels, smaller than data.image_size={size}. "
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
