"""Folders of images: any folder, CelebA-HQ, FFHQ and ImageNet, each with its own rule for splitting.

Images are named by their path relative to the root, with '/'. They are centre-cropped to a square and shrunk to
`image_size` pixels. Training images are mirrored at random.
"""

import hashlib
import re
from collections.abc import Iterable
from itertools import groupby
from pathlib import Path

from diracdiff.data.datasets import SPLITS, ImageDataset, Item, check_integer, check_split, item
from diracdiff.data.images import check_root, list_images, load_square
from diracdiff.data.sampler import Key, augmentation, epoch_and_index
from diracdiff.errors import UserError


class ImageFiles(ImageDataset):
    """The images `names` below `root`. Key: index or (epoch, index).

    `flip_seed`: mirror image `index` of an epoch as (flip_seed, epoch, index) says; None: never mirror.
    """

    def __init__(self, root: Path, names: list[str], image_size: int, flip_seed: int | None = None):
        self.root, self.names, self.image_size, self.flip_seed = root, names, image_size, flip_seed

    def __len__(self) -> int:
        return len(self.names)

    def __getitem__(self, key: Key) -> Item:
        epoch, index = epoch_and_index(key)
        name = self.names[index]
        x = load_square(self.root / name, self.image_size)
        if self.flip_seed is not None and augmentation(self.flip_seed, epoch, index).random() < 0.5:
            x = x.flip(-1)
        return item(x, name, index)


class ImageFolder:
    """Any tree of images. Folders train, val and test at its top divide it; otherwise it is divided reproducibly.

    Then the images are ordered by a hash of (seed, name): the first ones validate, the next ones test, the rest train.

    Args:
        root: folder of images, at any depth.
        image_size: side in pixels.
        val_fraction: share of the images that validates, in (0, 1); at least one image.
        test_fraction: share that tests, likewise.
        seed: of the division and of the mirroring.
        flip: mirror half of the training images.
    """

    def __init__(
        self,
        root: str | Path | None,
        image_size: int = 256,
        val_fraction: float = 0.1,
        test_fraction: float = 0.1,
        seed: int = 0,
        flip: bool = True,
    ):
        self.root, self.image_size = _check_arguments(root, image_size)
        for key, fraction in (("val_fraction", val_fraction), ("test_fraction", test_fraction)):
            if not isinstance(fraction, int | float) or not 0 < fraction < 1:
                raise UserError(f"dataset.{key} must be between 0 and 1, got {fraction!r}: try dataset.{key}=0.1")
        if val_fraction + test_fraction >= 1:
            raise UserError(
                f"dataset.val_fraction={val_fraction} and dataset.test_fraction={test_fraction} leave nothing to"
                " train on: their sum must be below 1"
            )
        self.val_fraction, self.test_fraction = val_fraction, test_fraction
        self.seed, self.flip = seed, flip

    def split(self, name: str) -> ImageFiles:
        """The data set `name`: train, val or test. Raises UserError when there are too few images for three."""
        check_split(name)
        root = check_root(self.root)
        if all((root / split).is_dir() for split in SPLITS):
            names = _relative(root, list_images(root / name))
            return _files(root, names, self.image_size, name, self.seed, self.flip)
        names = _relative(root, list_images(root))
        order = sorted(names, key=lambda n: hashlib.sha256(f"{self.seed}/{n}".encode()).digest())
        n_val = max(1, round(len(order) * self.val_fraction))
        n_test = max(1, round(len(order) * self.test_fraction))
        if n_val + n_test >= len(order):
            raise UserError(
                f"{self.root} holds {len(order)} images, of which {n_val} would validate and {n_test} test: add"
                " images (at least 3) or lower dataset.val_fraction and dataset.test_fraction"
            )
        part = {
            "val": order[:n_val],
            "test": order[n_val : n_val + n_test],
            "train": order[n_val + n_test :],
        }[name]
        return _files(self.root, sorted(part), self.image_size, name, self.seed, self.flip)


class CelebAHQ(ImageFolder):
    """CelebA-HQ: a flat folder of faces; 80 % train, 10 % validate, 10 % test, divided as in `ImageFolder`."""

    def __init__(self, root: str | Path | None, image_size: int = 256, seed: int = 0):
        super().__init__(root, image_size, seed=seed)


class FFHQ:
    """FFHQ: folders 00000 to 00069 of a thousand faces each. 00000 tests, 00001 validates, the rest train.

    A split needs its own folders only, so 00000 suffices to test on.
    """

    def __init__(self, root: str | Path | None, image_size: int = 256):
        self.root, self.image_size = _check_arguments(root, image_size)

    def split(self, name: str) -> ImageFiles:
        """The data set `name`: train, val or test. Raises UserError when its folders are missing."""
        check_split(name)
        root = check_root(self.root)
        folders = sorted(p.name for p in root.iterdir() if p.is_dir() and re.fullmatch(r"\d{5}", p.name))
        held_out = {"test": "00000", "val": "00001"}
        wanted = [f for f in folders if f == held_out.get(name) or (name == "train" and f > "00001")]
        if not wanted:
            missing = held_out.get(name, "00002 to 00069")
            raise UserError(
                f"{root} lacks FFHQ's folder {missing}, needed to {_PURPOSE[name]}: dataset.root must hold"
                " 00000 (test), 00001 (validation) and 00002 to 00069 (training)"
            )
        names = [n for folder in wanted for n in _relative(root, list_images(root / folder))]
        return _files(root, names, self.image_size, name)


class ImageNet:
    """ImageNet: root/train/<wnid>/*.JPEG trains, root/val/<wnid>/ validates and tests.

    Of each class in val, the first image in the order of names validates and the last one tests. Classes with a
    single image there, as a sample of ImageNet may have, validate and test by turns, so that no image does both.
    """

    def __init__(self, root: str | Path | None, image_size: int = 256):
        self.root, self.image_size = _check_arguments(root, image_size)

    def split(self, name: str) -> ImageFiles:
        """The data set `name`: train, val or test. Raises UserError for another layout than ImageNet's."""
        check_split(name)
        root = check_root(self.root)
        folder = root / ("train" if name == "train" else "val")
        names = _relative(root, list_images(folder)) if folder.is_dir() else []
        if not names or any(n.count("/") < 2 for n in names):
            raise UserError(
                f"{folder} is not laid out as ImageNet: dataset.root must hold"
                " train/<wnid>/*.JPEG and val/<wnid>/*.JPEG, one folder per class"
            )
        if name != "train":
            classes = [list(files) for _, files in groupby(names, _wnid)]
            several, single = ([c for c in classes if (len(c) > 1) == more] for more in (True, False))
            position, turn = (0, 0) if name == "val" else (-1, 1)
            names = sorted([c[position] for c in several] + [c[0] for c in single[turn::2]])
            if not names:
                raise UserError(f"{folder} holds one image only: add images to {_PURPOSE[name]} with")
        return _files(root, names, self.image_size, name)


_PURPOSE = {"train": "train", "val": "validate", "test": "test"}


def _wnid(name: str) -> str:
    return name.split("/")[1]


def _files(
    root: str | Path, names: list[str], image_size: int, split: str, seed: int = 0, flip: bool = True
) -> ImageFiles:
    flip_seed = seed if flip and split == "train" else None
    return ImageFiles(Path(root).expanduser(), names, image_size, flip_seed)


def _relative(root: str | Path, paths: Iterable[Path]) -> list[str]:
    root = Path(root).expanduser()
    return [path.relative_to(root).as_posix() for path in paths]


def _check_arguments(root: str | Path | None, image_size: int) -> tuple[str, int]:
    """The root as text, which a checkpoint's recipe can hold, and the size."""
    if root is None or str(root) in ("", "???"):
        raise UserError("dataset.root must be a folder of images: set dataset.root=/path/to/images")
    check_integer("dataset.image_size", image_size, 1, 256)
    return str(root), image_size
