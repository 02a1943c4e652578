"""Writing of image files with 8 or 16 bits, transparency and a colour profile.

libvips encodes the images. It is imported on first use and starts threads, so a process must not fork after it has
read or written an image.
"""

import logging
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from diracdiff.utils.files import write_atomically

SUFFIXES = (".png", ".jpg", ".tif")
"""Suffixes of file names, which select the format."""

QUALITY = 95
"""Default quality of a JPEG."""

JFIF = b"\xff\xe0\0\x10JFIF\0\1\1\0\0\1\0\1\0\0"
"""JPEG segment that declares YCbCr colours and square pixels."""


def write_image(
    path: Path,
    pixels: NDArray[Any],
    *,
    alpha: NDArray[Any] | None = None,
    icc: bytes | None = None,
    quality: int = QUALITY,
) -> None:
    """Write an image as PNG, JPEG or TIFF atomically.

    Args:
        path: output file; its suffix .png, .jpg or .tif selects the format.
        pixels: uint8 or uint16, (H, W) or (H, W, 3).
        alpha: straight alpha channel, (H, W) of the same type; not for JPEG.
        icc: colour profile. Grey pixels with an RGB profile are written as RGB.
        quality: quality of a JPEG, in [1, 100]. Chroma is not subsampled.

    Raises:
        ValueError: if the format does not support the pixels, or writing fails.
    """
    suffix = path.suffix
    if suffix not in SUFFIXES:
        raise ValueError(f"suffix={suffix}: must be one of {', '.join(SUFFIXES)}")
    if suffix == ".jpg" and (alpha is not None or pixels.dtype != np.uint8):
        raise ValueError(f"suffix={suffix}: a JPEG has 8 bits and no transparency")
    image = _image(pixels, alpha, icc, suffix)
    keep = "icc" if "icc-profile-data" in image.get_fields() else "none"
    try:
        data = _encode(image, suffix, keep, quality)
    except libvips().Error as error:  # such as a JPEG of more than 65535 rows or columns
        reason = str(error).strip().splitlines()[-1]
        raise ValueError(f"{path}: cannot be written ({reason}). Choose another format.") from error
    write_atomically(path, data)


def _encode(image: Any, suffix: str, keep: str, quality: int) -> bytes:
    if suffix == ".png":
        return bytes(image.pngsave_buffer(keep=keep, filter="all"))
    if suffix == ".jpg":
        data = bytes(image.jpegsave_buffer(keep=keep, Q=quality, subsample_mode="off"))
        return data[:2] + JFIF + data[2:]
    return bytes(image.tiffsave_buffer(keep=keep, compression="deflate", predictor="horizontal"))


def convert_depth(values: NDArray[Any], bits: int) -> NDArray[Any]:
    """Convert uint8 or uint16 values to `bits` bits, 8 or 16, with rounding. 255 and 65535 are both 1.0."""
    if values.dtype == (np.uint8 if bits == 8 else np.uint16):
        return values
    result = np.empty(values.shape, np.uint8 if bits == 8 else np.uint16)
    for row, part in enumerate(values):  # wide integers for one row at a time
        result[row] = (part.astype(np.uint32) * 255 + 32767) // 65535 if bits == 8 else part.astype(np.uint16) * 257
    return result


def libvips() -> Any:
    """Import pyvips, disable its operation cache, and limit it to one thread per image."""
    import pyvips

    logging.getLogger("pyvips").setLevel(logging.WARNING)  # it logs every thread pool at INFO
    pyvips.cache_set_max(0)
    pyvips.concurrency_set(1)
    return pyvips


def _image(pixels: NDArray[Any], alpha: NDArray[Any] | None, icc: bytes | None, suffix: str) -> Any:
    """Return an image of libvips, with the profile if it matches the colour space."""
    colours = pixels if pixels.ndim == 3 else pixels[..., None]
    space = icc[16:20] if icc is not None else b""
    if space == b"RGB " or (suffix == ".tif" and alpha is not None):  # few programs read a TIFF of grey and alpha
        colours = np.broadcast_to(colours, (*colours.shape[:2], 3))
    grey = colours.shape[-1] == 1
    bands = colours if alpha is None else np.concatenate([colours, alpha[..., None]], -1)
    interpretation = {(True, 1): "b-w", (True, 2): "grey16", (False, 1): "srgb", (False, 2): "rgb16"}
    vips = libvips()
    image = vips.Image.new_from_array(np.ascontiguousarray(bands))
    per_millimetre = 72 / 25.4  # 72 pixels per inch
    image = image.copy(interpretation=interpretation[grey, bands.itemsize], xres=per_millimetre, yres=per_millimetre)
    if space == (b"GRAY" if grey else b"RGB "):
        image.set_type(vips.GValue.blob_type, "icc-profile-data", icc)
    return image
