"""Folders of images: any folder, CelebA-HQ, FFHQ and ImageNet, each with a rule for splitting.

Images are named by their path relative to the root, with '/'. They are cropped to the central square and shrunk to
`image_size` pixels. Training images are mirrored at random.
"""

import re
from abc import ABC, abstractmethod
from itertools import groupby
from pathlib import Path
from typing import Any

from torch import Tensor

from diracdiff.data.crops import VISIT, FixedCrops, Photographs, RandomCrops
from diracdiff.data.datasets import SPLITS, ImageDataset, StillImages
from diracdiff.data.files import check_root, fingerprint, image_names
from diracdiff.data.images import load_square
from diracdiff.data.splits import check_fractions, split_names
from diracdiff.utils.validate import check_between, check_count, check_option


class ImageFiles(StillImages):
    """The images `names` below `root`, read one by one."""

    def __init__(self, root: Path, names: list[str], image_size: int, flip_seed: int | None, skip: bool):
        self.root, self.names, self.image_size, self.flip_seed = root, names, image_size, flip_seed
        self.failed = set() if skip else None

    def pixels(self, index: int) -> Tensor:
        return load_square(self.root / self.names[index], self.image_size)

    def fingerprint(self) -> dict[str, Any]:
        return fingerprint(self.root, self.names)


class Folder(ABC):
    """A folder of images.

    Args:
        root: folder of images.
        image_size: side in pixels.
        on_error: "error" ends the command at an image that cannot be read, "skip" names it and takes the next one.

    Raises:
        ValueError: if an argument breaks its rule.
    """

    seed, flip = 0, True

    def __init__(self, root: str | Path | None, image_size: int = 256, on_error: str = "error"):
        if root is None or str(root) in ("", "???"):
            raise ValueError("data.root must be a folder of images: set data.root=/path/to/images")
        check_count(image_size, "data.image_size")
        check_option(("error", "skip"), **{"data.on_error": on_error})
        self.root, self.image_size, self.on_error = str(root), image_size, on_error

    def split(self, name: str) -> ImageDataset:
        """Return the split train, val or test. Raises ValueError if the folder has no images for it."""
        check_option(SPLITS, split=name)
        root = check_root(self.root)
        flip_seed = self.seed if self.flip and name == "train" else None
        return ImageFiles(root, self.names(root, name), self.image_size, flip_seed, self.on_error == "skip")

    @abstractmethod
    def names(self, root: Path, split: str) -> list[str]:
        """Return the names of the images of a split, relative to `root`. Raises ValueError if there are none."""


class ImageFolder(Folder):
    """Any tree of images, divided by folders at its top or by a hash; see `diracdiff.data.splits`.

    Args:
        root, image_size, on_error: see `Folder`.
        val_fraction: fraction of the images for validation where no folder holds them, in (0, 1); at least one image.
        test_fraction: fraction for the test, likewise.
        seed: seed of the division, of random crops and of the mirroring.
        flip: mirror half of the training images.
        crop: "resize" shrinks the central square of each image, "random" takes square crops of each photograph, see
            `diracdiff.data.crops`.
        max_scale: largest side of a random crop over `image_size`, at least 1; 1: native resolution only.
        crops_per_epoch: number of random crops that an epoch draws; None: 32 of each training photograph.
        recolour: permute the channels of random crops and raise each to a random power between 1/2 and 2.
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
        """Return the split train, val or test. Raises ValueError if it has no images."""
        images = super().split(name)
        if self.crop == "resize" or not isinstance(images, ImageFiles):
            return images
        photographs, skip = Photographs(images.root, images.names, self.image_size), self.on_error == "skip"
        if name != "train":
            return FixedCrops(photographs, self.max_scale, skip=skip)
        count = VISIT * len(images) if self.crops_per_epoch is None else self.crops_per_epoch
        return RandomCrops(photographs, count, self.seed, self.max_scale, self.flip, self.recolour, skip=skip)


class CelebAHQ(ImageFolder):
    """CelebA-HQ: a flat folder of faces; 80 % train, 10 % validate, 10 % test, divided as in `ImageFolder`."""


class FFHQ(Folder):
    """FFHQ: folders 00000 to 00069 of a thousand faces each. 00000 tests, 00001 validates, the rest train.

    A split needs only its folders, so 00000 suffices to test on.
    """

    def names(self, root: Path, split: str) -> list[str]:
        held_out = {"00000": "test", "00001": "val"}
        folders = sorted(p.name for p in root.iterdir() if p.is_dir() and re.fullmatch(r"\d{5}", p.name))
        folders = [folder for folder in folders if held_out.get(folder, "train") == split]
        if not folders:
            raise ValueError(
                f"{root} lacks FFHQ's folders for split={split}: data.root must hold 00000 (test), 00001"
                " (validation) and 00002 to 00069 (training)"
            )
        return [image for folder in folders for image in image_names(root, folder)]


class ImageNet(Folder):
    """ImageNet: root/train/<wnid>/*.JPEG trains, root/val/<wnid>/ validates and tests.

    Of each class in val, the first image in the order of names validates and the last one tests. Classes with a
    single image, as in a sample of ImageNet, validate and test by turns, so that no image does both.
    """

    def names(self, root: Path, split: str) -> list[str]:
        folder = root / ("train" if split == "train" else "val")
        names = image_names(root, folder.name) if folder.is_dir() else []
        if not names or any(name.count("/") < 2 for name in names):
            raise ValueError(
                f"{folder} does not have ImageNet's layout: data.root must hold"
                " train/<wnid>/*.JPEG and val/<wnid>/*.JPEG, one folder per class"
            )
        if split == "train":
            return names
        classes = [list(files) for _, files in groupby(names, lambda name: name.split("/")[1])]
        several, single = ([c for c in classes if (len(c) > 1) == more] for more in (True, False))
        position, turn = (0, 0) if split == "val" else (-1, 1)
        names = sorted([c[position] for c in several] + [c[0] for c in single[turn::2]])
        if not names:
            raise ValueError(f"{folder} holds one image only: add images for split={split}")
        return names
