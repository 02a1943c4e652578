"""JPEG files read faster, for training alone: by torchvision where every decoder agrees, else by Pillow.

torchvision decodes, crops and shrinks what is a plain JPEG: 8 bits, three components, upright. Both decode with
libjpeg-turbo, so the results differ by the rounding of the resize alone. All other files, and those that torchvision
cannot read, take Pillow's path, which also says what is wrong with them. Images much larger than asked for are decoded
at 1/2, 1/4 or 1/8 of their size, which needs 4 to 64 times less memory.
"""

import os
import struct
import warnings
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from diracdiff.data.images import MAX_PIXELS, central_square, check_pixels, load_square_reduced
from diracdiff.errors import UserError

DRAFT_MARGIN = 4
"""A reduced decode leaves so many times the size asked for, from which the antialiased filter still does the rest."""

warnings.filterwarnings("ignore", message=".*TorchCodec", category=DeprecationWarning)

JPEG = (".jpg", ".jpeg")
ORIENTATION = 0x0112
_BASELINE_TO_PROGRESSIVE = (0xC0, 0xC1, 0xC2)
_WITHOUT_LENGTH = (0x01, *range(0xD0, 0xD8))


def check_decoder() -> None:
    """Raise UserError where torchvision cannot decode JPEG files."""
    try:
        from torchvision.io import decode_jpeg

        decode_jpeg(torch.frombuffer(bytearray(_smallest()), dtype=torch.uint8))
    except (ImportError, OSError, RuntimeError) as error:
        reason = " ".join(str(error).split())[:120]
        raise UserError(
            f"dataset.decoder=fast needs a torchvision that decodes JPEG files ({reason}): set dataset.decoder=pillow"
        ) from error


def load_square_fast(path: str | Path, size: int, max_pixels: int = MAX_PIXELS) -> Tensor:
    """What `load_square` gives, as fast as possible and within a rounding of it: uint8 (3, size, size).

    Raises:
        UserError: as `load_square` does.
    """
    data = _read_jpeg(path, max_pixels)
    shape = None if data is None else plain_jpeg(data.data)
    if data is not None and shape is not None:
        check_pixels(path, *shape, max_pixels)
        if size <= min(shape) < 2 * DRAFT_MARGIN * size:
            image = _decoded(data, shape)
            if image is not None:
                return _square(image, size)
    return load_square_reduced(path, size, DRAFT_MARGIN, max_pixels)


def plain_jpeg(data: memoryview | bytes) -> tuple[int, int] | None:
    """Width and height that a JPEG file's header gives, if all decoders read it alike; None for every other file."""
    if bytes(data[:2]) != b"\xff\xd8":
        return None
    at = 2
    while at + 9 < len(data):
        if data[at] != 0xFF:
            return None
        marker = data[at + 1]
        if marker == 0xFF or marker in _WITHOUT_LENGTH:
            at += 1 if marker == 0xFF else 2
            continue
        length = data[at + 2] << 8 | data[at + 3]
        if marker in _BASELINE_TO_PROGRESSIVE:
            precision, height, width, components = struct.unpack(">BHHB", data[at + 4 : at + 10])
            return (width, height) if (precision, components) == (8, 3) and width and height else None
        if marker >= 0xC0 and marker <= 0xDA and marker != 0xC4:  # other codings, or no header at all
            return None
        if marker == 0xE1 and _may_be_turned(bytes(data[at + 4 : at + 2 + length])):
            return None
        at += 2 + length
    return None


def _may_be_turned(segment: bytes) -> bool:
    """Whether an APP1 segment, EXIF or XMP, may hold another orientation than upright."""
    if not segment.startswith(b"Exif\0\0"):
        return b"Orientation" in segment
    tiff = segment[6:]
    order = {b"II*\0": "<", b"MM\0*": ">"}.get(tiff[:4])
    try:
        assert order is not None
        (start,) = struct.unpack_from(f"{order}I", tiff, 4)
        (count,) = struct.unpack_from(f"{order}H", tiff, start)
        for entry in range(start + 2, start + 2 + 12 * count, 12):
            tag, kind, number, value = struct.unpack_from(f"{order}HHIH", tiff, entry)
            if tag == ORIENTATION:
                return (kind, number, value) != (3, 1, 1)
    except (AssertionError, struct.error):
        return True
    return False


def _read_jpeg(path: str | Path, max_pixels: int) -> NDArray[np.uint8] | None:
    """The bytes of a file that begins as JPEG files do, unless it is larger than any sensible one; None for others."""
    try:
        with open(path, "rb") as file:
            if file.read(2) != b"\xff\xd8" or os.fstat(file.fileno()).st_size > 4 * max_pixels + 2**20:
                return None
            file.seek(0)
            return np.fromfile(file, np.uint8)
    except OSError:
        return None


def _decoded(data: NDArray[np.uint8], shape: tuple[int, int]) -> Tensor | None:
    from torchvision.io import ImageReadMode, decode_jpeg

    try:
        image: Tensor = decode_jpeg(torch.from_numpy(data), ImageReadMode.RGB)
    except RuntimeError:
        return None
    return image if tuple(image.shape) == (3, shape[1], shape[0]) else None


def _square(image: Tensor, size: int) -> Tensor:
    left, top, side = central_square(image.shape[2], image.shape[1])
    crop = image[:, top : top + side, left : left + side]
    if side != size:
        crop = F.interpolate(crop[None], (size, size), mode="bicubic", antialias=True)[0]
    return crop.contiguous()


def _smallest() -> bytes:
    import io

    from PIL import Image

    buffer = io.BytesIO()
    Image.new("RGB", (8, 8)).save(buffer, "JPEG")
    return buffer.getvalue()
