"""Masks and kernels of images: one file for all images, or a folder with a file for each.

In a folder the file of `a/x.jpg`, a path relative to the input folder, is `a/x` with the suffix of any image format.
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

OFF_CENTRE = 0.5
"""Pixels between a kernel's centre of mass and its middle beyond which a warning is given."""


class Companions:
    """Masks or kernels of images.

    Args:
        kind: mask or kernel.
        path: one file for all images, or a folder.
        kernel: a kernel for all images, described by the text `path`, that no file holds.
    """

    def __init__(self, kind: Literal["mask", "kernel"], path: Path, kernel: Tensor | None = None):
        self.kind, self.path, self.kernel = kind, path, kernel
        self._kernels: dict[Path, Tensor] = {}

    def file_of(self, image: Input) -> Path:
        """Return the file of an image. Raises ValueError if there is none, or there are several."""
        if not self.path.is_dir():
            return self.path
        name = self.path / image.relative.with_suffix("")
        files = name.parent.glob(f"{glob.escape(name.name)}.*")
        found = [file for file in files if file.stem == name.name and file.suffix.lower() in EXTENSIONS]
        if len(found) != 1 or found[0].samefile(image.path):
            count = f"{len(found)} files" if len(found) > 1 else "no file"
            raise ValueError(f"{image.path}: {self.kind}={self.path} has {count} for it. Give {name}.png.")
        return found[0]

    def read(self, image: Input, size: Sequence[int]) -> Tensor:
        """Read the mask or kernel of an image.

        Args:
            image: the image.
            size: its width and height in pixels.

        Returns:
            A mask, bool (H, W), True in the region to fill, or a kernel, float32 (h, w), that sums to 1.

        Raises:
            ValueError: naming the file, if there is not one, it cannot be read, or it does not fit.
        """
        if self.kernel is not None:
            name, kernel = self.path, self.kernel
        else:
            name = self.file_of(image)
            if self.kind == "mask":
                return as_mask(read_image(name), name, size)
            if name not in self._kernels:
                self._kernels[name] = read_kernel(name)
            kernel = self._kernels[name]
        height, width = kernel.shape
        if 2 * width > size[0] or 2 * height > size[1]:
            limit = f"is too large for an image of {size[0]}x{size[1]}: at most half"
            raise ValueError(f"kernel {name}, {width}x{height} pixels, {limit}")
        return kernel


def as_mask(decoded: DecodedImage, name: Path, size: Sequence[int]) -> Tensor:
    """Return the region that a mask marks in white (at least half), bool (H, W).

    Args:
        decoded: the mask.
        name: of its file, for messages.
        size: width and height that it must have.

    Raises:
        ValueError: if it has another size, is transparent, or marks no pixel or all pixels.
    """
    if decoded.info.size != tuple(size):
        width, height = decoded.info.size
        raise ValueError(f"mask {name} is {width}x{height} pixels, its image {size[0]}x{size[1]}: give one of its size")
    if decoded.alpha is not None and (_scaled(decoded.alpha) < 1).any():
        raise ValueError(
            f"mask {name} is partly transparent: save it without transparency, white in the region to fill"
        )
    marked = _scaled(decoded.pixels).mean(-1) >= 0.5
    if marked.all() or not marked.any():
        colour = "white" if marked.all() else "black"
        raise ValueError(f"mask {name} is {colour} everywhere: white marks the region to fill, black is kept")
    return torch.from_numpy(marked)


def read_kernel(name: Path) -> Tensor:
    """Read a kernel, (h, w) float32, that sums to 1: brighter where more light came from, nothing if transparent.

    Raises:
        ValueError: naming the file, if it cannot be read, its sides are not odd, or it is black.
    """
    decoded = read_image(name)
    values = _scaled(decoded.pixels).mean(-1)
    if decoded.alpha is not None:
        values = values * _scaled(decoded.alpha)
    height, width = values.shape
    if not (height % 2 and width % 2):
        raise ValueError(f"kernel {name} is {width}x{height} pixels: its sides must be odd, so that it has a middle")
    if not values.sum() > 0:
        raise ValueError(f"kernel {name} is black everywhere: it must be brighter where more light came from")
    kernel = torch.from_numpy(values)
    kernel = kernel / kernel.sum()
    rows, columns = (torch.arange(length) - length // 2 for length in kernel.shape)
    offset = max(abs((rows * kernel.sum(1)).sum().item()), abs((columns * kernel.sum(0)).sum().item()))
    if offset > OFF_CENTRE:
        warn(f"kernel {name}: its centre of mass is {offset:.1f} pixels off its middle, which shifts results")
    return kernel


def _scaled(values: NDArray[Any]) -> NDArray[np.float32]:
    """Scale uint8 or uint16 values to [0, 1]."""
    scaled: NDArray[np.float32] = values.astype(np.float32) / np.float32(np.iinfo(values.dtype).max)
    return scaled
