"""Square crops of photographs: random ones to train on, a fixed grid of each photograph to validate and test on.

The side of a random crop is log-uniform between `image_size` and `max_scale` times that, at most the photograph's
shorter side; a larger crop is shrunk to `image_size`. Crop number `index` of an epoch follows from
(seed, epoch, index) alone. A crop is named photograph-left-top-side, in pixels of the photograph.
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
from diracdiff.data.sampler import Key, augmentation, epoch_and_index
from diracdiff.utils.pixels import from_pixels

TOGETHER = 8
"""Photographs that a process keeps in memory, and that consecutive training crops come from."""

VISIT = 32
"""Crops of a photograph before another one takes its place."""

GRIDS = ((math.inf, 4, 3), (1.0, 2, 2))
"""Grids of fixed crops: the photograph's shorter side over the crop's, columns, rows."""


class Photographs:
    """Photographs in files, decoded when they are needed. The last TOGETHER used stay in memory.

    Args:
        root: their folder.
        names: names of the files below it.
        size: smallest shorter side.
        titles: their names in the names of crops; None: `names`.
    """

    def __init__(self, root: Path, names: Sequence[str], size: int, titles: Sequence[str] | None = None):
        self.root, self.names, self.size, self.titles = root, names, size, names if titles is None else titles
        self._decoded: OrderedDict[int, Tensor] = OrderedDict()

    def __len__(self) -> int:
        return len(self.names)

    def __getitem__(self, index: int) -> Tensor:
        """Return a photograph, uint8 (3, H, W). Raises ImageError if it is too small or cannot be read."""
        if index not in self._decoded:
            path = self.root / self.names[index]
            pixels = read_rgb8(path)
            check_side(path, pixels.shape[1], pixels.shape[0], self.size)
            self._decoded[index] = torch.tensor(pixels).permute(2, 0, 1)
            if len(self._decoded) > TOGETHER:
                self._decoded.popitem(last=False)
        self._decoded.move_to_end(index)
        return self._decoded[index]

    def shape(self, index: int) -> tuple[int, int]:
        """Return width and height, read from the file's header. Raises ImageError as `__getitem__` does."""
        path = self.root / self.names[index]
        size = read_info(path).size
        check_side(path, *size, self.size)
        return size


class Crops(ImageDataset):
    """Crops of photographs."""

    photographs: Photographs

    def fingerprint(self) -> dict[str, Any]:
        return fingerprint(self.photographs.root, self.photographs.names)

    def item(self, x: Tensor, index: int, number: int, left: int, top: int, side: int) -> Item:
        """Return the pixels `x`, uint8 (3, S, S), as item `index`: a crop of the photograph `number`."""
        name = f"{self.photographs.titles[number]}-{left:04}-{top:04}-{side:04}"
        return {"x": from_pixels(x.contiguous()), "name": name, "index": index}


class RandomCrops(Crops):
    """Random crops of photographs. Key: index or (epoch, index).

    Args:
        photographs: the photographs.
        crops_per_epoch: number of crops that an epoch draws.
        seed: seed of the crops.
        max_scale: largest side over the side of the result.
        flip: mirror half of the crops.
        recolour: give them their channels in a random order, each raised to a power between 1/2 and 2.
        clustered: let consecutive crops come from few photographs, so that each is rarely decoded.
        skip: take the next photograph in place of one that cannot be read.
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
        rng, size, count = augmentation(self.seed, epoch, index), self.photographs.size, len(self.photographs)
        number, photo = self.replacing(self.photographs.__getitem__, int(rng.random() * count), count)
        height, width = photo.shape[1:]
        largest = min(min(height, width) / size, self.max_scale)
        side = round(size * math.exp(rng.random() * math.log(largest)))
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
        """Return the indices of an epoch in a random order, clustered by photograph unless `clustered` is False."""
        if not self.clustered:
            return super().order(epoch, generator)
        crops: dict[int, list[int]] = {}
        for index in range(len(self)):
            draw = augmentation(self.seed, epoch, index).random()
            crops.setdefault(int(draw * len(self.photographs)), []).append(index)
        visits = [part[at : at + VISIT] for part in crops.values() for at in range(0, len(part), VISIT)]
        visits, order = _permuted(visits, generator), list[int]()
        blocks = -(-len(visits) // TOGETHER)
        for first in range(blocks):
            order += _permuted([index for visit in visits[first::blocks] for index in visit], generator)
        return order


class FixedCrops(Crops):
    """Crops of a grid on each photograph, evenly spread from edge to edge.

    Args:
        photographs: the photographs.
        max_scale: largest side over the side of the result.
        grids: (shorter side over the crop's, columns, rows) of each grid.
        skip: leave out photographs that cannot be read.
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
        shapes = dict(self.replacing(photographs.shape, number, len(numbers)) for number in numbers)
        self.failed = set() if skip else None  # from now on, numbers of crops
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
        index, x = self.replacing(self._pixels, range(len(self))[index], len(self))
        return self.item(x, index, *self.crops[index])

    def _pixels(self, index: int) -> Tensor:
        number, left, top, side = self.crops[index]
        crop = self.photographs[number][:, top : top + side, left : left + side]
        return center_crop_resize(crop, self.photographs.size)


def _permuted(items: list[Any], generator: torch.Generator) -> list[Any]:
    return [items[i] for i in torch.randperm(len(items), generator=generator).tolist()]
