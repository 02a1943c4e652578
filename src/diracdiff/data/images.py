"""Image files: decode them to 8-bit RGB with Pillow, crop them to squares.

Resizing for evaluation always goes through Pillow's bicubic filter, so that numbers do not depend on the decoder
or on the device. What training may read faster: `diracdiff.data.jpeg`.
"""

import os
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor

from diracdiff.errors import UserError

FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "DIB", "TIFF", "GIF")
"""What a file may hold, whatever its name says. Pillow would start other programs for some of the rest."""

MAX_PIXELS = 178_956_970
"""Width times height beyond which Pillow itself takes an image for a decompression bomb."""

warnings.filterwarnings("ignore", module=r"PIL\.")  # of metadata that nobody asked for


class ImageError(UserError):
    """An image file that cannot be used.

    A DataLoader re-raises a worker's exception with the worker's traceback as its message. The last line of that
    traceback is the message proper, and all that is kept.
    """

    def __init__(self, message: str):
        last_line = message.rstrip().rpartition("\n")[2]
        super().__init__(last_line.removeprefix(f"{__name__}.ImageError: "))


class _NoLimit:
    """While any thread is inside, Pillow's own limit, which belongs to the process, is off."""

    def __init__(self) -> None:
        self.lock, self.inside, self.before = threading.Lock(), 0, Image.MAX_IMAGE_PIXELS

    def __enter__(self) -> None:
        with self.lock:
            if not self.inside:
                self.before, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
            self.inside += 1

    def __exit__(self, *_: object) -> None:
        with self.lock:
            self.inside -= 1
            if not self.inside:
                Image.MAX_IMAGE_PIXELS = self.before


_no_limit = _NoLimit()


@contextmanager
def opened(
    path: str | Path, max_pixels: int = MAX_PIXELS, key: str | None = "dataset.max_pixels"
) -> Iterator[Image.Image]:
    """Open an image file, of which no more than the header is read, for as long as it is worked with.

    Args:
        path: of the file.
        max_pixels: largest width times height.
        key: of that limit, for messages; None: a user cannot set it.

    Raises:
        UserError: naming the file, if it is not a readable image or is larger; also for what fails inside.
    """
    try:
        with _no_limit, Image.open(path, formats=FORMATS) as image:
            check_pixels(path, *image.size, max_pixels, key)
            yield image
    except ImageError:
        raise
    except FileNotFoundError:
        raise ImageError(f"{_shown(path)} does not exist: check the path") from None
    except MemoryError:
        raise ImageError(f"{_shown(path)} does not fit into memory: shrink or remove the file") from None
    except Exception as error:  # each decoder has its own
        reason = " ".join(str(error).replace(str(path), "the file").split()) or type(error).__name__
        raise ImageError(f"{_shown(path)} cannot be read as an image ({reason}): replace or remove the file") from None


def check_pixels(
    path: str | Path, width: int, height: int, max_pixels: int, key: str | None = "dataset.max_pixels"
) -> None:
    """Raise UserError, naming `key`, for an image that is larger than `max_pixels`."""
    if width * height > max_pixels:
        limit, remedy = (f"{key}=", f"remove the file, or raise {key} if you trust it") if key else ("", "shrink it")
        raise ImageError(f"{_shown(path)} is {width}x{height} pixels, more than {limit}{max_pixels}: {remedy}")


def load_image(path: str | Path, max_pixels: int = MAX_PIXELS, key: str | None = "dataset.max_pixels") -> Tensor:
    """Decode an image file to 8-bit RGB, uint8 (3, H, W), values 0 to 255.

    The EXIF rotation is applied, 16-bit grey is scaled by 255/65535, transparency is composited onto white; of an
    animation the first frame counts.

    Raises:
        UserError: naming the file, when it is not a readable image or has more than `max_pixels` pixels, a limit that
            messages call `key`.
    """
    with opened(path, max_pixels, key) as image:
        ImageOps.exif_transpose(image, in_place=True)
        return _to_tensor(_to_rgb(image))


def load_square(path: str | Path, size: int, max_pixels: int = MAX_PIXELS) -> Tensor:
    """`center_crop_resize` of `load_image`, without the detour through tensors: uint8 (3, size, size).

    Raises:
        UserError: as `load_image` and `center_crop_resize` do.
    """
    with opened(path, max_pixels) as image:
        ImageOps.exif_transpose(image, in_place=True)
        square = _cropped(_to_rgb(image), size, path)
    # The whole image is let go before the square is shrunk.
    return _to_tensor(_shrunk(square, size))


def load_square_reduced(path: str | Path, size: int, margin: int, max_pixels: int = MAX_PIXELS) -> Tensor:
    """About what `load_square` gives, for less time and memory where the file is a JPEG much larger than `size`.

    It is decoded at 1/2, 1/4 or 1/8 of its size, as long as `margin` times `size` pixels are left of a side, and only
    then shrunk with Pillow's bicubic filter.

    Raises:
        UserError: as `load_square` does.
    """
    with opened(path, max_pixels) as image:
        width, height = image.size
        left, top, side = central_square(width, height)
        if image.format == "JPEG":
            image.draft(None, (width * margin * size // side, height * margin * size // side))
        scale = round(width / image.width)
        if scale > 1:
            box = (left / scale, top / scale, (left + side) / scale, (top + side) / scale)
            small = _to_rgb(image).resize((size, size), Image.Resampling.BICUBIC, box)
            return _to_tensor(ImageOps.exif_transpose(small))
    return load_square(path, size, max_pixels)


def center_crop_resize(image: Tensor, size: int, name: str | Path = "the image") -> Tensor:
    """Crop the central square and shrink it with Pillow's antialiased bicubic filter.

    `image` is uint8 (3, H, W), the result uint8 (3, size, size).
    Raises UserError, with `name`, when the shorter side is below `size`: nothing is enlarged.
    """
    with _no_limit:
        square = _cropped(Image.fromarray(image.permute(1, 2, 0).contiguous().numpy()), size, name)
        return _to_tensor(_shrunk(square, size))


def crop_resize(image: Tensor, left: int, top: int, side: int, size: int) -> Tensor:
    """A square of uint8 (3, H, W), shrunk with Pillow's bicubic filter to uint8 (3, size, size)."""
    crop = image[:, top : top + side, left : left + side]
    return center_crop_resize(crop, size)


def check_side(name: str | Path, width: int, height: int, size: int) -> None:
    """Raise UserError, with `name`, for an image whose shorter side is below `size`: nothing is enlarged."""
    if min(width, height) < size:
        raise ImageError(
            f"{_shown(name)} is {width}x{height} pixels, smaller than dataset.image_size={size}:"
            " use a smaller dataset.image_size or remove the file"
        )


def central_square(width: int, height: int) -> tuple[int, int, int]:
    """The largest square in the middle of an image: (left, top, side)."""
    side = min(width, height)
    return (width - side) // 2, (height - side) // 2, side


def _shown(path: str | Path) -> str:
    """A path in one line of text that can be printed."""
    text = os.fspath(path)
    return text if text.isprintable() else repr(text)


def _cropped(image: Image.Image, size: int, name: str | Path) -> Image.Image:
    check_side(name, *image.size, size)
    left, top, side = central_square(*image.size)
    return image.crop((left, top, left + side, top + side))


def _shrunk(square: Image.Image, size: int) -> Image.Image:
    return square if square.width == size else square.resize((size, size), Image.Resampling.BICUBIC)


def _to_rgb(image: Image.Image) -> Image.Image:
    if image.mode == "F":
        raise ValueError("floating-point pixels have no fixed range; save it with 8 or 16 bits")
    if image.mode.startswith("I"):
        values = np.asarray(image).astype(np.int64)
        if values.min() < 0 or values.max() > 65535:
            raise ValueError("32-bit pixels have no fixed range; save it with 8 or 16 bits")
        image = Image.fromarray(((values * 255 + 32767) // 65535).astype(np.uint8))
    if "A" in image.mode or "a" in image.mode or "transparency" in image.info:
        image = image.convert("RGBA")
        white = Image.new("RGBA", image.size, "white")
        image = Image.alpha_composite(white, image)
    if image.mode != "RGB":
        return image.convert("RGB")
    image.load()  # without the copy that convert would make
    return image


def _to_tensor(image: Image.Image) -> Tensor:
    return torch.from_numpy(np.array(image)).permute(2, 0, 1).contiguous()
