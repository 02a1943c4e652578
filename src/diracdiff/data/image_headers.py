"""Headers of image files: find the format, check what libvips would misread, and prepare the decoding.

libvips decodes everything but BMP, which Pillow decodes. Only the loader of the format that was found runs.
"""

import io
import re
import struct
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from diracdiff.data.image_checks import (
    ASSOCIATED_ALPHA,
    COMPRESSION,
    EXTRA_SAMPLES,
    JPEG,
    PALETTE,
    PHOTOMETRIC,
    SAVE_DEPTH,
    SAVE_RGB,
    STRAIGHT_ALPHA,
    TILE_WIDTH,
    Unreadable,
    bmp_size,
    check_png,
    check_tiff,
)
from diracdiff.utils.image_files import libvips
from diracdiff.utils.tiff_tags import ORIENTATION, exif_of_tiff, first_value, integers, read_tags, set_integers

MAX_PIXELS = 178_956_970
"""Width times height beyond which an image is refused, unless a setting says otherwise."""

SIGNATURES = {
    b"\xff\xd8\xff": "jpeg",
    b"\x89PNG\r\n\x1a\n": "png",
    b"II*\0": "tiff",
    b"MM\0*": "tiff",
    b"II+\0": "tiff",
    b"MM\0+": "tiff",
    b"GIF87a": "gif",
    b"GIF89a": "gif",
    b"BM": "bmp",
}
"""First bytes of a file and its format; WebP is recognised by bytes 8 to 11, too."""


FIELDS = ("icc-profile-data", "exif-data", "xmp-data", "n-pages", "palette")
"""Metadata of libvips that is used."""


@dataclass(frozen=True)
class Limits:
    """Limits that a file must keep before it is decoded.

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
    """Properties of an image file that its header gives.

    Attributes:
        size: width and height in pixels as shown, after the EXIF orientation.
        bits: 8 or 16 per value.
        channels: colour channels as stored, 1 or 3; CMYK and palettes count as 3.
        alpha: has an alpha channel, or a palette or a colour that is transparent.
        format: jpeg, png, webp, tiff, gif or bmp.
        lossy: was compressed with losses, or has a palette.
        frames: number of frames or pages.
    """

    size: tuple[int, int]
    bits: int
    channels: int
    alpha: bool
    format: str
    lossy: bool
    frames: int


@dataclass(frozen=True)
class Header:
    """An image whose header was read.

    Attributes:
        info: properties of the file.
        decode: decodes the pixels, uint8 or uint16 (H, W, 1 to 4), as stored; raises Unreadable.
        orientation: 1 to 8, as EXIF defines it.
        premultiplied: colours are multiplied by alpha.
        icc: colour profile that fits the decoded pixels.
        exif: EXIF payload without the prefix of JPEG.
    """

    info: ImageInfo
    decode: Callable[[], NDArray[Any]]
    orientation: int = 1
    premultiplied: bool = False
    icc: bytes | None = None
    exif: bytes | None = None


def read_header(data: bytes, limits: Limits) -> Header:
    """Read the header of an image file's bytes, without decoding pixels.

    Raises:
        Unreadable: if the format is not supported, the header is damaged or the image is too large.
    """
    webp = data[:4] == b"RIFF" and data[8:12] == b"WEBP"
    format = "webp" if webp else next((name for start, name in SIGNATURES.items() if data.startswith(start)), None)
    if format is None:
        reason = "not an image of a supported format" if data else "the file is empty"
        raise Unreadable(reason, "Give a JPEG, PNG, WebP, TIFF, GIF or BMP file.")
    return _bmp(data, limits) if format == "bmp" else _vips(data, format, limits)


def check_pixels(width: int, height: int, limits: Limits) -> None:
    """Raise Unreadable for an image with more pixels than `limits` allows."""
    if width * height > limits.max_pixels:
        key = limits.setting
        raise Unreadable(
            f"{width}x{height} pixels, more than {key and key + '='}{limits.max_pixels}",
            f"Shrink or remove it, or raise {key} if you trust it." if key else "Shrink it.",
        )


def _bmp(data: bytes, limits: Limits) -> Header:
    from PIL import Image

    check_pixels(*bmp_size(data), limits)

    def decode() -> NDArray[Any]:
        try:
            pixels = np.asarray(image.convert(mode))
        except Exception as error:  # a decoder of Pillow raises whatever its parts raise
            raise Unreadable(f"it cannot be decoded ({error})") from error
        return pixels if pixels.ndim == 3 else pixels[..., None]

    try:
        image = Image.open(io.BytesIO(data), formats=("BMP",))
    except Exception as error:
        raise Unreadable(f"it cannot be decoded ({error})") from error
    mode = {"1": "L", "L": "L", "RGBA": "RGBA"}.get(image.mode, "RGB")
    info = ImageInfo(image.size, 8, 1 if mode == "L" else 3, mode == "RGBA", "bmp", image.mode == "P", 1)
    return Header(info, decode)


def _vips(data: bytes, format: str, limits: Limits) -> Header:
    vips = libvips()
    tags = check_tiff(data) if format == "tiff" else {}
    chunks = check_png(data) if format == "png" else {}
    premultiplied = ASSOCIATED_ALPHA in integers(tags, EXTRA_SAMPLES)
    if premultiplied:  # some versions of libvips divide by alpha, and truncate
        data = set_integers(data, tags[EXTRA_SAMPLES], STRAIGHT_ALPHA)
    try:
        level = "warning" if TILE_WIDTH in tags else "error"  # libvips only warns where a tile is damaged
        image = getattr(vips.Image, f"{format}load_buffer")(data, fail_on=level, access="sequential")
        metadata = {name: image.get(name) for name in image.get_fields() if name in FIELDS}
    except vips.Error as error:
        raise Unreadable(f"it cannot be decoded ({_reason(error)})") from error
    check_pixels(image.width, image.height, limits)
    cmyk = image.interpretation == "cmyk"
    bands, bits = image.bands - cmyk, {"uchar": 8, "ushort": 16}.get(image.format)
    if bits is None or bands > 4:
        raise Unreadable(f"it has {image.bands} channels of type {image.format}", f"{SAVE_RGB} {SAVE_DEPTH}")

    def decode() -> NDArray[Any]:
        try:
            converted = image
            if cmyk:
                converted = image.icc_transform("srgb", embedded=True, input_profile="cmyk", depth=bits)
            pixels: NDArray[Any] = converted.numpy()
        except vips.Error as error:
            raise Unreadable(f"it cannot be decoded ({_reason(error)})") from error
        return pixels if pixels.ndim == 3 else pixels[..., None]

    exif = exif_of_tiff(data) if format == "tiff" else chunks.get(b"eXIf") or metadata.get("exif-data")
    exif = None if exif is None else bytes(exif).removeprefix(b"Exif\0\0")
    orientation = first_value(tags or read_tags(exif or b""), ORIENTATION)
    orientation = orientation if 1 <= orientation <= 8 else _xmp_orientation(metadata)
    size = (image.height, image.width) if orientation >= 5 else (image.width, image.height)
    channels = 1 if bands < 3 else 3
    lossy = (
        format in ("jpeg", "gif")
        or (format == "webp" and data[12:16] != b"VP8L")
        or "palette" in metadata
        or first_value(tags, PHOTOMETRIC) == PALETTE
        or first_value(tags, COMPRESSION) == JPEG
    )
    frames = struct.unpack(">I", chunks[b"acTL"][:4])[0] if b"acTL" in chunks else metadata.get("n-pages", 1)
    info = ImageInfo(size, bits, channels, bands in (2, 4), format, lossy, frames)
    icc = bytes(metadata.get("icc-profile-data", b""))
    fits = icc[16:20] == (b"GRAY" if channels == 1 else b"RGB ") and not cmyk
    return Header(info, decode, orientation, premultiplied, icc if fits else None, exif)


def _xmp_orientation(metadata: dict[str, Any]) -> int:
    """Return the orientation that XMP gives, or 1."""
    found = re.search(rb'tiff:Orientation(?:="|>)([1-8])', metadata.get("xmp-data", b""))
    return int(found[1]) if found else 1


def _reason(error: Any) -> str:
    """Return the last line of an error of libvips."""
    lines = str(error.detail or error.message).strip().splitlines()
    return lines[-1] if lines else "unknown error"
