"""Photographs that a page is given: bounded before they are decoded, and shrunk to what is worked with."""

from dataclasses import dataclass
from pathlib import Path

from torch import Tensor
from torch.nn import functional as F

from diracdiff.data.originals import load_original, read_header
from diracdiff.errors import UserError

MOST_BYTES = 40_000_000
MOST_PIXELS = 60_000_000
"""Of a file, and of its picture, before it is shrunk."""

LEAST_SIDE = 16
"""Of a picture in pixels."""


@dataclass(frozen=True)
class Photograph:
    """A picture to restore.

    Attributes:
        name: of its file.
        image: float32 (3, H, W) in [0, 1].
        step: between two values of the file; 0 where it was shrunk, which leaves none.
        grey: whether it has no colour.
        lossy: whether it was compressed with losses.
        size: height and width of the file's picture.
    """

    name: str
    image: Tensor
    step: float
    grey: bool
    lossy: bool
    size: tuple[int, int]

    @property
    def shrunk(self) -> bool:
        """Whether it has fewer pixels than its file."""
        return self.image.shape[-2:] != self.size


def read(path: Path, longest: int) -> Photograph:
    """Read a file, and shrink what is larger than asked for.

    Args:
        path: of the file.
        longest: side in pixels that it may have.

    Raises:
        UserError: naming the file, if it is too large or too small, or cannot be read as an image.
    """
    if path.stat().st_size > MOST_BYTES:
        raise UserError(f"{path.name} has more than {MOST_BYTES // 10**6} MB: shrink it, or use diracdiff.restore")
    try:
        header = read_header(path)
        width, height = header.size
        if width * height > MOST_PIXELS:
            most = f"{MOST_PIXELS // 10**6} megapixels"
            raise UserError(f"{path.name} is {width}x{height} pixels, more than {most}: use diracdiff.restore")
        original = load_original(path)
    except UserError as error:
        raise UserError(str(error).replace(str(path), path.name)) from None
    image, share = original.image, longest / max(width, height)
    if share < 1:
        sides = [max(1, round(share * side)) for side in image.shape[-2:]]
        image = F.interpolate(image.unsqueeze(0), sides, mode="bicubic", antialias=True)[0].clamp(0, 1)
    if min(image.shape[-2:]) < LEAST_SIDE:
        raise UserError(f"{path.name} is {width}x{height} pixels here, and needs {LEAST_SIDE} a side: use a larger one")
    return Photograph(
        path.name, image, original.step if share >= 1 else 0.0, header.grey, header.lossy, (height, width)
    )
