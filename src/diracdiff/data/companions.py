"""Masks and kernels of images: one file for all images, or a folder with a file for each.

In a folder the file of `a/x.jpg`, a path relative to the input folder, is `a/x` with the suffix of any image format.
"""

import hashlib
import os
from collections import defaultdict
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from diracdiff.data.files import list_files
from diracdiff.data.image_io import EXTENSIONS, DecodedImage, read_image
from diracdiff.data.inputs import Input
from diracdiff.utils.errors import warn

SAME_COLOUR = 4 / 255
"""Colours of a painted mask may differ by this much: programs round those of soft edges."""

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
        self._warned = False

    @cached_property
    def _files(self) -> dict[Path, list[Path]]:
        """The files of the folder by their relative paths without suffix."""
        files = defaultdict(list)
        for name in list_files(self.path, failed={}):
            if name.lower().endswith(EXTENSIONS):
                files[Path(name).with_suffix("")].append(self.path / name)
        return files

    def file_of(self, image: Input) -> Path:
        """Return the file of an image. Raises ValueError if there is none, or there are several."""
        if not self.path.is_dir():
            return self.path
        name = image.relative.with_suffix("")
        found = [file for file in self._files.get(name, []) if not _same(file, image.path)]
        if len(found) != 1:
            count = f"{len(found)} files" if found else "no file"
            raise ValueError(f"{image.path}: {self.kind}={self.path} has {count} for it. Give {self.path / name}.png.")
        return found[0]

    def read(self, image: Input, size: Sequence[int]) -> tuple[Tensor, str]:
        """Read the mask or kernel of an image.

        Args:
            image: the image.
            size: its width and height in pixels.

        Returns:
            A mask, bool (H, W), True in the region to fill, or a kernel, float32 (h, w), that sums to 1; and the
            SHA-256 of its file, or of the kernel's text.

        Raises:
            ValueError: naming the file, if there is not one, it cannot be read, or it does not fit.
        """
        if self.kernel is not None:
            digest = hashlib.sha256(str(self.path).encode()).hexdigest()
            return check_kernel_size(self.kernel, str(self.path), size), digest
        file = self.file_of(image)
        decoded = read_image(file)
        if self.kind == "mask":
            return as_mask(decoded, file, size), decoded.sha256
        kernel = check_kernel_size(as_kernel(decoded, file), str(file), size)
        offset = max(
            abs(((torch.arange(len(sums)) - len(sums) // 2) * sums).sum().item())
            for sums in (kernel.sum(0), kernel.sum(1))
        )
        if offset > OFF_CENTRE and not self._warned:
            self._warned = True
            warn(f"kernel {file}: its centre of mass is {offset:.1f} pixels off its middle, which shifts results")
        return kernel, decoded.sha256


def as_mask(decoded: DecodedImage, file: Path, size: Sequence[int]) -> Tensor:
    """Return the region that a mask marks, bool (H, W).

    White marks it in an image without transparency. In an image of one colour that is partly transparent, as painting
    programs export a layer, the opaque pixels mark it.

    Args:
        decoded: the mask.
        file: its name for messages.
        size: width and height that it must have.

    Raises:
        ValueError: if it has another size, marks no pixel or all pixels, or has colours and transparency.
    """
    height, width = decoded.pixels.shape[:2]
    if (width, height) != tuple(size):
        raise ValueError(f"mask {file} is {width}x{height} pixels, its image {size[0]}x{size[1]}: give one of its size")
    pixels, opaque = _scaled(decoded.pixels), None if decoded.alpha is None else _scaled(decoded.alpha) >= 0.5
    marked, colour = pixels.mean(-1) >= 0.5, "white"
    if opaque is not None and opaque.any() and not opaque.all():
        if np.ptp(pixels[opaque], axis=0).max() > SAME_COLOUR:
            raise ValueError(
                f"mask {file} has several colours and is partly transparent: save it without transparency, white in "
                "the region to fill and black elsewhere"
            )
        marked, colour = opaque, "opaque"
    if marked.all() or not marked.any():
        everywhere = colour if marked.all() else "black"
        raise ValueError(f"mask {file} is {everywhere} everywhere: white marks the region to fill, black is kept")
    return torch.from_numpy(marked)


def as_kernel(decoded: DecodedImage, file: Path) -> Tensor:
    """Return a kernel, (h, w) float32, that sums to 1: brighter where more light came from, nothing if transparent.

    Raises:
        ValueError: if its sides are not odd, or it is black.
    """
    values = _scaled(decoded.pixels).mean(-1)
    if decoded.alpha is not None:
        values = values * _scaled(decoded.alpha)
    height, width = values.shape
    if not (height % 2 and width % 2):
        raise ValueError(f"kernel {file} is {width}x{height} pixels: its sides must be odd, so that it has a middle")
    if not values.sum() > 0:
        raise ValueError(f"kernel {file} is black everywhere: it must be brighter where more light came from")
    kernel = torch.from_numpy(values)
    return kernel / kernel.sum()


def check_kernel_size(kernel: Tensor, name: str, size: Sequence[int]) -> Tensor:
    """Return a kernel, (h, w). Raises ValueError if it is larger than half of an image of this width and height."""
    height, width = kernel.shape
    if 2 * width > size[0] or 2 * height > size[1]:
        raise ValueError(
            f"kernel {name}, {width}x{height} pixels, is too large for an image of {size[0]}x{size[1]}: at most half"
        )
    return kernel


def _same(one: Path, other: Path) -> bool:
    return os.path.realpath(one) == os.path.realpath(other)


def _scaled(values: NDArray[Any]) -> NDArray[np.float32]:
    """Scale uint8 or uint16 values to [0, 1]."""
    scaled: NDArray[np.float32] = values.astype(np.float32) / np.float32(np.iinfo(values.dtype).max)
    return scaled
