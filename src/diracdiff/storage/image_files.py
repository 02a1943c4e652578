"""Write image files with 8 or 16 bits, transparency, a colour profile and EXIF.

libvips, which encodes them, starts threads: a process that has read or written an image must not be forked. It is
imported on first use.
"""

import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from diracdiff.errors import warn
from diracdiff.storage.files import write_atomically

SUFFIXES = (".png", ".jpg", ".tif")
"""Formats that images are written in, by the suffix of the file's name."""


def write_image(
    path: Path,
    pixels: NDArray[Any],
    *,
    alpha: NDArray[Any] | None = None,
    icc: bytes | None = None,
    exif: bytes | None = None,
    quality: int = 95,
) -> None:
    """Write an image as PNG, JPEG or TIFF, by the suffix of the file's name, completely or not at all.

    Args:
        path: ends in .png, .jpg or .tif.
        pixels: uint8 or uint16, (H, W) or (H, W, 3).
        alpha: straight transparency, (H, W) of the same type; not for JPEG.
        icc: colour profile. A grey image with an RGB profile is written as RGB.
        exif: EXIF payload. JPEG drops more than 64 KB of it, with a warning.
        quality: of a JPEG, whose colours are not subsampled.

    Raises:
        ValueError: if the format cannot hold these pixels.
        UserError: if the file cannot be written.
    """
    if path.suffix not in SUFFIXES:
        raise ValueError(f"path={path}: the suffix must be one of {', '.join(SUFFIXES)}")
    if path.suffix == ".jpg" and (alpha is not None or pixels.dtype != np.uint8):
        raise ValueError(f"path={path}: a JPEG has 8 bits and no transparency")
    write_atomically(path, _encode(path, pixels, alpha, icc, exif, quality))


def convert_depth(values: NDArray[Any], bits: int) -> NDArray[Any]:
    """Convert uint8 or uint16 values to 8 or 16 bits, rounded; 255 and 65535 are the same value."""
    if values.dtype == (np.uint8 if bits == 8 else np.uint16):
        return values
    if bits == 16:
        return values.astype(np.uint16) * np.uint16(257)
    return ((values.astype(np.uint32) * 255 + 32767) // 65535).astype(np.uint8)


def libvips() -> Any:
    """Import libvips, without its cache of operations and with one thread per image."""
    import pyvips

    pyvips.cache_set_max(0)
    pyvips.concurrency_set(1)
    return pyvips


def _encode(
    path: Path,
    pixels: NDArray[Any],
    alpha: NDArray[Any] | None,
    icc: bytes | None,
    exif: bytes | None,
    quality: int,
) -> bytes:
    vips = libvips()
    colours = pixels if pixels.ndim == 3 else pixels[..., None]
    if colours.shape[-1] == 1 and (
        (icc is not None and icc[16:20] == b"RGB ") or (path.suffix == ".tif" and alpha is not None)
    ):
        colours = np.repeat(colours, 3, axis=-1)  # few programs read a TIFF of grey and alpha
    grey = colours.shape[-1] == 1
    if alpha is not None:
        colours = np.concatenate([colours, alpha[..., None]], -1)
    space = ("b-w" if grey else "srgb") if colours.dtype == np.uint8 else ("grey16" if grey else "rgb16")
    image = vips.Image.new_from_array(np.ascontiguousarray(colours)).copy(interpretation=space)
    kept = "none"
    if icc is not None and icc[16:20] == (b"GRAY" if grey else b"RGB "):
        image, kept = image.copy(), "icc"
        image.set_type(vips.GValue.blob_type, "icc-profile-data", icc)
    if path.suffix == ".jpg":
        data: bytes = image.jpegsave_buffer(Q=quality, subsample_mode="off", keep=kept)
        return data if exif is None else _insert_jpeg_exif(data, exif, path)
    if path.suffix == ".png":
        data = image.pngsave_buffer(keep=kept)
        return data if exif is None else _insert_png_exif(data, exif)
    data = image.tiffsave_buffer(compression="deflate", predictor="horizontal", keep=kept)
    return data


def _insert_jpeg_exif(data: bytes, exif: bytes, path: Path) -> bytes:
    content = b"Exif\0\0" + exif
    if len(content) > 65533:
        warn(f"{path}: its EXIF of {len(exif)} bytes is left out, because a JPEG holds at most 65527")
        return data
    return data[:2] + b"\xff\xe1" + struct.pack(">H", len(content) + 2) + content + data[2:]


def _insert_png_exif(data: bytes, exif: bytes) -> bytes:
    chunk = b"eXIf" + exif
    header = 8 + 25  # the signature and the first chunk
    return data[:header] + struct.pack(">I", len(exif)) + chunk + struct.pack(">I", zlib.crc32(chunk)) + data[header:]
