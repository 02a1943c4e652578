"""Folders of images: any folder, CelebA-HQ, FFHQ and ImageNet, each with its own rule for splitting.

Images are named by their path relative to the root, with '/'. They are cropped to the central square and shrunk to
`image_size` pixels. Training images are mirrored at random.
"""

import re
from itertools import groupby
from pathlib import Path
from typing import Any

from torch import Tensor

from diracdiff.data.crops import VISIT, FixedCrops, Photographs, RandomCrops
from diracdiff.data.datasets import ImageDataset, StillImages, check_choice, check_split
from diracdiff.data.files import check_root, fingerprint, image_names
from diracdiff.data.image_io import MAX_PIXELS
from diracdiff.data.images import load_square
from diracdiff.data.splits import check_fractions, split_names
from diracdiff.utils.validate import check_count

MAX_SCALE = 1000
ON_ERROR = ("error", "skip")


class Folder:
    """Arguments that folders of images share.

    Args:
        root: folder of images.
        image_size: side in pixels.
        on_error: "error" ends the command at an image that cannot be read, "skip" names it and takes the next one.
        max_pixels: an image of more is refused before it is decoded.

    Raises:
        ValueError: if an argument breaks its rule.
    """

    def __init__(
        self, root: str | Path | None, image_size: int = 256, on_error: str = "error", max_pixels: int = MAX_PIXELS
    ):
        if root is None or str(root) in ("", "???"):
            raise ValueError("dataset.root must be a folder of images: set dataset.root=/path/to/images")
        check_count(image_size, "dataset.image_size")
        check_choice("dataset.on_error", on_error, ON_ERROR)
        check_count(max_pixels, "dataset.max_pixels")
        self.root, self.image_size, self.on_error, self.max_pixels = str(root), image_size, on_error, max_pixels

    def files(self, root: Path, names: list[str], split: str, flip_seed: int | None = 0) -> "ImageFiles":
        """Return the images `names` below the root, mirrored if they are for training."""
        return ImageFiles(self, root, names, flip_seed if split == "train" else None)


class ImageFiles(StillImages):
    """The images `names` below `root`, read one by one as `folder` says."""

    def __init__(self, folder: Folder, root: Path, names: list[str], flip_seed: int | None):
        self.root, self.names, self.flip_seed = root, names, flip_seed
        self.image_size, self.max_pixels = folder.image_size, folder.max_pixels
        self.failed = set() if folder.on_error == "skip" else None

    def pixels(self, index: int) -> Tensor:
        return load_square(self.root / self.names[index], self.image_size, self.max_pixels)

    def fingerprint(self) -> dict[str, Any]:
        return fingerprint(self.root, self.names)


class ImageFolder(Folder):
    """Any tree of images, divided by folders at its top or by a hash; see `diracdiff.data.splits`.

    Args:
        root, image_size, on_error, max_pixels: see `Folder`.
        val_fraction: fraction of the images for validation where no folder holds them, in (0, 1); at least one image.
        test_fraction: fraction for the test, likewise.
        seed: seed of the division, of random crops and of the mirroring.
        flip: mirror half of the training images.
        crop: "resize" shrinks the central square of each image, "random" takes square crops of each photograph, see
            `diracdiff.data.crops`.
        max_scale: largest side of a random crop over `image_size`, at least 1; 1: native resolution only.
        crops_per_epoch: number of random crops that an epoch draws; None: 32 of each training photograph.
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
        max_pixels: int = MAX_PIXELS,
        crop: str = "resize",
        max_scale: float = 1.0,
        crops_per_epoch: int | None = None,
    ):
        super().__init__(root, image_size, on_error, max_pixels)
        check_count(seed, "dataset.seed", 0)
        check_fractions(val_fraction, test_fraction)
        check_choice("dataset.crop", crop, ("resize", "random"))
        if isinstance(max_scale, bool) or not isinstance(max_scale, int | float) or not 1 <= max_scale <= MAX_SCALE:
            raise ValueError(f"dataset.max_scale={max_scale}: must be a number from 1 to {MAX_SCALE}. Try 2.")
        if crops_per_epoch is not None:
            check_count(crops_per_epoch, "dataset.crops_per_epoch")
        if crop != "random" and (max_scale != 1 or crops_per_epoch is not None):
            raise ValueError("dataset.max_scale and dataset.crops_per_epoch need dataset.crop=random: add it.")
        self.val_fraction, self.test_fraction, self.seed, self.flip = val_fraction, test_fraction, seed, flip
        self.crop, self.max_scale, self.crops_per_epoch = crop, max_scale, crops_per_epoch
        self._divided: dict[str, list[str]] = {}

    def split(self, name: str) -> ImageDataset:
        """Return the split train, val or test. Raises ValueError if it has no images."""
        check_split(name)
        root = check_root(self.root)
        if name not in self._divided:
            self._divided |= split_names(root, name, self.val_fraction, self.test_fraction, self.seed)
        names = self._divided[name]
        if self.crop == "resize":
            return self.files(root, names, name, self.seed if self.flip else None)
        photographs, skip = Photographs(root, names, self.image_size, self.max_pixels), self.on_error == "skip"
        if name != "train":
            return FixedCrops(photographs, names, self.max_scale, skip=skip)
        count = VISIT * len(names) if self.crops_per_epoch is None else self.crops_per_epoch
        return RandomCrops(photographs, names, count, self.seed, self.max_scale, self.flip, skip=skip)


class CelebAHQ(ImageFolder):
    """CelebA-HQ: a flat folder of faces; 80 % train, 10 % validate, 10 % test, divided as in `ImageFolder`."""


class FFHQ(Folder):
    """FFHQ: folders 00000 to 00069 of a thousand faces each. 00000 tests, 00001 validates, the rest train.

    A split needs its own folders only, so 00000 suffices to test on.
    """

    def split(self, name: str) -> ImageFiles:
        """Return the split train, val or test. Raises ValueError when its folders are missing."""
        check_split(name)
        root = check_root(self.root)
        folders = sorted(p.name for p in root.iterdir() if p.is_dir() and re.fullmatch(r"\d{5}", p.name))
        held_out = {"test": "00000", "val": "00001"}
        wanted = [f for f in folders if f == held_out.get(name) or (name == "train" and f > "00001")]
        if not wanted:
            raise ValueError(
                f"{root} lacks FFHQ's folder {held_out.get(name, '00002 to 00069')} for split={name}: dataset.root must"
                " hold 00000 (test), 00001 (validation) and 00002 to 00069 (training)"
            )
        return self.files(root, [n for folder in wanted for n in image_names(root, folder)], name)


class ImageNet(Folder):
    """ImageNet: root/train/<wnid>/*.JPEG trains, root/val/<wnid>/ validates and tests.

    Of each class in val, the first image in the order of names validates and the last one tests. Classes with a
    single image, as in a sample of ImageNet, validate and test by turns, so that no image does both.
    """

    def split(self, name: str) -> ImageFiles:
        """Return the split train, val or test. Raises ValueError for another layout than ImageNet's."""
        check_split(name)
        root = check_root(self.root)
        folder = root / ("train" if name == "train" else "val")
        names = image_names(root, folder.name) if folder.is_dir() else []
        if not names or any(n.count("/") < 2 for n in names):
            raise ValueError(
                f"{folder} does not have ImageNet's layout: dataset.root must hold"
                " train/<wnid>/*.JPEG and val/<wnid>/*.JPEG, one folder per class"
            )
        if name != "train":
            classes = [list(files) for _, files in groupby(names, lambda file: file.split("/")[1])]
            several, single = ([c for c in classes if (len(c) > 1) == more] for more in (True, False))
            position, turn = (0, 0) if name == "val" else (-1, 1)
            names = sorted([c[position] for c in several] + [c[0] for c in single[turn::2]])
            if not names:
                raise ValueError(f"{folder} holds one image only: add images for split={name}")
        return self.files(root, names, name)
