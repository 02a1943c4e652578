"""A user's image file with all that it holds: its colours at full depth, transparency, colour profile and EXIF.

The EXIF rotation is applied to the pixels once, and its tag left out of what is kept.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import ExifTags, Image, ImageOps
from torch import Tensor

from diracdiff.data.images import ImageError, load_image, opened
from diracdiff.errors import warn
from diracdiff.pixels import from_pixels

LOSSY = ("JPEG", "MPO", "WEBP", "GIF")
"""Formats that change the noise of what they hold; WebP may be without losses, which its header does not tell."""

GREY_MODES = ("1", "L", "I", "I;16", "F", "LA")
ORIENTATION = ExifTags.Base.Orientation
FOLDERS = (ExifTags.IFD.Exif, ExifTags.IFD.GPSInfo)
KEPT = (
    "ImageDescription Make Model XResolution YResolution ResolutionUnit Software DateTime Artist HostComputer Copyright"
)
"""Of a TIFF's own tags, most of which say how its pixels are laid out."""

TURNED = {2: (1, False), 3: (2, False), 4: (3, False), 5: (0, True), 6: (1, True), 7: (2, True), 8: (3, True)}
"""Of the EXIF orientation: what follows, and whether rows become columns first."""


@dataclass(frozen=True)
class Header:
    """What the beginning of an image file tells.

    Attributes:
        size: width and height in pixels as shown, after the EXIF rotation.
        grey: whether it has no colour.
        bits: of a value, 8 or 16.
        alpha: whether it may be transparent.
        format: as Pillow calls it.
        lossy: whether it was compressed with losses.
        frames: of an animation; 1 for a picture.
    """

    size: tuple[int, int]
    grey: bool = False
    bits: int = 8
    alpha: bool = False
    format: str = "PNG"
    lossy: bool = False
    frames: int = 1


@dataclass(frozen=True)
class Original:
    """An image file as it was read.

    Attributes:
        image: its colours, float32 (3, H, W) in [0, 1].
        step: between two values of the file, 1 / 255 or 1 / 65535.
        alpha: its transparency, uint8 or uint16 (H, W), or None.
        icc: its colour profile, or None where it has none for RGB or grey.
        exif: its EXIF without the orientation, or None.
    """

    image: Tensor
    step: float
    alpha: NDArray[Any] | None = None
    icc: bytes | None = None
    exif: bytes | None = None


def read_header(path: Path) -> Header:
    """Read the beginning of an image file.

    Raises:
        UserError: naming the file, if it cannot be read as an image.
    """
    with opened(path, key=None) as image:
        turned = image.getexif().get(ORIENTATION, 1) >= 5
        width, height = image.size
        compression = str(image.info.get("compression"))
        return Header(
            (height, width) if turned else (width, height),
            image.mode in GREY_MODES or "'LA;16" in str(getattr(image, "tile", "")),
            16 if _is_deep(image) else 8,
            _is_transparent(image),
            str(image.format),
            image.format in LOSSY or image.mode == "P" or "jpeg" in compression or "webp" in compression,
            1 if image.format == "MPO" else getattr(image, "n_frames", 1),
        )


def load_original(path: Path, bits: int = 16) -> Original:
    """Decode an image file: with its 16 bits, where it has so many and no less are asked for.

    Colours are those of the file where it is transparent, too.

    Args:
        path: of the file.
        bits: most that are read of a value.

    Raises:
        UserError: naming the file, if it cannot be read as an image, or not with 16 bits.
    """
    with opened(path, key=None) as image:
        exif, icc = _exif(image, path), _profile(image)
        deep, transparent = bits > 8 and _is_deep(image), _is_transparent(image)
        if not deep and not transparent:
            return Original(from_pixels(load_image(path, key=None)), 1 / 255, None, icc, exif)
        if not deep:
            ImageOps.exif_transpose(image, in_place=True)
            pixels = np.asarray(image.convert("RGBA"))
        elif image.mode.startswith("I"):
            ImageOps.exif_transpose(image, in_place=True)
            pixels = np.asarray(image).astype(np.int64)[..., None]
            if pixels.min() < 0 or pixels.max() > 65535:
                raise ValueError("32-bit pixels have no fixed range; save it with 8 or 16 bits")
        else:
            pixels = _turned(_deep_pixels(path, image), image.getexif().get(ORIENTATION, 1))
    whole = 65535 if deep else 255
    colours, alpha = (pixels[..., :-1], pixels[..., -1]) if pixels.shape[-1] in (2, 4) else (pixels, None)
    found = torch.from_numpy(np.moveaxis(colours, -1, 0).astype(np.float32) / whole).expand(3, -1, -1).contiguous()
    return Original(found, 1 / whole, alpha, icc, exif)


def _is_deep(image: Image.Image) -> bool:
    return image.mode.startswith("I") or ";16" in str(getattr(image, "tile", ""))


def _is_transparent(image: Image.Image) -> bool:
    return "A" in image.mode or "a" in image.mode or "transparency" in image.info


def _deep_pixels(path: Path, image: Image.Image) -> NDArray[Any]:
    """Colours with 16 bits, which Pillow does not read: uint16 (H, W, 2 to 4)."""
    if image.format == "PNG":
        from torchvision.io import decode_png

        data = torch.frombuffer(bytearray(path.read_bytes()), dtype=torch.uint8)
        return np.moveaxis(decode_png(data).numpy(), 0, -1)
    import tifffile

    try:
        with tifffile.TiffFile(path) as file:
            pixels = file.pages.first.asarray()
            pixels = np.moveaxis(pixels, 0, -1) if file.pages.first.planarconfig == 2 else pixels
    except Exception as error:
        raise ImageError(
            f"{path} cannot be read with 16 bits ({' '.join(str(error).split())}): save it without compression or as "
            "PNG, or restore it with depth=8"
        ) from None
    return pixels if image.mode == "RGBA" else pixels[..., :3]


def _turned(pixels: NDArray[Any], orientation: int) -> NDArray[Any]:
    """Pixels, (H, W, C), as the EXIF orientation wants them shown."""
    flips, transposed = TURNED.get(orientation, (0, False))
    pixels = pixels.swapaxes(0, 1) if transposed else pixels
    return {0: pixels, 1: pixels[:, ::-1], 2: pixels[::-1, ::-1], 3: pixels[::-1]}[flips]


def _profile(image: Image.Image) -> bytes | None:
    """The colour profile, if it is one for RGB or grey: one for CMYK does not suit what the colours became."""
    profile = image.info.get("icc_profile")
    space = b"GRAY" if image.mode in ("1", "L", "LA", "I", "I;16") else b"RGB "
    return profile if profile and profile[16:20] == space else None


def _exif(image: Image.Image, path: Path) -> bytes | None:
    """The EXIF without what concerns the pixels of the file."""
    found = image.getexif()
    if not len(found):
        return None
    kept = Image.Exif()
    try:
        for tag, value in found.items():
            if tag not in (ORIENTATION, *FOLDERS) and (
                image.format != "TIFF" or ExifTags.TAGS.get(tag) in KEPT.split()
            ):
                kept[tag] = value
        for folder in FOLDERS:
            if inner := found.get_ifd(folder):
                kept.get_ifd(folder).update(inner)
        return kept.tobytes() if len(kept) or any(kept.get_ifd(folder) for folder in FOLDERS) else None
    except Exception as error:  # it may hold anything
        warn(f"{path}: its EXIF cannot be kept ({' '.join(str(error).split())})")
        return None
