"""Masks and kernels in files: one file for all images, or a folder with one file per image.

In a folder, the file of the image `a/x.jpg` (relative to the input folder) is `a/x` with the suffix of an image format.
"""

import glob
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from diracdiff.data.image_io import EXTENSIONS, DecodedImage, read_image
from diracdiff.data.inputs import Input
from diracdiff.utils.errors import warn

MAX_CENTRE_OFFSET = 0.5
"""Largest distance in pixels between a kernel's centre of mass and its middle without a warning."""


class ParamFiles:
    """Masks or kernels of images.

    Args:
        kind: "mask" or "kernel".
        path: one file for all images, or a folder with one file per image.
        kernel: kernel for all images, (h, w), used instead of a file. Messages then refer to it by `path`.
    """

    def __init__(self, kind: Literal["mask", "kernel"], path: Path, kernel: Tensor | None = None):
        self.kind, self.path, self.kernel = kind, path, kernel
        self._kernels: dict[Path, Tensor] = {}

    def path_for(self, image: Input) -> Path:
        """Return the path of an image's mask or kernel.

        Raises:
            ValueError: if the folder has no file or several files for the image.
        """
        if not self.path.is_dir():
            return self.path
        name = self.path / image.relative.with_suffix("")
        files = name.parent.glob(f"{glob.escape(name.name)}.*")
        matches = [file for file in files if file.stem == name.name and file.suffix.lower() in EXTENSIONS]
        if len(matches) != 1 or matches[0].samefile(image.path):
            count = f"{len(matches)} files" if len(matches) > 1 else "no file"
            raise ValueError(f"{image.path}: {self.kind}={self.path} has {count} for this image. Add {name}.png.")
        return matches[0]

    def read(self, image: Input, size: Sequence[int]) -> Tensor:
        """Read the mask or kernel of an image.

        Args:
            image: image file.
            size: width and height of the image in pixels.

        Returns:
            Mask, bool (H, W), True in the region to fill; or kernel, float32 (h, w), with sum 1.

        Raises:
            ValueError: if the file is missing or cannot be read, or its size does not fit the image.
        """
        if self.kernel is not None:
            name, kernel = self.path, self.kernel
        else:
            name = self.path_for(image)
            if self.kind == "mask":
                return as_mask(read_image(name), name, size)
            if name not in self._kernels:
                self._kernels[name] = read_kernel(name)
            kernel = self._kernels[name]
        height, width = kernel.shape
        if 2 * width > size[0] or 2 * height > size[1]:
            limit = f"must be at most half of an image of {size[0]}x{size[1]}. Use a smaller kernel."
            raise ValueError(f"kernel={name}: has {width}x{height} pixels, {limit}")
        return kernel


def as_mask(decoded: DecodedImage, name: Path, size: Sequence[int]) -> Tensor:
    """Convert a decoded image to a mask, bool (H, W): True where the mean of the channels is at least 0.5.

    Args:
        decoded: decoded image; white marks the region to fill.
        name: path for messages.
        size: required width and height in pixels.

    Raises:
        ValueError: if the size differs, the image is transparent, or it marks no pixel or all pixels.
    """
    if decoded.info.size != tuple(size):
        width, height = decoded.info.size
        raise ValueError(f"mask={name}: has {width}x{height} pixels, must have the {size[0]}x{size[1]} of its image.")
    if decoded.alpha is not None and (_to_unit_range(decoded.alpha) < 1).any():
        raise ValueError(
            f"mask={name}: is partly transparent. Save it without transparency, white in the region to fill."
        )
    marked = _to_unit_range(decoded.pixels).mean(-1) >= 0.5
    if marked.all() or not marked.any():
        colour = "white" if marked.all() else "black"
        raise ValueError(f"mask={name}: is {colour} everywhere. Use white in the region to fill, and black elsewhere.")
    return torch.from_numpy(marked)


def read_kernel(name: Path) -> Tensor:
    """Read a blur kernel from an image file, float32 (h, w) with sum 1.

    Weights are proportional to the mean of the channels times alpha. A warning is printed if the centre of mass is more
    than `MAX_CENTRE_OFFSET` pixels off the middle.

    Raises:
        ValueError: if the file cannot be read, a side is even, or all weights are 0.
    """
    decoded = read_image(name)
    values = _to_unit_range(decoded.pixels).mean(-1)
    if decoded.alpha is not None:
        values = values * _to_unit_range(decoded.alpha)
    height, width = values.shape
    if not (height % 2 and width % 2):
        raise ValueError(f"kernel={name}: has {width}x{height} pixels, both sides must be odd. Crop or pad it.")
    if not values.sum() > 0:
        raise ValueError(f"kernel={name}: is black everywhere. Use brighter pixels for larger weights.")
    kernel = torch.from_numpy(values)
    kernel = kernel / kernel.sum()
    rows, columns = (torch.arange(length) - length // 2 for length in kernel.shape)
    offset = max(abs((rows * kernel.sum(1)).sum().item()), abs((columns * kernel.sum(0)).sum().item()))
    if offset > MAX_CENTRE_OFFSET:
        warn(f"kernel={name}: the centre of mass is {offset:.1f} pixels off the middle, which shifts the results")
    return kernel


def _to_unit_range(values: NDArray[Any]) -> NDArray[np.float32]:
    """Scale uint8 or uint16 values to [0, 1]."""
    scaled: NDArray[np.float32] = values.astype(np.float32) / np.float32(np.iinfo(values.dtype).max)
    return scaled
