"""Photographs that a page is given: bounded before they are decoded, shrunk, with their masks and kernels."""

from dataclasses import dataclass
from pathlib import Path

from torch import Tensor
from torch.nn import functional as F

from diracdiff.data.companions import check_kernel_size
from diracdiff.data.image_io import Limits, read_image
from diracdiff.degradations.kernels import told
from diracdiff.restoration import SourceImage
from diracdiff.utils.errors import UserError

LIMITS = Limits(max_pixels=60_000_000, max_bytes=40_000_000)
"""Of a file, before it is decoded."""

LEAST_SIDE = 16
"""Of a photograph in pixels, after it was shrunk."""


@dataclass(frozen=True)
class Photograph:
    """A photograph to restore.

    Attributes:
        name: of its file.
        image: float32 (3, H, W) in [0, 1].
        step: between two values of the file; 0 if it was shrunk.
        grey: its three channels are equal.
        lossy: its format is lossy.
        size: height and width of the file's image.
    """

    name: str
    image: Tensor
    step: float
    grey: bool
    lossy: bool
    size: tuple[int, int]

    @property
    def shrunk(self) -> bool:
        """The image has fewer pixels than the file."""
        return self.image.shape[-2:] != self.size


def read(path: Path, longest: int) -> Photograph:
    """Read a file, and shrink an image with a longer side than `longest` pixels.

    Raises:
        UserError: naming the file, if it is too large or too small, or cannot be read as an image.
    """
    try:
        decoded = read_image(path, LIMITS)
    except UserError as error:
        raise UserError(str(error).replace(str(path), path.name)) from None
    source = SourceImage.of(decoded, path.name)
    image, step = source.pixels, source.step
    height, width = image.shape[-2:]
    if (scale := longest / max(height, width)) < 1:
        sides, step = [max(1, round(scale * side)) for side in (height, width)], 0.0
        image = F.interpolate(image.unsqueeze(0), sides, mode="bicubic", antialias=True)[0].clamp(0, 1)
    if min(image.shape[-2:]) < LEAST_SIDE:
        raise UserError(f"{path.name}: {width}x{height} pixels here, needs {LEAST_SIDE} a side. Use a larger one.")
    return Photograph(path.name, image, step, decoded.grey, decoded.info.lossy, (height, width))


def mask_of(painted: Tensor, image: Tensor) -> Tensor | None:
    """Resize a painted region, bool (H, W), to an image, (3, H, W); None if it is empty.

    Raises:
        UserError: if it covers the whole image.
    """
    mask = F.interpolate(painted[None, None].float(), image.shape[-2:], mode="nearest")[0, 0] > 0
    if mask.all():
        raise UserError("The painted region covers the whole photograph: leave a part of it unpainted.")
    return mask if mask.any() else None


def kernel_of(text: str | None, image: Tensor) -> Tensor:
    """Return the kernel that a text describes, (h, w), for an image, (3, H, W).

    Raises:
        UserError: if there is no text, it describes no kernel, or the kernel is too large for the image.
    """
    if text is None:
        raise UserError("Choose what blurred the photograph.")
    try:
        kernel = told(text)
    except ValueError as error:
        raise UserError(str(error)) from None
    return check_kernel_size(kernel, text, (image.shape[-1], image.shape[-2]))
