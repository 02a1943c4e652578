"""JPEG files read faster, for training alone.

torchvision decodes them, and shrinks them within a rounding of Pillow's filter. Files much larger than requested are
decoded at 1/2, 1/4 or 1/8 of their size, which needs 4 to 64 times less memory. Every other file, and every JPEG that
is grey, CMYK, turned or damaged, is read by `diracdiff.data.image_io`.
"""

import io
import warnings
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from diracdiff.data.image_headers import MAX_PIXELS, Header, read_header
from diracdiff.data.image_io import naming, read_file, to_rgb8, turned
from diracdiff.data.images import central_square, check_side, data_set_limits, resize, square, to_tensor
from diracdiff.utils.errors import UserError
from diracdiff.utils.image_files import encode_image

DRAFT_MARGIN = 4
"""A reduced decode keeps a side of at least this multiple of the requested one, which the bicubic filter shrinks."""

JPEG = (".jpg", ".jpeg")

warnings.filterwarnings("ignore", message=".*TorchCodec", category=DeprecationWarning)


def check_decoder() -> None:
    """Raise UserError where torchvision cannot decode JPEG files."""
    try:
        _decoded(encode_image(".jpg", np.zeros((8, 8, 3), np.uint8)))
    except (ImportError, OSError, RuntimeError) as error:
        reason = " ".join(str(error).split())[:120]
        raise UserError(
            f"dataset.decoder=fast needs a torchvision that decodes JPEG files ({reason}): set dataset.decoder=pillow"
        ) from error


def load_square_fast(path: str | Path, size: int, max_pixels: int = MAX_PIXELS) -> Tensor:
    """Read the central square of an image file as `load_square` does, within a rounding of it: uint8 (3, size, size).

    Raises:
        UserError: as `load_square` does.
    """
    limits = data_set_limits(max_pixels)
    with naming(path):
        data = read_file(path, limits)
        header = read_header(data, limits)
        check_side(path, *header.info.size, size)
        reduction = max(s for s in (8, 4, 2, 1) if s == 1 or min(header.info.size) // s >= DRAFT_MARGIN * size)
        if header.info.format == "jpeg" and header.info.channels == 3:
            result = _reduced(data, header, reduction, size) if reduction > 1 else _fast(data, header, size)
            if result is not None:
                return result
        return square(to_rgb8(header), size, path)


def _fast(data: bytes, header: Header, size: int) -> Tensor | None:
    """Decode and shrink an upright RGB file with torchvision; None where it cannot be decoded so."""
    try:
        image = _decoded(data) if header.orientation == 1 else None
    except RuntimeError:
        return None
    left, top, side = central_square(*header.info.size)
    if image is None or image.shape[::-1] != (*header.info.size, 3):
        return None
    crop = image[:, top : top + side, left : left + side]
    if side != size:
        crop = F.interpolate(crop[None], (size, size), mode="bicubic", antialias=True)[0]
    return crop.contiguous()


def _reduced(data: bytes, header: Header, reduction: int, size: int) -> Tensor | None:
    """Decode an RGB file at a fraction of its size with Pillow and shrink it; None where it cannot be decoded so."""
    try:
        with Image.open(io.BytesIO(data), formats=("JPEG",)) as image:
            image.draft("RGB", (image.width // reduction, image.height // reduction))
            pixels = np.asarray(image)
    except Exception:  # Pillow's decoders raise what their parts raise; the other reader tells the reason
        return None
    left, top, side = central_square(*header.info.size)
    box = (left / reduction, top / reduction, (left + side) / reduction, (top + side) / reduction)
    pixels = turned(pixels, header.orientation)
    fitting = pixels.ndim == 3 and pixels.shape[2] == 3 and pixels.shape[1] == -(-header.info.size[0] // reduction)
    return to_tensor(resize(np.ascontiguousarray(pixels), size, box)) if fitting else None


def _decoded(data: bytes) -> Tensor:
    from torchvision.io import decode_jpeg

    image: Tensor = decode_jpeg(torch.frombuffer(bytearray(data), dtype=torch.uint8))
    return image
