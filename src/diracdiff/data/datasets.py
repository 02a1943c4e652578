"""What all data sets share.

A data set is a description: its constructor's arguments, kept as attributes, and `split(name)`, which looks at the
disk and returns an `ImageDataset` for train, val or test. Items of every split are
{"x": float32 (3, S, S) in [0, 1], "name": str, "index": int}, where the name is unique within the split.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, Protocol

import torch
from torch import Tensor
from torch.utils.data import Dataset, default_collate

from diracdiff.data.faults import Skipped
from diracdiff.data.sampler import Key, augmentation, epoch_and_index
from diracdiff.utils.errors import UserError
from diracdiff.utils.pixels import from_pixels

SPLITS = ("train", "val", "test")
PURPOSE = {"train": "train", "val": "validate", "test": "test"}

Item = dict[str, Any]
"""An image with its name and index, or a batch of them."""


class ImageDataset(Dataset[Item], ABC):
    """The images of a split: a `torch.utils.data.Dataset` with a length. Training uses keys (epoch, index).

    Attributes:
        skipped: files that could not be read, where they are left out; None where they are errors.
    """

    skipped: Skipped | None = None

    @abstractmethod
    def __len__(self) -> int: ...

    def source(self, index: int) -> int:
        """Return the number of the file that an item comes from."""
        return index

    def fingerprint(self) -> dict[str, Any] | None:
        """Return {"count", "sha256"} of the files, by which a resumed run notices others; None if there are none."""
        return None

    def order(self, epoch: int, generator: torch.Generator) -> list[int]:
        """Return the indices of a training epoch in a random order."""
        return torch.randperm(len(self), generator=generator).tolist()

    def for_training(self) -> "ImageDataset":
        """The same images as a training reads them; their "x" may be uint8, for the data module to divide by 255."""
        return self


class StillImages(ImageDataset):
    """Images that are the same in every epoch, but for a mirroring. Key: index or (epoch, index).

    Attributes:
        names: of the images.
        image_size: side in pixels.
        flip_seed: mirror image `index` of an epoch as (flip_seed, epoch, index) says; None: never mirror.
    """

    names: Sequence[str]
    image_size: int
    flip_seed: int | None

    def __len__(self) -> int:
        return len(self.names)

    @abstractmethod
    def pixels(self, index: int) -> Tensor:
        """An image before it is mirrored, uint8 (3, S, S), the same on every machine. Raises UserError."""

    def __getitem__(self, key: Key) -> Item:
        epoch, index = epoch_and_index(key)
        return item(self.mirrored(self.pixels(index), epoch, index), self.names[index], index)

    def mirrored(self, x: Tensor, epoch: int, index: int) -> Tensor:
        """The image as the epoch has it."""
        turn = self.flip_seed is not None and augmentation(self.flip_seed, epoch, index).random() < 0.5
        return x.flip(-1) if turn else x


class Splits(Protocol):
    """A data set."""

    def split(self, name: str) -> ImageDataset:
        """The images of train, val or test."""
        ...


def item(image: Tensor, name: str, index: int) -> Item:
    """The item of a uint8 image (3, S, S)."""
    return {"x": from_pixels(image), "name": name, "index": index}


def batch_of(items: list[Item] | Item) -> Item | None:
    """Collate items to a batch, or return None for no items. A data set may have collated it already."""
    return items if isinstance(items, dict) else default_collate(items) if items else None


def check_split(name: str) -> None:
    """Raise UserError unless `name` is one of SPLITS."""
    if name not in SPLITS:
        raise UserError(f"the split must be train, val or test, got {name!r}: use one of these")


def check_integer(name: str, value: Any, least: int, example: int) -> None:
    """Raise UserError unless `value` is an integer of at least `least`."""
    if not isinstance(value, int) or isinstance(value, bool) or value < least:
        raise UserError(f"{name} must be an integer of at least {least}, got {value!r}: try {name}={example}")


def check_boolean(name: str, value: Any) -> None:
    """Raise UserError unless `value` is true or false."""
    if not isinstance(value, bool):
        raise UserError(f"{name} must be true or false, got {value!r}: try {name}=false")


def check_choice(name: str, value: Any, choices: Sequence[str]) -> None:
    """Raise UserError unless `value` is one of `choices`."""
    if value not in choices:
        raise UserError(f"{name} must be {' or '.join(choices)}, got {value!r}: try {name}={choices[0]}")
