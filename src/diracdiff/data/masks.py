"""Masks of the user's: which pixels of each image are a hole."""

from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from diracdiff.data.images import load_image
from diracdiff.data.listing import EXTENSIONS
from diracdiff.errors import UserError

HALF = 128
"""Of 255, from which on a pixel of a mask is white."""


@dataclass(frozen=True)
class Masks:
    """A mask for every image: white is the hole.

    Args:
        path: of one mask for all images, or of a folder of masks with the names of the images.
    """

    path: Path

    def of(self, image: Path, size: tuple[int, int]) -> Tensor:
        """The hole of an image, bool (H, W).

        Args:
            image: its file.
            size: its width and height in pixels.

        Raises:
            UserError: naming the mask, if there is none or several, it has another size, or hides nothing or all.
        """
        file = self._file(image)
        hole = load_image(file, key=None).float().mean(0) >= HALF
        if hole.shape != size[::-1]:
            height, width = hole.shape
            raise UserError(
                f"mask {file} is {width}x{height} pixels and {image} {size[0]}x{size[1]}: give one of its size"
            )
        if hole.all() or not hole.any():
            raise UserError(
                f"mask {file} is {'white' if hole.all() else 'black'} everywhere: white is the hole, and black is kept"
            )
        return hole

    def _file(self, image: Path) -> Path:
        if not self.path.is_dir():
            return self.path
        found = [
            file
            for file in sorted(self.path.glob("*"))
            if file.stem == image.stem and file.suffix.lower() in EXTENSIONS
        ]
        if len(found) != 1:
            what = f"{len(found)} masks" if found else "no mask"
            raise UserError(f"mask={self.path} has {what} for {image}: give one that is called {image.stem}.png")
        return found[0]
