"""Photographs that a page is given: bounded before they are decoded, and shrunk to what is worked with."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from diracdiff.data.image_io import Limits, read_image
from diracdiff.errors import UserError

LIMITS = Limits(max_pixels=60_000_000, max_bytes=40_000_000)
"""Of a file, before it is decoded."""

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
    try:
        decoded = read_image(path, LIMITS)
    except UserError as error:
        raise UserError(str(error).replace(str(path), path.name)) from None
    top = np.iinfo(decoded.pixels.dtype).max
    image = torch.from_numpy(decoded.pixels.astype(np.float32)).permute(2, 0, 1).contiguous() / top
    height, width = image.shape[-2:]
    scale = longest / max(width, height)
    if scale < 1:
        sides = [max(1, round(scale * side)) for side in (height, width)]
        image = F.interpolate(image.unsqueeze(0), sides, mode="bicubic", antialias=True)[0].clamp(0, 1)
    if min(image.shape[-2:]) < LEAST_SIDE:
        raise UserError(f"{path.name} is {width}x{height} pixels here, and needs {LEAST_SIDE} a side: use a larger one")
    step = 1 / float(top) if scale >= 1 else 0.0
    return Photograph(path.name, image, step, decoded.grey, decoded.info.lossy, (height, width))
