"""Square crops of photographs: random crops for training, fixed grids of crops for validation and test.

The side of a random crop is log-uniform between `image_size` and `max_scale * image_size`, and at most the shorter side
of the photograph. Larger crops are resized to `image_size`. A random crop depends only on (seed, epoch, index). Crops
are named photograph-left-top-side, in pixels of the photograph.
"""

import math
from collections import OrderedDict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from diracdiff.data.datasets import ImageDataset, Item
from diracdiff.data.files import fingerprint
from diracdiff.data.image_io import read_info, read_rgb8
from diracdiff.data.images import center_crop_resize, check_side
from diracdiff.data.sampler import Key, augmentation_rng, epoch_and_index
from diracdiff.utils.pixels import from_pixels

CACHE_SIZE = 8
"""Number of decoded photographs in memory per process, and of photographs behind consecutive training crops."""

CROPS_PER_VISIT = 32
"""Number of crops taken from a photograph before another photograph replaces it."""

GRIDS = ((math.inf, 4, 3), (1.0, 2, 2))
"""Grids of fixed crops: (shorter side of the photograph / side of the crop, columns, rows)."""


class Photographs:
    """Photographs in files, decoded on access. The `CACHE_SIZE` most recently used ones stay in memory.

    Args:
        root: folder of the photographs.
        names: paths relative to `root`.
        size: minimum of the shorter side in pixels.
        display_names: names for the names of crops; None: `names`.
    """

    def __init__(self, root: Path, names: Sequence[str], size: int, display_names: Sequence[str] | None = None):
        self.root, self.names, self.size, self.display_names = (
            root,
            names,
            size,
            names if display_names is None else display_names,
        )
        self._decoded: OrderedDict[int, Tensor] = OrderedDict()

    def __len__(self) -> int:
        return len(self.names)

    def __getitem__(self, index: int) -> Tensor:
        """Return a photograph, uint8 (3, H, W).

        Raises:
            ImageError: if the photograph is too small or cannot be read.
        """
        if index not in self._decoded:
            path = self.root / self.names[index]
            pixels = read_rgb8(path)
            check_side(path, pixels.shape[1], pixels.shape[0], self.size)
            self._decoded[index] = torch.tensor(pixels).permute(2, 0, 1)
            if len(self._decoded) > CACHE_SIZE:
                self._decoded.popitem(last=False)
        self._decoded.move_to_end(index)
        return self._decoded[index]

    def shape(self, index: int) -> tuple[int, int]:
        """Return width and height in pixels, read from the header of the file.

        Raises:
            ImageError: if the photograph is too small or its header cannot be read.
        """
        path = self.root / self.names[index]
        size = read_info(path).size
        check_side(path, *size, self.size)
        return size


class Crops(ImageDataset):
    """Base class of data sets of crops.

    Attributes:
        photographs: source photographs.
    """

    photographs: Photographs

    def fingerprint(self) -> dict[str, Any]:
        return fingerprint(self.photographs.root, self.photographs.names)

    def item(self, x: Tensor, index: int, number: int, left: int, top: int, side: int) -> Item:
        """Return a crop as a data set item.

        Args:
            x: pixels, uint8 (3, S, S).
            index: index of the item.
            number: index of the photograph.
            left: first column of the crop, in pixels of the photograph.
            top: first row of the crop, in pixels of the photograph.
            side: side of the crop, in pixels of the photograph.
        """
        name = f"{self.photographs.display_names[number]}-{left:04}-{top:04}-{side:04}"
        return {"x": from_pixels(x.contiguous()), "name": name, "index": index}


class RandomCrops(Crops):
    """Random crops of photographs, indexed by index or (epoch, index).

    Args:
        photographs: source photographs.
        crops_per_epoch: number of crops per epoch.
        seed: seed of the crops.
        max_scale: maximum side of a crop in units of the output side, at least 1.
        flip: mirror crops with probability 0.5.
        recolour: permute the channels and raise each to a random power in [1/2, 2].
        clustered: order an epoch so that consecutive crops share few photographs, which limits decoding.
        skip: replace an unreadable photograph by the next one, instead of raising `ImageError`.
    """

    def __init__(
        self,
        photographs: Photographs,
        crops_per_epoch: int,
        seed: int = 0,
        max_scale: float = math.inf,
        flip: bool = True,
        recolour: bool = False,
        clustered: bool = True,
        skip: bool = False,
    ):
        self.photographs, self.crops_per_epoch, self.seed, self.max_scale = (
            photographs,
            crops_per_epoch,
            seed,
            max_scale,
        )
        self.flip, self.recolour, self.clustered, self.failed = flip, recolour, clustered, set() if skip else None

    def __len__(self) -> int:
        return self.crops_per_epoch

    def __getitem__(self, key: Key) -> Item:
        epoch, index = epoch_and_index(key)
        if not 0 <= index < len(self):
            raise IndexError(f"index must be in [0, {len(self)}), got {index}")
        rng, size, count = augmentation_rng(self.seed, epoch, index), self.photographs.size, len(self.photographs)
        number, photo = self.read_next(self.photographs.__getitem__, int(rng.random() * count), count)
        height, width = photo.shape[1:]
        max_ratio = min(min(height, width) / size, self.max_scale)
        side = round(size * math.exp(rng.random() * math.log(max_ratio)))
        left = int(rng.random() * (width - side + 1))
        top = int(rng.random() * (height - side + 1))
        x = photo[:, top : top + side, left : left + side]
        if side != size:
            x = F.interpolate(x[None], (size, size), mode="bicubic", antialias=True)[0]
        if rng.random() < 0.5 and self.flip:
            x = x.flip(-1)
        if self.recolour:
            powers = torch.tensor([4 ** (rng.random() - 0.5) for _ in range(3)])
            x = x[rng.sample(range(3), 3)].div(255) ** powers[:, None, None]
            x = x.mul(255).round().to(torch.uint8)
        return self.item(x, index, number, left, top, side)

    def order(self, epoch: int, generator: torch.Generator) -> list[int]:
        """Return the indices of an epoch in random order, clustered by photograph if `clustered`."""
        if not self.clustered:
            return super().order(epoch, generator)
        crops: dict[int, list[int]] = {}
        for index in range(len(self)):
            uniform = augmentation_rng(self.seed, epoch, index).random()
            crops.setdefault(int(uniform * len(self.photographs)), []).append(index)
        visits = [
            indices[start : start + CROPS_PER_VISIT]
            for indices in crops.values()
            for start in range(0, len(indices), CROPS_PER_VISIT)
        ]
        visits, order = _shuffle(visits, generator), list[int]()
        blocks = -(-len(visits) // CACHE_SIZE)
        for first in range(blocks):
            order += _shuffle([index for visit in visits[first::blocks] for index in visit], generator)
        return order


class FixedCrops(Crops):
    """Fixed grids of crops of each photograph, spaced evenly from edge to edge.

    Args:
        photographs: source photographs.
        max_scale: maximum side of a crop in units of the output side, at least 1.
        grids: (shorter side of the photograph / side of the crop, columns, rows) of each grid.
        skip: omit unreadable photographs, instead of raising `ImageError`.
    """

    def __init__(
        self,
        photographs: Photographs,
        max_scale: float = math.inf,
        grids: Sequence[tuple[float, int, int]] = GRIDS,
        skip: bool = False,
    ):
        self.photographs, self.failed = photographs, set() if skip else None
        numbers = range(len(photographs))
        shapes = dict(self.read_next(photographs.shape, number, len(numbers)) for number in numbers)
        self.failed = set() if skip else None  # indices of crops, no longer of photographs
        self.crops: list[tuple[int, int, int, int]] = []
        for number, (width, height) in shapes.items():
            boxes = []
            for divisor, columns, rows in grids:
                side = max(photographs.size, int(min(min(height, width) / divisor, photographs.size * max_scale)))
                tops = [(height - side) * row // (rows - 1) for row in range(rows)]
                lefts = [(width - side) * column // (columns - 1) for column in range(columns)]
                boxes += [(number, left, top, side) for top in tops for left in lefts]
            self.crops += dict.fromkeys(boxes)

    def __len__(self) -> int:
        return len(self.crops)

    def __getitem__(self, index: int) -> Item:
        index, x = self.read_next(self._pixels, range(len(self))[index], len(self))
        return self.item(x, index, *self.crops[index])

    def _pixels(self, index: int) -> Tensor:
        number, left, top, side = self.crops[index]
        crop = self.photographs[number][:, top : top + side, left : left + side]
        return center_crop_resize(crop, self.photographs.size)


def _shuffle(items: list[Any], generator: torch.Generator) -> list[Any]:
    return [items[i] for i in torch.randperm(len(items), generator=generator).tolist()]
