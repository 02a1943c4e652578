"""Pictures written with what belongs to them: 8 or 16 bits, transparency, a colour profile, EXIF."""

import io
import struct
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from diracdiff.storage.files import write_atomically

SUFFIXES = {"png": ".png", "jpg": ".jpg", "tiff": ".tif"}
"""Of the formats that pictures are written in."""

QUALITY = 95
"""Of JPEGs, whose colours are not subsampled."""

SIGNATURE = b"\x89PNG\r\n\x1a\n"
COLOUR_TYPES = {1: 0, 2: 4, 3: 2, 4: 6}
"""Of a PNG, by the number of its channels."""


@dataclass(frozen=True)
class Belongings:
    """What is written beside the colours of a picture.

    Attributes:
        alpha: its transparency, uint8 or uint16 (H, W).
        icc: its colour profile.
        exif: as Pillow writes it.
    """

    alpha: NDArray[Any] | None = None
    icc: bytes | None = None
    exif: bytes | None = None


NOTHING = Belongings()


def save_picture(
    path: Path, image: Tensor, grey: bool = False, bits: int = 8, with_it: Belongings = NOTHING, quality: int = QUALITY
) -> None:
    """Write an image in [0, 1], (3, H, W), whole or not at all, in the format of its suffix.

    Args:
        path: ends in one of SUFFIXES.
        image: its colours, which are clipped and rounded.
        grey: write the mean of its channels.
        bits: of a value, 8 or 16; a JPEG has 8.
        with_it: what belongs to it; a JPEG has no transparency.
        quality: of a JPEG.

    Raises:
        ValueError: if the format cannot hold that, or there is none of the suffix.
        UserError: if it cannot be written.
    """
    whole, kind = (65535, np.uint16) if bits == 16 else (255, np.uint8)
    colours = image.detach().float().mean(0, keepdim=True) if grey else image.detach().float()
    pixels = colours.clamp(0, 1).mul(whole).round().permute(1, 2, 0).cpu().numpy().astype(kind)
    if with_it.alpha is not None:
        pixels = np.concatenate([pixels, as_deep(with_it.alpha, bits)[..., None]], -1)
    jpeg = path.suffix == SUFFIXES["jpg"]
    if jpeg and (bits == 16 or with_it.alpha is not None):
        raise ValueError(f"{path} cannot be a JPEG with {bits} bits{' and transparency' * (bits != 16)}")
    extra = {"icc_profile": with_it.icc, "exif": with_it.exif}
    extra = {key: value for key, value in extra.items() if value}
    if path.suffix == SUFFIXES["tiff"]:
        data = _tiff(pixels, with_it)
    elif path.suffix not in SUFFIXES.values():
        raise ValueError(f"pictures are written as {', '.join(SUFFIXES.values())}, got {path}")
    elif bits == 16:
        data = _png16(pixels, with_it)
    else:
        buffer = io.BytesIO()
        picture = Image.fromarray(pixels[..., 0] if pixels.shape[-1] == 1 else pixels)
        if jpeg:
            picture.save(buffer, format="JPEG", quality=quality, subsampling=0, **extra)
        else:
            picture.save(buffer, format="PNG", optimize=True, **extra)
        data = buffer.getvalue()
    write_atomically(path, data)


def as_deep(values: NDArray[Any], bits: int) -> NDArray[Any]:
    """uint8 or uint16 values with as many bits as asked for: 255 is 65535."""
    if bits == 16:
        return values.astype(np.uint16) * 257 if values.dtype == np.uint8 else values.astype(np.uint16)
    deep = values.dtype != np.uint8
    return ((values.astype(np.uint32) * 255 + 32767) // 65535).astype(np.uint8) if deep else values


def _png16(pixels: NDArray[Any], with_it: Belongings) -> bytes:
    """A PNG with 16 bits, (H, W, 1 to 4), which Pillow writes in grey alone."""
    height, width, channels = pixels.shape
    rows = np.ascontiguousarray(pixels.astype(">u2")).view(np.uint8).reshape(height, -1)
    above = np.concatenate([np.zeros_like(rows[:1]), rows[:-1]])
    filtered = np.concatenate([np.full((height, 1), 2, np.uint8), rows - above], 1)  # each row as its change: "Up"
    chunks = [(b"IHDR", struct.pack(">IIBBBBB", width, height, 16, COLOUR_TYPES[channels], 0, 0, 0))]
    if with_it.icc:
        chunks.append((b"iCCP", b"ICC Profile\0\0" + zlib.compress(with_it.icc)))
    if with_it.exif:
        chunks.append((b"eXIf", with_it.exif.removeprefix(b"Exif\0\0")))
    chunks += [(b"IDAT", zlib.compress(filtered.tobytes())), (b"IEND", b"")]
    return SIGNATURE + b"".join(_chunk(name, data) for name, data in chunks)


def _chunk(name: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def _tiff(pixels: NDArray[Any], with_it: Belongings) -> bytes:
    """A TIFF, (H, W, 1 to 4), compressed without losses; of the EXIF it has what stands in TIFF's own tags."""
    import tifffile

    own = Image.Exif()
    own.load(with_it.exif or b"")
    texts = [(tag, 2, 0, value, True) for tag, value in own.items() if isinstance(value, str)]
    if pixels.shape[-1] == 2:  # which few readers know
        pixels = pixels[..., [0, 0, 0, 1]]
    buffer, channels = io.BytesIO(), pixels.shape[-1]
    tifffile.imwrite(
        buffer,
        pixels[..., 0] if channels == 1 else pixels,
        photometric="rgb" if channels > 2 else "minisblack",
        compression="zlib",
        predictor=True,
        extrasamples=["unassalpha"] if channels == 4 else None,
        planarconfig="contig" if channels > 1 else None,
        iccprofile=with_it.icc,
        extratags=texts,
        metadata=None,
        software=False,
    )
    return buffer.getvalue()
