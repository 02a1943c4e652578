"""The colour photographs inside the scikit-image wheel: a data set for machines with no data and no network."""

import functools
import importlib.util
import math
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from diracdiff.data.datasets import ImageDataset, Item, check_integer, check_split, item
from diracdiff.data.images import crop_resize, load_image
from diracdiff.data.sampler import Key, augmentation, epoch_and_index
from diracdiff.errors import UserError

PHOTOS = {
    "train": (
        "astronaut.png",
        "hubble_deep_field.jpg",
        "ihc.png",
        "motorcycle_left.png",
        "motorcycle_right.png",
        "retina.jpg",
        "rocket.jpg",
    ),
    "val": ("chelsea.png",),
    "test": ("coffee.png",),
}
LARGEST_SIZE = 300  # the shorter side of chelsea.png, the smallest photograph

# Crops held out of a photograph: its shorter side over the crop's, columns, rows.
GRIDS = ((3.0, 4, 3), (4 / 3, 2, 2))


class Photos:
    """Random crops of seven photographs to train on, fixed crops of two others to validate and test on.

    Training: astronaut, rocket, the two views of a motorcycle, a deep field of Hubble's, a retina and a stained
    tissue (ihc). `crops_per_epoch` squares, their side log-uniform between `image_size` and the photograph's shorter
    side, at a uniform place, half of them mirrored. Crop number `index` of an epoch follows from
    (seed, epoch, index). With `recolour` their channels are in a random order, and each is raised to a power between
    1/2 and 2: the seven show few colours, and a network errs in those that it has not seen.

    Validation: the cat (chelsea). Test: the cup (coffee). 16 crops of each, the same in every run: twelve side by
    side of a third of the shorter side, and four overlapping ones of three quarters of it. A crop is never smaller
    than `image_size`, so for large sizes they overlap more.

    A crop is named photo-left-top-side, in pixels of the photograph.

    Args:
        image_size: side in pixels, at most 300.
        crops_per_epoch: number of training crops that an epoch draws.
        seed: of the training crops.
        files: names of files of scikit-image to train on instead, grey ones, too, with commas between them; empty: the
            seven.
        recolour: give the training crops random colours.

    Raises:
        UserError: if an argument breaks its rule.
    """

    def __init__(
        self, image_size: int = 64, crops_per_epoch: int = 2048, seed: int = 0, files: str = "", recolour: bool = False
    ):
        check_integer("dataset.image_size", image_size, 1, 64)
        check_integer("dataset.crops_per_epoch", crops_per_epoch, 1, 2048)
        if image_size > LARGEST_SIZE:
            raise UserError(
                f"dataset.image_size must be at most {LARGEST_SIZE} for the built-in photographs, got {image_size}:"
                " use a smaller one or a folder of your own images"
            )
        self.image_size = image_size
        self.crops_per_epoch = crops_per_epoch
        self.seed = seed
        check_files(files)
        if not isinstance(recolour, bool):
            raise UserError(f"dataset.recolour must be true or false, got {recolour}")
        self.files, self.recolour = files, recolour

    def split(self, name: str) -> ImageDataset:
        """The data set `name`: train, val or test. Raises UserError for any other name or a missing photograph."""
        check_split(name)
        files = tuple(self.files.split(",")) if name == "train" and self.files else PHOTOS[name]
        for file in files:
            _path(file)
        if name == "train":
            return RandomCrops(files, self.image_size, self.crops_per_epoch, self.seed, self.recolour)
        return FixedCrops(files, self.image_size)


def check_files(files: str) -> None:
    """Refuse names of training photographs that are none, or those of validation and test.

    Raises:
        UserError: naming the value and the rule.
    """
    names = files.split(",") if isinstance(files, str) and files else []
    if not isinstance(files, str) or any(not name or name != Path(name).name for name in names):
        raise UserError(
            "dataset.files must be names of files with commas between them, such as astronaut.png,rocket.jpg, "
            f"got {files}"
        )
    if held_out := sorted({*names} & {*PHOTOS["val"], *PHOTOS["test"]}):
        raise UserError(f"dataset.files names {held_out[0]}, which is held out for validation or test: leave it out")


class RandomCrops(ImageDataset):
    """`length` random square crops of the photographs `files`; see `Photos`. Key: index or (epoch, index)."""

    def __init__(self, files: tuple[str, ...], size: int, length: int, seed: int, recolour: bool = False):
        self.files, self.size, self.length, self.seed, self.recolour = files, size, length, seed, recolour

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, key: Key) -> Item:
        epoch, index = epoch_and_index(key)
        if not 0 <= index < self.length:
            raise IndexError(f"index must be in [0, {self.length}), got {index}")
        rng = augmentation(self.seed, epoch, index)
        file = self.files[int(rng.random() * len(self.files))]
        photo = _photo(file)
        height, width = photo.shape[1:]
        shorter = min(height, width)
        side = round(self.size * math.exp(rng.random() * math.log(shorter / self.size)))
        left = int(rng.random() * (width - side + 1))
        top = int(rng.random() * (height - side + 1))
        crop = photo[:, top : top + side, left : left + side]
        x = F.interpolate(crop[None], (self.size, self.size), mode="bicubic", antialias=True)[0]
        if rng.random() < 0.5:
            x = x.flip(-1)
        if self.recolour:
            powers = torch.tensor([4 ** (rng.random() - 0.5) for _ in range(3)])
            x = x[rng.sample(range(3), 3)].div(255) ** powers[:, None, None]
            x = x.mul(255).round().to(torch.uint8)
        return item(x, _crop_name(file, left, top, side), index)


class FixedCrops(ImageDataset):
    """The held-out crops of the photographs `files`; see `Photos`."""

    def __init__(self, files: tuple[str, ...], size: int):
        self.size = size
        self.crops = [(file, *box) for file in files for box in _grid_boxes(_photo(file), size)]

    def __len__(self) -> int:
        return len(self.crops)

    def __getitem__(self, index: int) -> Item:
        file, left, top, side = self.crops[index]
        x = crop_resize(_photo(file), left, top, side, self.size)
        return item(x, _crop_name(file, left, top, side), index)


def _grid_boxes(photo: Tensor, size: int) -> list[tuple[int, int, int]]:
    """Boxes (left, top, side) of all GRIDS, evenly spread from edge to edge, without duplicates."""
    height, width = photo.shape[1:]
    boxes = []
    for divisor, columns, rows in GRIDS:
        side = max(size, int(min(height, width) / divisor))
        for row in range(rows):
            for column in range(columns):
                left = (width - side) * column // (columns - 1)
                top = (height - side) * row // (rows - 1)
                boxes.append((left, top, side))
    return list(dict.fromkeys(boxes))


def _crop_name(file: str, left: int, top: int, side: int) -> str:
    return f"{Path(file).stem}-{left:04}-{top:04}-{side:04}"


@functools.cache
def _photo(file: str) -> Tensor:
    # Interleaved channels are the layout that both Pillow and torch's 8-bit resize read fastest.
    return load_image(_path(file)).permute(1, 2, 0).contiguous().permute(2, 0, 1)


def _path(file: str) -> Path:
    package = importlib.util.find_spec("skimage")
    folder = Path(package.origin).parent if package and package.origin else Path("skimage")
    path = folder / "data" / file
    if not path.is_file():
        raise UserError(f"the photograph {path} is missing: reinstall scikit-image, which ships it")
    return path
