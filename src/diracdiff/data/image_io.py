"""Read and write image files: one reader and one writer for data sets, restoration, reports and the demo.

The format is found in the first bytes of a file, never in its name; `docs/formats.md` lists what is supported.
A process that has read or written an image must not be forked, because libvips starts threads.
"""

import hashlib
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from diracdiff.data.image_checks import Unreadable
from diracdiff.data.image_headers import DEFAULT_LIMITS, Header, ImageInfo, Limits, read_header
from diracdiff.utils.errors import UserError
from diracdiff.utils.image_files import convert_depth, write_image
from diracdiff.utils.tiff_tags import reset_orientation

__all__ = [
    "DecodedImage",
    "ImageError",
    "ImageInfo",
    "Limits",
    "convert_depth",
    "decode_image",
    "read_image",
    "read_info",
    "read_rgb8",
    "write_image",
]


@dataclass(frozen=True)
class DecodedImage:
    """An image file's pixels and metadata.

    Attributes:
        pixels: uint8 or uint16 (H, W, 3); colours are straight, not composited; grey has three equal channels.
        grey: all three channels are equal everywhere, also where the file stores grey as RGB.
        alpha: (H, W) of the same type, or None.
        icc: colour profile that fits the pixels, RGB or grey; None after a conversion from CMYK.
        exif: EXIF payload, which begins with its byte order; its orientation is 1.
        info: properties of the file.
        sha256: of the file's bytes.
    """

    pixels: NDArray[Any]
    grey: bool
    alpha: NDArray[Any] | None
    icc: bytes | None
    exif: bytes | None
    info: ImageInfo
    sha256: str


class ImageError(UserError):
    """An image file that cannot be used.

    A DataLoader re-raises a worker's exception with the worker's traceback as its message. Only the last line, which
    is the message of the exception, is kept.
    """

    def __init__(self, message: str):
        last_line = message.rstrip().rpartition("\n")[2]
        super().__init__(last_line.removeprefix(f"{__name__}.ImageError: "))


@contextmanager
def naming(path: str | Path) -> Iterator[None]:
    """Raise Unreadable of the body as an ImageError that names the file."""
    try:
        yield
    except Unreadable as error:
        reason = " ".join(error.reason.split())
        raise ImageError(f"{printable(path)}: {reason}. {error.remedy}") from error


def printable(path: str | Path) -> str:
    """Return a path as one line of text that can be printed."""
    text = os.fspath(path)
    return text if text.isprintable() else repr(text)


def read_info(path: str | Path, limits: Limits = DEFAULT_LIMITS) -> ImageInfo:
    """Read the properties of an image file, without decoding its pixels.

    Raises:
        ImageError: naming the file, if it cannot be opened, is not supported or exceeds the limits.
    """
    with naming(path):
        return read_header(read_file(path, limits), limits).info


def read_image(path: str | Path, limits: Limits = DEFAULT_LIMITS, bits: int = 16) -> DecodedImage:
    """Read an image file with its colours, transparency, colour profile and EXIF.

    Args:
        path: a regular file.
        limits: checked before decoding.
        bits: most bits per value of the result; 8 reduces 16-bit values to 8.

    Raises:
        ImageError: naming the file, if it cannot be opened or decoded, is not supported or exceeds the limits.
    """
    with naming(path):
        data = read_file(path, limits)
    return decode_image(data, os.fspath(path), limits, bits)


def read_rgb8(path: str | Path, limits: Limits = DEFAULT_LIMITS) -> NDArray[np.uint8]:
    """Read an image file as 8-bit RGB, uint8 (H, W, 3), with transparency composited onto white.

    Raises:
        ImageError: as `read_image` does.
    """
    with naming(path):
        return to_rgb8(read_header(read_file(path, limits), limits))


def decode_image(data: bytes, name: str, limits: Limits = DEFAULT_LIMITS, bits: int = 16) -> DecodedImage:
    """Decode the bytes of an image file, called `name` in messages, as `read_image` does.

    Raises:
        ImageError: as `read_image` does.
    """
    with naming(name):
        header = read_header(data, limits)
        pixels, alpha = _straight(header, bits)
    grey = header.info.channels == 1 or all(bool((row == row[:, :1]).all()) for row in pixels)
    exif = header.exif and reset_orientation(header.exif)
    return DecodedImage(pixels, grey, alpha, header.icc, exif, header.info, hashlib.sha256(data).hexdigest())


def read_file(path: str | Path, limits: Limits) -> bytes:
    """Read a regular file of at most `limits.max_bytes` bytes; a FIFO does not block.

    Raises:
        Unreadable: if it cannot be read, is not a regular file or is too large.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            status = os.fstat(descriptor)
            if not stat.S_ISREG(status.st_mode):
                raise Unreadable("it is not a regular file", "Give an image file.")
            if status.st_size > limits.max_bytes:
                raise Unreadable(f"{status.st_size} bytes, more than {limits.max_bytes}", "Shrink it.")
            with open(descriptor, "rb", closefd=False) as file:
                return file.read(limits.max_bytes)
        finally:
            os.close(descriptor)
    except FileNotFoundError as error:
        raise Unreadable("the file does not exist", "Check the path.") from error
    except OSError as error:
        raise Unreadable(f"it cannot be read ({error.strerror})", "Check the file and its permissions.") from error


def to_rgb8(header: Header) -> NDArray[np.uint8]:
    """Decode to 8-bit RGB, uint8 (H, W, 3), with transparency composited onto white.

    Raises:
        Unreadable: if the file cannot be decoded.
    """
    pixels, alpha = _straight(header, bits=8)
    return pixels if alpha is None else _composite_onto_white(pixels, alpha)


def _straight(header: Header, bits: int) -> tuple[NDArray[Any], NDArray[Any] | None]:
    """Decode, turn as the EXIF orientation demands, and return straight colours, (H, W, 3), and alpha, (H, W)."""
    try:
        pixels = turned(header.decode(), header.orientation)
        pixels = convert_depth(pixels, 8) if bits == 8 else pixels
        transparent = pixels.shape[-1] in (2, 4)
        colours = pixels[..., :-1] if transparent else pixels
        alpha = np.ascontiguousarray(pixels[..., -1]) if transparent else None
        if alpha is not None and header.premultiplied:
            colours = _divided(colours, alpha)
        return np.ascontiguousarray(np.broadcast_to(colours, (*colours.shape[:2], 3))), alpha
    except MemoryError as error:
        raise Unreadable("it does not fit into memory", "Shrink it.") from error


def turned(pixels: NDArray[Any], orientation: int) -> NDArray[Any]:
    """Turn and mirror pixels, (H, W, C), from a stored orientation to the upright one."""
    if orientation >= 5:
        pixels = pixels.swapaxes(0, 1)
    if orientation in (3, 4, 7, 8):
        pixels = pixels[::-1]
    if orientation in (2, 3, 6, 7):
        pixels = pixels[:, ::-1]
    return pixels


def _divided(colours: NDArray[Any], alpha: NDArray[Any]) -> NDArray[Any]:
    """Divide premultiplied colours, (H, W, C), by alpha, (H, W), rounded."""
    largest = np.iinfo(colours.dtype).max
    result = np.empty_like(colours)
    for row, (values, opacity) in enumerate(zip(colours, alpha, strict=True)):
        divisor = np.maximum(opacity, 1)[:, None].astype(np.uint32)
        result[row] = (np.minimum(values, opacity[:, None]).astype(np.uint32) * largest + divisor // 2) // divisor
    return result


def _composite_onto_white(pixels: NDArray[np.uint8], alpha: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Blend 8-bit colours with white, rounded."""
    result = np.empty_like(pixels)
    for row, (colours, opacity) in enumerate(zip(pixels, alpha, strict=True)):
        weight = opacity.astype(np.uint32)[:, None]
        result[row] = (colours * weight + 255 * (255 - weight) + 127) // 255
    return result
