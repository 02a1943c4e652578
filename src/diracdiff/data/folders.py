"""Data sets of image folders: any folder, CelebA-HQ, FFHQ and ImageNet, each with its rule for the splits.

The name of an image is its path relative to the root, with '/'. Images are cropped to the central square and resized to
`image_size` pixels. Training images are mirrored at random.
"""

import re
from abc import ABC, abstractmethod
from itertools import groupby
from pathlib import Path
from typing import Any

from torch import Tensor

from diracdiff.data.crops import CROPS_PER_VISIT, FixedCrops, Photographs, RandomCrops
from diracdiff.data.datasets import SPLITS, ImageDataset, StaticImages
from diracdiff.data.files import fingerprint, image_names, resolve_root
from diracdiff.data.images import load_square
from diracdiff.data.splits import check_fractions, split_names
from diracdiff.utils.validate import check_between, check_count, check_option


class ImageFiles(StaticImages):
    """Image files, read on access.

    Args:
        root: folder of the images.
        names: paths relative to `root`.
        image_size: side in pixels.
        flip_seed: see `StaticImages`.
        skip: replace an unreadable image by the next one, instead of raising `ImageError`.
    """

    def __init__(self, root: Path, names: list[str], image_size: int, flip_seed: int | None, skip: bool):
        self.root, self.names, self.image_size, self.flip_seed = root, names, image_size, flip_seed
        self.failed = set() if skip else None

    def pixels(self, index: int) -> Tensor:
        return load_square(self.root / self.names[index], self.image_size)

    def fingerprint(self) -> dict[str, Any]:
        return fingerprint(self.root, self.names)


class Folder(ABC):
    """Base class of data sets of image folders.

    Args:
        root: folder of images.
        image_size: side in pixels, at least 1.
        on_error: "error" raises `ImageError` at an unreadable image; "skip" warns and uses the next image.

    Raises:
        ValueError: if `root` is missing or an argument is out of range.
    """

    seed, flip = 0, True

    def __init__(self, root: str | Path | None, image_size: int = 256, on_error: str = "error"):
        if root is None or str(root) in ("", "???"):
            raise ValueError(f"data.root={root}: must be a folder of images. Set data.root=/path/to/images.")
        check_count(image_size, "data.image_size")
        check_option(("error", "skip"), **{"data.on_error": on_error})
        self.root, self.image_size, self.on_error = str(root), image_size, on_error

    def split(self, name: str) -> ImageDataset:
        """Return the images of a split.

        Args:
            name: "train", "val" or "test".

        Raises:
            ValueError: if the name is unknown, or the split has no images.
        """
        check_option(SPLITS, split=name)
        root = resolve_root(self.root)
        flip_seed = self.seed if self.flip and name == "train" else None
        return ImageFiles(root, self.names(root, name), self.image_size, flip_seed, self.on_error == "skip")

    @abstractmethod
    def names(self, root: Path, split: str) -> list[str]:
        """Return the names of the images of a split, relative to `root`.

        Raises:
            ValueError: if the split has no images.
        """


class ImageFolder(Folder):
    """Folder of images with any structure, split by top-level folders or by a hash, see `diracdiff.data.splits`.

    Args:
        root, image_size, on_error: see `Folder`.
        val_fraction: fraction of the images for validation if no folder defines that split, in (0, 1).
        test_fraction: fraction of the images for the test if no folder defines that split, in (0, 1).
        seed: seed of the split, of random crops and of mirroring, at least 0.
        flip: mirror training images with probability 0.5.
        crop: "resize" resizes the central square of each image. "random" takes square crops, see
            `diracdiff.data.crops`.
        max_scale: maximum side of a random crop in units of `image_size`, in [1, 1000]. 1: native resolution only.
        crops_per_epoch: number of random crops per epoch; None: 32 per training photograph.
        recolour: permute the channels of random crops and raise each to a random power in [1/2, 2].

    Raises:
        ValueError: if an argument is out of range, or an argument of random crops is set without `crop="random"`.
    """

    def __init__(
        self,
        root: str | Path | None,
        image_size: int = 256,
        val_fraction: float = 0.1,
        test_fraction: float = 0.1,
        seed: int = 0,
        flip: bool = True,
        on_error: str = "error",
        crop: str = "resize",
        max_scale: float = 1.0,
        crops_per_epoch: int | None = None,
        recolour: bool = False,
    ):
        super().__init__(root, image_size, on_error)
        check_count(seed, "data.seed", 0)
        check_fractions(val_fraction, test_fraction)
        check_option(("resize", "random"), **{"data.crop": crop})
        check_between(1, 1000, **{"data.max_scale": max_scale})
        if crops_per_epoch is not None:
            check_count(crops_per_epoch, "data.crops_per_epoch")
        if not isinstance(recolour, bool):
            raise ValueError(f"data.recolour={recolour}: must be true or false.")
        if crop != "random" and (max_scale != 1 or crops_per_epoch is not None or recolour):
            keys = "data.max_scale, data.crops_per_epoch and data.recolour"
            raise ValueError(f"{keys}: need random crops. Add data.crop=random.")
        self.val_fraction, self.test_fraction, self.seed, self.flip = val_fraction, test_fraction, seed, flip
        self.crop, self.max_scale, self.crops_per_epoch, self.recolour = crop, max_scale, crops_per_epoch, recolour

    def names(self, root: Path, split: str) -> list[str]:
        return split_names(root, split, {"val": self.val_fraction, "test": self.test_fraction}, self.seed)

    def split(self, name: str) -> ImageDataset:
        """Return the images of a split, see `Folder.split`."""
        images = super().split(name)
        if self.crop == "resize" or not isinstance(images, ImageFiles):
            return images
        photographs, skip = Photographs(images.root, images.names, self.image_size), self.on_error == "skip"
        if name != "train":
            return FixedCrops(photographs, self.max_scale, skip=skip)
        count = CROPS_PER_VISIT * len(images) if self.crops_per_epoch is None else self.crops_per_epoch
        return RandomCrops(photographs, count, self.seed, self.max_scale, self.flip, self.recolour, skip=skip)


class CelebAHQ(ImageFolder):
    """CelebA-HQ: a flat folder of faces, split by `ImageFolder` into 80 % train, 10 % validation and 10 % test."""


class FFHQ(Folder):
    """FFHQ: folders 00000 to 00069 of a thousand faces each.

    Folder 00000 is the test split, 00001 the validation split, and the others are the training split. A split requires
    only its folders.
    """

    def names(self, root: Path, split: str) -> list[str]:
        held_out = {"00000": "test", "00001": "val"}
        folders = sorted(p.name for p in root.iterdir() if p.is_dir() and re.fullmatch(r"\d{5}", p.name))
        folders = [folder for folder in folders if held_out.get(folder, "train") == split]
        if not folders:
            raise ValueError(
                f"data.root={root}: has no FFHQ folder for split={split}. Provide 00000 (test), 00001 (validation) and "
                "00002 to 00069 (training)."
            )
        return [image for folder in folders for image in image_names(root, folder)]


class ImageNet(Folder):
    """ImageNet: training images in `root/train/<wnid>/*.JPEG`, validation and test images in `root/val/<wnid>/`.

    Within each class of val, sorted by name, the first image is for validation and the last one for the test. Classes
    with a single image alternate between validation and test, so that no image is in both splits.
    """

    def names(self, root: Path, split: str) -> list[str]:
        folder = root / ("train" if split == "train" else "val")
        names = image_names(root, folder.name) if folder.is_dir() else []
        if not names or any(name.count("/") < 2 for name in names):
            raise ValueError(
                f"{folder}: does not have the layout of ImageNet. data.root must contain train/<wnid>/*.JPEG and "
                "val/<wnid>/*.JPEG, one folder per class."
            )
        if split == "train":
            return names
        classes = [list(files) for _, files in groupby(names, lambda name: name.split("/")[1])]
        multiple, single = ([c for c in classes if (len(c) > 1) == more] for more in (True, False))
        position, offset = (0, 0) if split == "val" else (-1, 1)
        names = sorted([c[position] for c in multiple] + [c[0] for c in single[offset::2]])
        if not names:
            raise ValueError(f"{folder}: has only one image. Add images for split={split}.")
        return names
