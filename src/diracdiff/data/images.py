"""Image files: find them, decode them to 8-bit RGB, crop them to squares.

Resizing for evaluation always goes through Pillow's bicubic filter, so that numbers do not depend on the decoder
or on the device.
"""

import os
from pathlib import Path
from typing import NoReturn

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor

from diracdiff.errors import UserError

EXTENSIONS = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff")


class ImageError(UserError):
    """An image file that cannot be used.

    A DataLoader re-raises a worker's exception with the worker's traceback as its message. The last line of that
    traceback is the message proper, and all that is kept.
    """

    def __init__(self, message: str):
        last_line = message.rstrip().rpartition("\n")[2]
        super().__init__(last_line.removeprefix(f"{__name__}.ImageError: "))


def list_images(root: str | Path) -> list[Path]:
    """Images below `root`, at any depth, sorted by their path relative to it.

    Looks for `EXTENSIONS` in any case, follows symbolic links, skips hidden files and folders.
    Raises UserError when `root` is missing, is not a folder, or holds no images.
    """
    root = check_root(root)
    found, visited = [], set()
    for folder, subfolders, files in os.walk(root, followlinks=True, onerror=_refuse_folder):
        visited.add(os.path.realpath(folder))
        subfolders[:] = [
            name
            for name in subfolders
            if not name.startswith(".") and os.path.realpath(os.path.join(folder, name)) not in visited
        ]
        found += [
            Path(folder, name) for name in files if not name.startswith(".") and name.lower().endswith(EXTENSIONS)
        ]
    if not found:
        raise UserError(
            f"{root} holds no images: put files ending in {' '.join(EXTENSIONS)} there, or name another folder"
        )
    return sorted(found, key=lambda path: path.relative_to(root).as_posix())


def check_root(root: str | Path) -> Path:
    """`root` as a path, with `~` expanded. Raises UserError unless it is an existing folder."""
    path = Path(root).expanduser()
    if path.is_dir():
        return path
    fault = "is a file, not a folder" if path.exists() else "does not exist"
    raise UserError(f"{path} {fault}: name a folder of images, such as dataset.root=/path/to/images")


def _refuse_folder(error: OSError) -> NoReturn:
    raise UserError(f"{error.filename} cannot be listed ({error.strerror}): check its permissions")


def load_image(path: str | Path) -> Tensor:
    """Decode an image file to 8-bit RGB, uint8 (3, H, W), values 0 to 255.

    The EXIF rotation is applied, 16-bit grey is scaled by 255/65535, transparency is composited onto white; of an
    animation the first frame counts. Raises UserError, naming the file, when it is not a readable image.
    """
    return _to_tensor(_decode(path))


def load_square(path: str | Path, size: int) -> Tensor:
    """`center_crop_resize` of `load_image`, without the detour through tensors: uint8 (3, size, size)."""
    return _to_tensor(_square(_decode(path), size, path))


def center_crop_resize(image: Tensor, size: int, name: str | Path = "the image") -> Tensor:
    """Crop the central square and shrink it with Pillow's antialiased bicubic filter.

    `image` is uint8 (3, H, W), the result uint8 (3, size, size).
    Raises UserError, with `name`, when the shorter side is below `size`: nothing is enlarged.
    """
    return _to_tensor(_square(Image.fromarray(image.permute(1, 2, 0).contiguous().numpy()), size, name))


def crop_resize(image: Tensor, left: int, top: int, side: int, size: int) -> Tensor:
    """A square of uint8 (3, H, W), shrunk with Pillow's bicubic filter to uint8 (3, size, size)."""
    crop = image[:, top : top + side, left : left + side]
    return center_crop_resize(crop, size)


def _square(image: Image.Image, size: int, name: str | Path) -> Image.Image:
    side = min(image.size)
    if side < size:
        raise ImageError(
            f"{name} is {image.width}x{image.height} pixels, smaller than dataset.image_size={size}:"
            " use a smaller dataset.image_size or remove the file"
        )
    left, top = (image.width - side) // 2, (image.height - side) // 2
    crop = image.crop((left, top, left + side, top + side))
    return crop if side == size else crop.resize((size, size), Image.Resampling.BICUBIC)


def _decode(path: str | Path) -> Image.Image:
    try:
        with Image.open(path) as image:
            ImageOps.exif_transpose(image, in_place=True)
            return _to_rgb(image)
    except MemoryError:
        raise
    except FileNotFoundError:
        raise ImageError(f"{path} does not exist: check the path") from None
    except Exception as error:  # each decoder has its own
        reason = " ".join(str(error).split()) or type(error).__name__
        raise ImageError(f"{path} cannot be read as an image ({reason}): replace or remove the file") from None


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
    return image.convert("RGB")


def _to_tensor(image: Image.Image) -> Tensor:
    return torch.from_numpy(np.array(image)).permute(2, 0, 1).contiguous()
