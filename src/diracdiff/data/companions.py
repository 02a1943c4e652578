"""Files of the user's beside images: masks, of which pixels are a hole, and kernels that images were blurred with."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from diracdiff.data.images import load_image
from diracdiff.data.listing import EXTENSIONS
from diracdiff.data.originals import load_original
from diracdiff.errors import UserError

HALF = 128
"""Of 255, from which on a pixel of a mask is white."""


@dataclass(frozen=True)
class Companions(ABC):
    """A file for every image.

    Args:
        path: of one file for all images, or of a folder of files with the names of the images.
    """

    path: Path

    @abstractmethod
    def of(self, image: Path, size: tuple[int, int]) -> Tensor:
        """What belongs to an image.

        Args:
            image: its file.
            size: its width and height in pixels.

        Raises:
            UserError: naming the file, if there is none or several, or it does not fit.
        """

    def file(self, image: Path) -> Path:
        """The file of an image; raises UserError if there is none or there are several."""
        if not self.path.is_dir():
            return self.path
        files = [file for file in sorted(self.path.glob("*")) if file.suffix.lower() in EXTENSIONS]
        found = [file for file in files if file.stem == image.stem and file.resolve() != image.resolve()]
        if len(found) != 1:
            what = f"{len(found)} files" if found else "no file"
            raise UserError(f"{self.path} has {what} for {image}: give one that is called {image.stem}.png")
        return found[0]


class Masks(Companions):
    """A mask for every image: white is the hole, (H, W) bool."""

    def of(self, image: Path, size: tuple[int, int]) -> Tensor:
        file = self.file(image)
        hole = load_image(file, key=None).float().mean(0) >= HALF
        if hole.shape != size[::-1]:
            height, width = hole.shape
            what = f"mask {file} is {width}x{height} pixels and {image} {size[0]}x{size[1]}"
            raise UserError(f"{what}: give one of its size")
        if hole.all() or not hole.any():
            everywhere = "white" if hole.all() else "black"
            raise UserError(f"mask {file} is {everywhere} everywhere: white is the hole, and black is kept")
        return hole


class Kernels(Companions):
    """A kernel for every image, (h, w) float32: a picture with odd sides, brighter where more light came from."""

    def of(self, image: Path, size: tuple[int, int]) -> Tensor:
        file = self.file(image)
        kernel = load_original(file).image.mean(0)
        height, width = kernel.shape
        if not (height % 2 and width % 2):
            raise UserError(f"kernel {file} is {width}x{height} pixels: its sides must be odd, so that it has a middle")
        if not kernel.sum() > 0:
            raise UserError(f"kernel {file} is black everywhere: it must be brighter where more light came from")
        return fitting(kernel / kernel.sum(), str(file), image, size)


@dataclass(frozen=True)
class OneKernel(Kernels):
    """One kernel for all images that no file holds.

    Args:
        path: what it is called.
        kernel: (h, w) float32, that sums to 1.
    """

    kernel: Tensor

    def of(self, image: Path, size: tuple[int, int]) -> Tensor:
        return fitting(self.kernel, str(self.path), image, size)


def fitting(kernel: Tensor, name: str, image: Path | str, size: tuple[int, int]) -> Tensor:
    """The kernel, (h, w); raises UserError if it is too large for an image of so many pixels, width and height."""
    height, width = kernel.shape
    if 2 * width > size[0] or 2 * height > size[1]:
        raise UserError(f"kernel {name}, {width}x{height} pixels, is too large for {image}: at most half of its sides")
    return kernel
