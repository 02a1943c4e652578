"""What all data sets share.

A data set is a description: its constructor's arguments, kept as attributes, and `split(name)`, which looks at the
disk and returns an `ImageDataset` for train, val or test. Items of every split are
{"x": float32 (3, S, S) in [0, 1], "name": str, "index": int}, where the name is unique within the split.
"""

from abc import ABC, abstractmethod
from typing import Any, Protocol

from torch import Tensor
from torch.utils.data import Dataset

from diracdiff.errors import UserError
from diracdiff.pixels import from_pixels

SPLITS = ("train", "val", "test")

Item = dict[str, Any]
"""An image with its name and index, or a batch of them."""


class ImageDataset(Dataset[Item], ABC):
    """The images of a split: a `torch.utils.data.Dataset` with a length. Training asks for (epoch, index)."""

    @abstractmethod
    def __len__(self) -> int: ...


class Splits(Protocol):
    """A data set."""

    def split(self, name: str) -> ImageDataset:
        """The images of train, val or test."""
        ...


def item(image: Tensor, name: str, index: int) -> Item:
    """The item of a uint8 image (3, S, S)."""
    return {"x": from_pixels(image), "name": name, "index": index}


def check_split(name: str) -> None:
    """Raise UserError unless `name` is one of SPLITS."""
    if name not in SPLITS:
        raise UserError(f"the split must be train, val or test, got {name!r}: use one of these")


def check_integer(name: str, value: int, least: int, example: int) -> None:
    """Raise UserError unless `value` is an integer of at least `least`."""
    if not isinstance(value, int) or value < least:
        raise UserError(f"{name} must be an integer of at least {least}, got {value!r}: try {name}={example}")
