"""Read image files: one reader for data sets, restoration, reports and the demo.

libvips decodes everything but BMP, which Pillow decodes. The format follows from the first bytes of a file, and only
the loader of that format runs; sizes are checked before pixels are decoded. `docs/formats.md` lists what is supported.
libvips starts threads: a process that has read an image must not be forked.
"""

import io
import os
import stat
import struct
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from diracdiff.utils.escaping import for_terminal
from diracdiff.utils.image_files import convert_depth, libvips, write_image

__all__ = ["DecodedImage", "ImageError", "convert_depth", "read_image", "read_info", "read_rgb8", "write_image"]

EXTENSIONS = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff")
"""Suffixes of the files that folders are searched for, in any case."""

MAX_PIXELS, MAX_BYTES = 178_956_970, 2**30
"""Default limits of width times height, and of the size of a file."""

SIGNATURES = {
    b"\xff\xd8\xff": "jpeg",
    b"\x89PNG\r\n\x1a\n": "png",
    b"RIFF": "webp",
    b"II*\0": "tiff",
    b"MM\0*": "tiff",
    b"II+\0": "tiff",
    b"GIF87a": "gif",
    b"GIF89a": "gif",
    b"BM": "bmp",
}
TIFF_MODES = ("1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "I;16", "I;16B")
"""Modes of Pillow of the TIFF files that are read."""

COMPRESSION, ORIENTATION, SAMPLES, PLANAR = 259, 274, 277, 284
TILE_WIDTH, EXTRA_SAMPLES, DEPTHS = 322, 338, (32997, 32998)
STRAIGHT_ALPHA, JPEG = 2, 7
COMPRESSIONS = (1, 5, JPEG, 8, 32773, 32946)
"""Compressions of TIFF that are read: none, LZW, JPEG, deflate and PackBits."""

NOT_SUPPORTED = (
    "this kind of file is not supported. Save it as interleaved RGB or grey with 8 or 16 bits, straight alpha and LZW."
)


@dataclass(frozen=True)
class ImageInfo:
    """Properties of an image file.

    Attributes:
        size: width and height in pixels, after the EXIF orientation.
        bits: 8 or 16 per value.
        channels: colour channels as stored, 1 or 3; CMYK and palettes count as 3.
        alpha: has an alpha channel, or a transparent colour.
        format: jpeg, png, webp, tiff, gif or bmp.
        lossy: was compressed with losses, or has a palette.
    """

    size: tuple[int, int]
    bits: int
    channels: int
    alpha: bool
    format: str
    lossy: bool


@dataclass(frozen=True)
class DecodedImage:
    """Pixels and metadata of an image file.

    Attributes:
        pixels: uint8 or uint16 (H, W, 3); colours are not composited; grey has three equal channels.
        grey: all three channels are equal everywhere, also where the file stores grey as RGB.
        alpha: (H, W) of the same type, or None.
        icc: colour profile that fits the pixels, RGB or grey; that of sRGB after a conversion from CMYK.
        exif: EXIF payload, which begins with its byte order; its orientation is 1. None for TIFF.
        info: properties of the file.
    """

    pixels: NDArray[Any]
    grey: bool
    alpha: NDArray[Any] | None
    icc: bytes | None
    exif: bytes | None
    info: ImageInfo


class ImageError(ValueError):
    """An image file that cannot be used.

    A DataLoader re-raises a worker's exception with the worker's traceback as its message, of which only the last
    line is kept.
    """

    def __init__(self, message: str):
        super().__init__(message.rstrip().rpartition("\n")[2].removeprefix(f"{__name__}.ImageError: "))


def read_info(path: str | Path) -> ImageInfo:
    """Read the properties of an image file without decoding its pixels. Raises ImageError as `read_image` does."""
    with _reading(path):
        return _open(_read(path, MAX_BYTES), MAX_PIXELS)[0]


def read_image(
    path: str | Path, bits: int = 16, max_pixels: int = MAX_PIXELS, max_bytes: int = MAX_BYTES
) -> DecodedImage:
    """Read an image file with its colours, transparency, colour profile and EXIF.

    Args:
        path: a regular file.
        bits: most bits per value of the result; 8 reduces 16-bit values to 8.
        max_pixels: largest width times height, checked before decoding.
        max_bytes: largest size of the file.

    Raises:
        ImageError: naming the file, if it cannot be opened or decoded, is not supported or exceeds the limits.
    """
    with _reading(path):
        data = _read(path, max_bytes)
        info, image = _open(data, max_pixels)
        pixels, alpha = _decode(image, bits)
    grey = info.channels == 1 or all(bool((row == row[:, :1]).all()) for row in pixels)
    icc, exif = (bytes(_field(image, name, b"")) for name in ("icc-profile-data", "exif-data"))
    fits = icc[16:20] == (b"GRAY" if info.channels == 1 else b"RGB ")
    exif = _upright(exif.removeprefix(b"Exif\0\0"))
    return DecodedImage(pixels, grey, alpha, icc if fits else None, exif or None, info)


def read_rgb8(source: str | Path | bytes, name: str = "") -> NDArray[np.uint8]:
    """Read an image file as 8-bit RGB, uint8 (H, W, 3), with transparency composited onto white.

    Args:
        source: a path, or the bytes of a file.
        name: name of bytes in messages.

    Raises:
        ImageError: as `read_image` does.
    """
    with _reading(name if isinstance(source, bytes) else source):
        data = source if isinstance(source, bytes) else _read(source, MAX_BYTES)
        pixels, alpha = _decode(_open(data, MAX_PIXELS)[1], bits=8)
        if alpha is not None:
            opacity = alpha[..., None].astype(np.uint16)
            pixels = ((pixels * opacity + 255 * (255 - opacity) + 127) // 255).astype(np.uint8)
        return pixels


@contextmanager
def _reading(path: str | Path) -> Iterator[None]:
    """Name the file in errors, also in those of Pillow and libvips."""
    try:
        with warnings.catch_warnings(action="ignore"):  # Pillow's, of damaged tags
            yield
    except MemoryError as error:
        raise ImageError(f"{for_terminal(str(path))}: it does not fit into memory. Shrink it.") from error
    except ImageError as error:
        raise ImageError(f"{for_terminal(str(path))}: {error}") from error
    except Exception as error:  # decoders raise what their parts raise
        lines = str(getattr(error, "detail", error)).strip().splitlines() or ["unknown error"]
        reason = f"it cannot be decoded ({' '.join(lines[-1].split())}). Replace or remove the file."
        raise ImageError(f"{for_terminal(str(path))}: {reason}") from error


def _read(path: str | Path, max_bytes: int) -> bytes:
    """Read a regular file of at most `max_bytes` bytes; a FIFO does not block."""
    try:
        with open(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as file:
            status = os.fstat(file.fileno())
            if status.st_size > max_bytes:
                raise ImageError(f"{status.st_size} bytes, more than {max_bytes}. Shrink it.")
            if stat.S_ISREG(status.st_mode):
                return file.read(max_bytes)
    except FileNotFoundError as error:
        raise ImageError("the file does not exist. Check the path.") from error
    except IsADirectoryError:
        pass
    except OSError as error:
        raise ImageError(f"it cannot be read ({error.strerror}). Check the file and its permissions.") from error
    raise ImageError("it is not a regular file. Give an image file.")


def _open(data: bytes, max_pixels: int) -> tuple[ImageInfo, Any]:
    """Read the header of an image file's bytes; returns an image of libvips that is decoded when it is used."""
    format = next((name for start, name in SIGNATURES.items() if data.startswith(start)), None)
    if format is None or (format == "webp" and data[8:12] != b"WEBP"):
        reason = "not an image of a supported format" if data else "the file is empty"
        raise ImageError(f"{reason}. Give a JPEG, PNG, WebP, TIFF, GIF or BMP file.")
    lossy, level = format in ("jpeg", "gif") or (format == "webp" and data[12:16] != b"VP8L"), "error"
    if format in ("tiff", "bmp"):
        try:
            header = Image.open(io.BytesIO(data), formats=(format,))
        except UnidentifiedImageError as error:
            raise ImageError(f"it is damaged, or {NOT_SUPPORTED}") from error
        _check_size(*header.size, max_pixels)
        lossy = header.mode == "P"
    if format == "tiff":
        tags = header.tag_v2  # type: ignore[attr-defined]
        _check_tiff(header.mode, tags)
        lossy |= tags.get(COMPRESSION) == JPEG
        level = "warning" if TILE_WIDTH in tags else level  # libvips only warns where a tile is damaged
    if format == "bmp":
        mode = {"1": "L", "P": "RGB"}.get(header.mode, header.mode)
        image = libvips().Image.new_from_array(np.asarray(header.convert(mode)))
    else:
        load = getattr(libvips().Image, f"{format}load_buffer")
        image = load(data, fail_on=level, access="sequential")
    _check_size(image.width, image.height, max_pixels)
    bits = {"uchar": 8, "ushort": 16}.get(image.format)
    if bits is None or image.bands > 4:
        raise ImageError(f"it has {image.bands} channels of type {image.format}. Save it as RGB with 8 or 16 bits.")
    if image.interpretation == "cmyk":
        image = image.icc_transform("srgb", embedded=True, input_profile="cmyk", depth=bits)
    size = (image.width, image.height) if _field(image, "orientation", 1) < 5 else (image.height, image.width)
    lossy = lossy or "palette" in image.get_fields()
    return ImageInfo(size, bits, 1 if image.bands < 3 else 3, image.bands in (2, 4), format, lossy), image


def _check_size(width: int, height: int, max_pixels: int) -> None:
    if width * height > max_pixels:
        raise ImageError(f"{width}x{height} pixels, more than {max_pixels}. Shrink it.")


def _check_tiff(mode: str, tags: Any) -> None:
    """Refuse a TIFF that libvips misreads or whose alpha is unclear. Raises ImageError."""
    interleaved = tags.get(PLANAR, 1) == 1 or tags.get(SAMPLES, 1) == 1
    straight = tags.get(EXTRA_SAMPLES, (STRAIGHT_ALPHA,)) == (STRAIGHT_ALPHA,)  # OpenCV does not declare alpha
    flat = all(tags.get(depth, 1) == 1 for depth in DEPTHS)
    known = mode in TIFF_MODES and tags.get(COMPRESSION, 1) in COMPRESSIONS
    if not (interleaved and straight and flat and known):
        raise ImageError(NOT_SUPPORTED)


def _field(image: Any, name: str, default: Any = None) -> Any:
    return image.get(name) if name in image.get_fields() else default


def _decode(image: Any, bits: int) -> tuple[NDArray[Any], NDArray[Any] | None]:
    """Decode upright colours, (H, W, 3), and alpha, (H, W)."""
    if _field(image, "orientation", 1) != 1:
        image = image.copy_memory().autorot()
    pixels = np.atleast_3d(image.numpy())
    pixels = convert_depth(pixels, 8) if bits == 8 else pixels
    alpha = np.ascontiguousarray(pixels[..., -1]) if pixels.shape[-1] in (2, 4) else None
    colours = pixels if alpha is None else pixels[..., :-1]
    return np.ascontiguousarray(np.broadcast_to(colours, (*colours.shape[:2], 3))), alpha


def _upright(exif: bytes) -> bytes:
    """Set the orientation of an EXIF payload to 1, and leave every other byte as it is."""
    with suppress(KeyError, struct.error):
        order = {b"II": "<", b"MM": ">"}[exif[:2]]
        (start,) = struct.unpack_from(f"{order}I", exif, 4)
        (count,) = struct.unpack_from(f"{order}H", exif, start)
        for at in range(start + 2, start + 2 + 12 * count, 12):
            number, kind = struct.unpack_from(f"{order}HH", exif, at)
            if (number, kind) == (ORIENTATION, 3):
                return exif[: at + 8] + struct.pack(f"{order}H", 1) + exif[at + 10 :]
    return exif
