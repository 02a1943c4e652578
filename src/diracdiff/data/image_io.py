"""Read image files: one reader for data sets, restoration, reports and the demo.

libvips decodes everything but BMP, which Pillow decodes. The format follows from the first bytes of a file, and only
the loader of that format runs; sizes are checked before pixels are decoded. `docs/formats.md` lists what is supported.
libvips starts threads: a process that has read an image must not be forked.
"""

import hashlib
import io
import os
import stat
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from diracdiff.utils.image_files import convert_depth, libvips, write_image
from diracdiff.utils.tiff_tags import exif_of_tiff, first_value, integers, read_tags, reset_orientation

__all__ = ["DecodedImage", "ImageError", "Limits", "convert_depth", "read_image", "read_info", "read_rgb8"]
__all__ += ["write_image"]

EXTENSIONS = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff")
"""Suffixes of the files that folders are searched for, in any case."""

MAX_PIXELS = 178_956_970
"""Default limit of width times height."""

SIGNATURES = {
    b"\xff\xd8\xff": "jpeg",
    b"\x89PNG\r\n\x1a\n": "png",
    b"II*\0": "tiff",
    b"MM\0*": "tiff",
    b"II+\0": "tiff",
    b"GIF87a": "gif",
    b"GIF89a": "gif",
    b"BM": "bmp",
}
BITS, COMPRESSION, PHOTOMETRIC, SAMPLES, PLANAR = 258, 259, 262, 277, 284
TILE_WIDTH, EXTRA_SAMPLES, SAMPLE_FORMAT, IMAGE_DEPTH, TILE_DEPTH = 322, 338, 339, 32997, 32998
COLOURS = {0: 1, 1: 1, 2: 3, 3: 1, 5: 4, 6: 3}
"""Colour channels of a TIFF by its photometric interpretation: grey, RGB, palette, CMYK, YCbCr."""
PALETTE, CMYK, JPEG, STRAIGHT_ALPHA = 3, 5, 7, 2
LOSSLESS, FAX = {1, 5, 8, 32773, 32946}, {2, 3, 4}
"""TIFF compressions: none, LZW, deflate and PackBits; and those of one bit per pixel."""


@dataclass(frozen=True)
class Limits:
    """Limits that are checked before a file is decoded.

    Attributes:
        max_pixels: largest width times height.
        max_bytes: largest size of the file.
        setting: configuration key of `max_pixels`, for messages; empty where a user cannot set it.
    """

    max_pixels: int = MAX_PIXELS
    max_bytes: int = 2**30
    setting: str = ""


DEFAULT_LIMITS = Limits()


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
        frames: number of frames or pages, of which the first is read.
    """

    size: tuple[int, int]
    bits: int
    channels: int
    alpha: bool
    format: str
    lossy: bool
    frames: int


@dataclass(frozen=True)
class DecodedImage:
    """Pixels and metadata of an image file.

    Attributes:
        pixels: uint8 or uint16 (H, W, 3); colours are not composited; grey has three equal channels.
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


class ImageError(ValueError):
    """An image file that cannot be used.

    A DataLoader re-raises a worker's exception with the worker's traceback as its message, of which only the last
    line is kept.
    """

    def __init__(self, message: str):
        super().__init__(message.rstrip().rpartition("\n")[2].removeprefix(f"{__name__}.ImageError: "))


class _Refused(Exception):
    """A file that is damaged, not supported or too large: the reason and the remedy."""


@dataclass(frozen=True)
class _Opened:
    """A file whose header was read; `decode` returns its pixels as stored, (H, W, 1 to 4)."""

    info: ImageInfo
    decode: Callable[[], NDArray[Any]]
    orientation: int = 1
    icc: bytes | None = None
    exif: bytes | None = None


def read_info(path: str | Path, limits: Limits = DEFAULT_LIMITS) -> ImageInfo:
    """Read the properties of an image file without decoding its pixels.

    Raises:
        ImageError: naming the file, if it cannot be opened, is not supported or exceeds the limits.
    """
    with _naming(path):
        return _open(_read(path, limits), limits).info


def read_image(path: str | Path, limits: Limits = DEFAULT_LIMITS, bits: int = 16) -> DecodedImage:
    """Read an image file with its colours, transparency, colour profile and EXIF.

    Args:
        path: a regular file.
        limits: checked before decoding.
        bits: most bits per value of the result; 8 reduces 16-bit values to 8.

    Raises:
        ImageError: naming the file, if it cannot be opened or decoded, is not supported or exceeds the limits.
    """
    with _naming(path):
        data = _read(path, limits)
        opened = _open(data, limits)
        pixels, alpha = _decode(opened, bits)
    grey = opened.info.channels == 1 or all(bool((row == row[:, :1]).all()) for row in pixels)
    exif = opened.exif and reset_orientation(opened.exif)
    return DecodedImage(pixels, grey, alpha, opened.icc, exif, opened.info, hashlib.sha256(data).hexdigest())


def read_rgb8(source: str | Path | bytes, limits: Limits = DEFAULT_LIMITS, name: str = "") -> NDArray[np.uint8]:
    """Read an image file as 8-bit RGB, uint8 (H, W, 3), with transparency composited onto white.

    Args:
        source: a path, or the bytes of a file.
        limits: checked before decoding.
        name: name of bytes in messages.

    Raises:
        ImageError: as `read_image` does.
    """
    with _naming(name if isinstance(source, bytes) else source):
        data = source if isinstance(source, bytes) else _read(source, limits)
        pixels, alpha = _decode(_open(data, limits), bits=8)
        if alpha is not None:
            opacity = alpha[..., None].astype(np.uint16)
            pixels = ((pixels * opacity + 255 * (255 - opacity) + 127) // 255).astype(np.uint8)
        return pixels


def printable(path: str | Path) -> str:
    """Return a path as one line of text that can be printed."""
    text = os.fspath(path)
    return text if text.isprintable() else repr(text)


@contextmanager
def _naming(path: str | Path) -> Iterator[None]:
    """Name the file in errors."""
    try:
        yield
    except MemoryError as error:
        raise ImageError(f"{printable(path)}: it does not fit into memory. Shrink it.") from error
    except _Refused as error:
        raise ImageError(f"{printable(path)}: {error}") from error


@contextmanager
def _decoding() -> Iterator[None]:
    """Refuse a file that Pillow or libvips cannot decode."""
    try:
        yield
    except (_Refused, MemoryError):
        raise
    except Exception as error:  # Pillow's decoders raise what their parts raise
        lines = str(getattr(error, "detail", error)).strip().splitlines() or ["unknown error"]
        reason = " ".join(lines[-1].split())
        raise _Refused(f"it cannot be decoded ({reason}). Replace or remove the file.") from error


def _read(path: str | Path, limits: Limits) -> bytes:
    """Read a regular file of at most `limits.max_bytes` bytes; a FIFO does not block."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        with open(descriptor, "rb", closefd=True) as file:
            size = os.fstat(descriptor).st_size
            if size > limits.max_bytes:
                raise _Refused(f"{size} bytes, more than {limits.max_bytes}. Shrink it.")
            if stat.S_ISREG(os.fstat(descriptor).st_mode):
                return file.read(limits.max_bytes)
    except FileNotFoundError as error:
        raise _Refused("the file does not exist. Check the path.") from error
    except IsADirectoryError:
        pass
    except OSError as error:
        raise _Refused(f"it cannot be read ({error.strerror}). Check the file and its permissions.") from error
    raise _Refused("it is not a regular file. Give an image file.")


def _open(data: bytes, limits: Limits) -> _Opened:
    """Read the header of an image file's bytes."""
    webp = data[:4] == b"RIFF" and data[8:12] == b"WEBP"
    format = "webp" if webp else next((name for start, name in SIGNATURES.items() if data.startswith(start)), None)
    if format is None:
        reason = "not an image of a supported format" if data else "the file is empty"
        raise _Refused(f"{reason}. Give a JPEG, PNG, WebP, TIFF, GIF or BMP file.")
    opened = _open_bmp(data) if format == "bmp" else _open_vips(data, format)
    width, height = opened.info.size
    if width * height > limits.max_pixels:
        remedy = f"Shrink or remove it, or raise {limits.setting} if you trust it." if limits.setting else "Shrink it."
        key = limits.setting and f"{limits.setting}="
        raise _Refused(f"{width}x{height} pixels, more than {key}{limits.max_pixels}. {remedy}")
    return opened


def _open_bmp(data: bytes) -> _Opened:
    from PIL import Image

    with _decoding():
        image = Image.open(io.BytesIO(data), formats=("BMP",))
    mode = {"1": "L", "L": "L", "RGBA": "RGBA"}.get(image.mode, "RGB")
    info = ImageInfo(image.size, 8, 1 if mode == "L" else 3, mode == "RGBA", "bmp", image.mode == "P", 1)
    return _Opened(info, lambda: np.asarray(image.convert(mode)))


def _open_vips(data: bytes, format: str) -> _Opened:
    with warnings.catch_warnings(action="ignore"):  # Pillow's, of damaged tags
        tags, tiff_exif = (read_tags(data), exif_of_tiff(data)) if format == "tiff" else ({}, None)
    if format == "tiff":
        if not tags:
            raise _Refused("its tags are damaged. Replace or remove the file.")
        _check_tiff(tags)
    level = "warning" if TILE_WIDTH in tags else "error"  # libvips only warns where a tile is damaged
    with _decoding():
        image = getattr(libvips().Image, f"{format}load_buffer")(data, fail_on=level, access="sequential")
    cmyk = image.interpretation == "cmyk"
    bands, bits = image.bands - cmyk, {"uchar": 8, "ushort": 16}.get(image.format)
    if bits is None or bands > 4:
        raise _Refused(f"it has {image.bands} channels of type {image.format}. Save it as RGB with 8 or 16 bits.")

    def decode() -> NDArray[Any]:
        options = {"embedded": True, "input_profile": "cmyk", "depth": bits}
        pixels: NDArray[Any] = (image.icc_transform("srgb", **options) if cmyk else image).numpy()
        return pixels

    fields = set(image.get_fields())
    orientation = image.get("orientation") if "orientation" in fields else 1
    exif = tiff_exif if tags else bytes(image.get("exif-data")) if "exif-data" in fields else None
    channels = 1 if bands < 3 else 3
    lossy = (
        format in ("jpeg", "gif")
        or (format == "webp" and data[12:16] != b"VP8L")
        or "palette" in fields
        or first_value(tags, PHOTOMETRIC) == PALETTE
        or first_value(tags, COMPRESSION) == JPEG
    )
    size = (image.height, image.width) if orientation >= 5 else (image.width, image.height)
    frames = image.get("n-pages") if "n-pages" in fields else 1
    info = ImageInfo(size, bits, channels, bands in (2, 4), format, lossy, frames)
    icc = bytes(image.get("icc-profile-data")) if "icc-profile-data" in fields else b""
    fits = icc[16:20] == (b"GRAY" if channels == 1 else b"RGB ") and not cmyk
    exif = exif and exif.removeprefix(b"Exif\0\0")
    return _Opened(info, decode, orientation, icc if fits else None, exif)


def _check_tiff(tags: Any) -> None:
    """Refuse a TIFF that libvips would misread."""
    photometric, compression = first_value(tags, PHOTOMETRIC, 1), first_value(tags, COMPRESSION, 1)
    bits, samples = set(integers(tags, BITS)) or {1}, first_value(tags, SAMPLES, 1)
    extra = samples - COLOURS.get(photometric, samples)
    declared = set(integers(tags, EXTRA_SAMPLES)) - {STRAIGHT_ALPHA}  # OpenCV does not declare alpha
    jpeg = compression == JPEG and bits == {8} and photometric not in (PALETTE, CMYK) and not extra
    fax = compression in FAX and bits == {1} and samples == 1
    values = set(integers(tags, SAMPLE_FORMAT)) - {1} or len(bits) > 1 or bits - {1, 2, 4, 8, 16}
    for refused, reason in (
        (first_value(tags, IMAGE_DEPTH, 1) > 1, "a volume of several depths is not supported. Save each as an image."),
        (first_value(tags, TILE_DEPTH, 1) > 1, "a volume of several depths is not supported. Save each as an image."),
        (values, "its values are not unsigned integers of 8 or 16 bits. Save it with 8 or 16 bits."),
        (photometric not in COLOURS, "its colour space is not supported. Save it as RGB or RGBA."),
        (extra > 1 or (extra and photometric == CMYK), "it has more channels than colours and alpha. Save it as RGB."),
        (extra and declared, "its alpha is premultiplied or not specified. Save it with straight alpha."),
        (not (jpeg or fax or compression in LOSSLESS), "its compression is not supported. Save it with LZW."),
        (first_value(tags, PLANAR, 1) == 2 and samples > 1, "its planar layout is not supported. Save it interleaved."),
    ):
        if refused:
            raise _Refused(reason)


def _decode(opened: _Opened, bits: int) -> tuple[NDArray[Any], NDArray[Any] | None]:
    """Decode upright colours, (H, W, 3), and alpha, (H, W)."""
    with _decoding():
        pixels = np.atleast_3d(opened.decode())
    if opened.orientation >= 5:
        pixels = pixels.swapaxes(0, 1)
    if opened.orientation in (3, 4, 7, 8):
        pixels = pixels[::-1]
    if opened.orientation in (2, 3, 6, 7):
        pixels = pixels[:, ::-1]
    pixels = convert_depth(pixels, 8) if bits == 8 else pixels
    transparent = pixels.shape[-1] in (2, 4)
    colours = pixels[..., :-1] if transparent else pixels
    alpha = np.ascontiguousarray(pixels[..., -1]) if transparent else None
    return np.ascontiguousarray(np.broadcast_to(colours, (*colours.shape[:2], 3))), alpha
