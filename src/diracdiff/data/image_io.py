"""Reader of image files for data sets, restoration, reports and the demo.

Pillow decodes BMP, and libvips all other formats. The first bytes of a file determine the format, and only the loader
of that format runs. Image sizes are checked before decoding. `docs/formats.md` lists the supported formats. libvips
starts threads: a process that has read an image must not be forked.
"""

import io
import os
import stat
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
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
"""Suffixes of image files in folders, in lower case; upper case matches too."""

MAX_PIXELS, MAX_BYTES = 178_956_970, 2**30
"""Default limits of width times height in pixels, and of the size of a file in bytes."""

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
"""Supported TIFF files by their mode in Pillow."""

COMPRESSION, SAMPLES, PLANAR = 259, 277, 284
TILE_WIDTH, EXTRA_SAMPLES, DEPTHS = 322, 338, (32997, 32998)
STRAIGHT_ALPHA, JPEG = 2, 7
COMPRESSIONS = (1, 5, JPEG, 8, 32773, 32946)
"""Supported compressions of TIFF: none, LZW, JPEG, deflate and PackBits."""

UNSUPPORTED = (
    "this kind of file is not supported. Save it as interleaved RGB or grey with 8 or 16 bits, straight alpha and LZW."
)


@dataclass(frozen=True)
class ImageInfo:
    """Properties of an image file.

    Attributes:
        size: width and height in pixels, after application of the EXIF orientation.
        bits: bits per value, 8 or 16.
        channels: number of stored colour channels, 1 or 3; 3 for CMYK and palettes.
        alpha: True if the file has an alpha channel or a transparent colour.
        format: "jpeg", "png", "webp", "tiff", "gif" or "bmp".
        lossy: True if the compression is lossy or the file has a palette.
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
        pixels: uint8 or uint16 (H, W, 3), not composited with alpha. Grey images have three equal channels.
        grey: True if the three channels are equal at every pixel, also for grey stored as RGB.
        alpha: alpha channel, (H, W), of the type of `pixels`, or None.
        icc: ICC profile that fits the pixels, RGB or grey, or None; the sRGB profile after conversion from CMYK.
        info: properties of the file.
    """

    pixels: NDArray[Any]
    grey: bool
    alpha: NDArray[Any] | None
    icc: bytes | None
    info: ImageInfo


class ImageError(ValueError):
    """Error of an image file that cannot be used.

    Only the last line of the message is kept: a `DataLoader` re-raises the exception of a worker with its traceback as
    message.
    """

    def __init__(self, message: str):
        super().__init__(message.rstrip().rpartition("\n")[2].removeprefix(f"{__name__}.ImageError: "))


def read_info(path: str | Path) -> ImageInfo:
    """Read the properties of an image file without decoding the pixels.

    Raises:
        ImageError: see `read_image`.
    """
    with _errors_with_name(path):
        return _open(_read(path, MAX_BYTES), MAX_PIXELS)[0]


def read_image(
    path: str | Path, bits: int = 16, max_pixels: int = MAX_PIXELS, max_bytes: int = MAX_BYTES
) -> DecodedImage:
    """Read an image file with its alpha channel and ICC profile.

    Args:
        path: path of a regular file.
        bits: maximum bits per value of the result: 8 converts 16-bit values, 16 keeps them.
        max_pixels: maximum of width times height, checked before decoding.
        max_bytes: maximum size of the file in bytes.

    Raises:
        ImageError: if the file cannot be read or decoded, is not supported, or exceeds a limit.
    """
    with _errors_with_name(path):
        data = _read(path, max_bytes)
        info, image = _open(data, max_pixels)
        pixels, alpha = _decode(image, bits)
    grey = info.channels == 1 or all(bool((row == row[:, :1]).all()) for row in pixels)
    icc = bytes(_get_field(image, "icc-profile-data", b""))
    fits = icc[16:20] == (b"GRAY" if info.channels == 1 else b"RGB ")
    return DecodedImage(pixels, grey, alpha, icc if fits else None, info)


def read_rgb8(source: str | Path | bytes, name: str = "") -> NDArray[np.uint8]:
    """Read an image file as 8-bit RGB, uint8 (H, W, 3), composited onto white.

    Args:
        source: path, or content of a file.
        name: name for messages if `source` is the content of a file.

    Raises:
        ImageError: see `read_image`.
    """
    with _errors_with_name(name if isinstance(source, bytes) else source):
        data = source if isinstance(source, bytes) else _read(source, MAX_BYTES)
        pixels, alpha = _decode(_open(data, MAX_PIXELS)[1], bits=8)
        if alpha is not None:
            opacity = alpha[..., None].astype(np.uint16)
            pixels = ((pixels * opacity + 255 * (255 - opacity) + 127) // 255).astype(np.uint8)
        return pixels


@contextmanager
def _errors_with_name(path: str | Path) -> Iterator[None]:
    """Convert all errors, including those of Pillow and libvips, to `ImageError` with the name of the file."""
    try:
        with warnings.catch_warnings(action="ignore"):  # of Pillow about damaged tags
            yield
    except MemoryError as error:
        raise ImageError(f"{for_terminal(str(path))}: does not fit into memory. Shrink it.") from error
    except ImageError as error:
        raise ImageError(f"{for_terminal(str(path))}: {error}") from error
    except Exception as error:  # exception types differ by decoder
        lines = str(getattr(error, "detail", error)).strip().splitlines() or ["unknown error"]
        reason = f"cannot be decoded ({' '.join(lines[-1].split())}). Replace or remove the file."
        raise ImageError(f"{for_terminal(str(path))}: {reason}") from error


def _read(path: str | Path, max_bytes: int) -> bytes:
    """Read a regular file of at most `max_bytes` bytes, without blocking on a FIFO."""
    try:
        with open(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as file:
            status = os.fstat(file.fileno())
            if status.st_size > max_bytes:
                raise ImageError(f"has {status.st_size} bytes, more than {max_bytes}. Shrink it.")
            if stat.S_ISREG(status.st_mode):
                return file.read(max_bytes)
    except FileNotFoundError as error:
        raise ImageError("does not exist. Check the path.") from error
    except IsADirectoryError:
        pass
    except OSError as error:
        raise ImageError(f"cannot be read ({error.strerror}). Check the file and its permissions.") from error
    raise ImageError("is not a regular file. Use an image file.")


def _open(data: bytes, max_pixels: int) -> tuple[ImageInfo, Any]:
    """Read the header of an image file; return its properties and a lazy libvips image."""
    format = next((name for start, name in SIGNATURES.items() if data.startswith(start)), None)
    if format is None or (format == "webp" and data[8:12] != b"WEBP"):
        reason = "is not an image of a supported format" if data else "is empty"
        raise ImageError(f"{reason}. Use a JPEG, PNG, WebP, TIFF, GIF or BMP file.")
    lossy, level = format in ("jpeg", "gif") or (format == "webp" and data[12:16] != b"VP8L"), "error"
    if format in ("tiff", "bmp"):
        try:
            header = Image.open(io.BytesIO(data), formats=(format,))
        except UnidentifiedImageError as error:
            raise ImageError(f"is damaged, or {UNSUPPORTED}") from error
        _check_size(*header.size, max_pixels)
        lossy = header.mode == "P"
    if format == "tiff":
        tags = header.tag_v2  # type: ignore[attr-defined]
        _check_tiff(header.mode, tags)
        lossy |= tags.get(COMPRESSION) == JPEG
        level = "warning" if TILE_WIDTH in tags else level  # libvips only warns about damaged tiles
    if format == "bmp":
        mode = {"1": "L", "P": "RGB"}.get(header.mode, header.mode)
        image = libvips().Image.new_from_array(np.asarray(header.convert(mode)))
    else:
        load = getattr(libvips().Image, f"{format}load_buffer")
        image = load(data, fail_on=level, access="sequential")
    _check_size(image.width, image.height, max_pixels)
    bits = {"uchar": 8, "ushort": 16}.get(image.format)
    if bits is None or image.bands > 4:
        raise ImageError(f"has {image.bands} channels of type {image.format}. Save it as RGB with 8 or 16 bits.")
    if image.interpretation == "cmyk":
        image = image.icc_transform("srgb", embedded=True, input_profile="cmyk", depth=bits)
    size = (image.width, image.height) if _get_field(image, "orientation", 1) < 5 else (image.height, image.width)
    lossy = lossy or "palette" in image.get_fields()
    return ImageInfo(size, bits, 1 if image.bands < 3 else 3, image.bands in (2, 4), format, lossy), image


def _check_size(width: int, height: int, max_pixels: int) -> None:
    if width * height > max_pixels:
        raise ImageError(f"has {width}x{height} pixels, more than {max_pixels}. Shrink it.")


def _check_tiff(mode: str, tags: Any) -> None:
    """Raise ImageError for a TIFF file that libvips misreads, or with an ambiguous alpha channel."""
    interleaved = tags.get(PLANAR, 1) == 1 or tags.get(SAMPLES, 1) == 1
    straight = tags.get(EXTRA_SAMPLES, (STRAIGHT_ALPHA,)) == (STRAIGHT_ALPHA,)  # OpenCV does not declare alpha
    flat = all(tags.get(depth, 1) == 1 for depth in DEPTHS)
    supported = mode in TIFF_MODES and tags.get(COMPRESSION, 1) in COMPRESSIONS
    if not (interleaved and straight and flat and supported):
        raise ImageError(UNSUPPORTED)


def _get_field(image: Any, name: str, default: Any = None) -> Any:
    return image.get(name) if name in image.get_fields() else default


def _decode(image: Any, bits: int) -> tuple[NDArray[Any], NDArray[Any] | None]:
    """Decode colours, (H, W, 3), and alpha, (H, W) or None, with the EXIF orientation applied."""
    if _get_field(image, "orientation", 1) != 1:
        image = image.copy_memory().autorot()
    pixels = np.atleast_3d(image.numpy())
    pixels = convert_depth(pixels, 8) if bits == 8 else pixels
    alpha = np.ascontiguousarray(pixels[..., -1]) if pixels.shape[-1] in (2, 4) else None
    colours = pixels if alpha is None else pixels[..., :-1]
    return np.ascontiguousarray(np.broadcast_to(colours, (*colours.shape[:2], 3))), alpha
