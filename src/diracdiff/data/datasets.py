"""Interfaces of data sets.

A data set stores its constructor arguments as attributes. Its method `split(name)` reads the disk and returns an
`ImageDataset` for train, val or test. An item is {"x": float32 (3, S, S) in [0, 1], "name": str, "index": int}. Names
are unique within a split.
"""

import multiprocessing
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from itertools import chain
from typing import Any, Protocol, TypeVar, cast

import torch
from torch import Tensor
from torch.utils.data import Dataset, default_collate

from diracdiff.data.image_io import ImageError
from diracdiff.data.sampler import Key, augmentation_rng, epoch_and_index
from diracdiff.utils.errors import warn
from diracdiff.utils.pixels import from_pixels

SPLITS = ("train", "val", "test")

Item = dict[str, Any]
"""Image with its name and index, or a batch of images."""

Content = TypeVar("Content")


class ImageDataset(Dataset[Item], ABC):
    """Base class of the images of a split. A key is an index or, in training, (epoch, index).

    Attributes:
        failed: indices of unreadable images that the next image replaces; None: unreadable images raise `ImageError`.
    """

    failed: set[int] | None = None

    @abstractmethod
    def __len__(self) -> int: ...

    def fingerprint(self) -> dict[str, Any] | None:
        """Return {"count", "sha256"} of the files, which a resumed run compares; None for a data set without files."""
        return None

    def order(self, epoch: int, generator: torch.Generator) -> list[int]:
        """Return the indices of a training epoch in random order.

        Args:
            epoch: number of the epoch.
            generator: source of randomness.
        """
        return torch.randperm(len(self), generator=generator).tolist()

    def read_next(self, read: Callable[[int], Content], first: int, count: int) -> tuple[int, Content]:
        """Read the item at an index, or the next readable item if unreadable images are skipped.

        Each process warns once about an unreadable image.

        Args:
            read: function that reads the item at an index.
            first: index to start at.
            count: number of items; the search wraps around.

        Returns:
            Index and content of the item.

        Raises:
            ImageError: if the item is unreadable and `failed` is None, or no item is readable.
        """
        if self.failed is None:
            return first, read(first)
        for index in chain(range(first, count), range(first)):
            if index not in self.failed:
                try:
                    return index, read(index)
                except ImageError as error:
                    self.failed.add(index)
                    warn(f"skipped, the next image takes its place: {error}", from_every_process=True)
        raise ImageError(f"none of the {count} images can be read. Check data.root.")


class StaticImages(ImageDataset):
    """Base class of images that are the same in every epoch, except for mirroring.

    Attributes:
        names: names of the images.
        image_size: side in pixels.
        flip_seed: seed of mirroring with probability 0.5, a function of (flip_seed, epoch, index); None: no mirroring.
    """

    names: Sequence[str]
    image_size: int
    flip_seed: int | None

    def __len__(self) -> int:
        return len(self.names)

    @abstractmethod
    def pixels(self, index: int) -> Tensor:
        """Return an image before mirroring, uint8 (3, S, S).

        Raises:
            ImageError: if the image cannot be read.
        """

    def __getitem__(self, key: Key) -> Item:
        epoch, index = epoch_and_index(key)
        index, x = self.read_next(self.pixels, index, len(self))
        if self.flip_seed is not None and augmentation_rng(self.flip_seed, epoch, index).random() < 0.5:
            x = x.flip(-1)
        return {"x": from_pixels(x), "name": self.names[index], "index": index}


class SplitDataset(Protocol):
    """Protocol of a data set with the splits train, val and test."""

    def split(self, name: str) -> ImageDataset:
        """Return the images of the split train, val or test."""
        ...


def collate_unique(items: list[Item]) -> Item:
    """Collate items into a batch, each name once. An image that replaces an unreadable one may be there twice."""
    return cast(Item, default_collate(list({item["name"]: item for item in items}.values())))


def worker_options(count: int) -> dict[str, Any]:
    """Return the arguments of a `DataLoader` with `count` worker processes.

    A fork server starts the workers, because libvips deadlocks in forked processes.
    """
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["diracdiff.data"])
    return {"num_workers": count, "multiprocessing_context": context if count else None}
