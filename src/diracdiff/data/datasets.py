"""Interfaces that all data sets share.

A data set is a description: constructor arguments, kept as attributes, and `split(name)`, which looks at the disk and
returns an `ImageDataset` for train, val or test. An item is {"x": float32 (3, S, S) in [0, 1], "name": str, "index":
int}, where the name is unique within the split.
"""

import multiprocessing
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from itertools import chain
from typing import Any, Protocol, TypeVar

import torch
from torch import Tensor
from torch.utils.data import Dataset

from diracdiff.data.image_io import ImageError
from diracdiff.data.sampler import Key, augmentation, epoch_and_index
from diracdiff.utils.errors import warn
from diracdiff.utils.pixels import from_pixels

SPLITS = ("train", "val", "test")

Item = dict[str, Any]
"""An image with its name and index, or a batch of them."""

Content = TypeVar("Content")


class ImageDataset(Dataset[Item], ABC):
    """The images of a split. A key is an index or, in training, (epoch, index).

    Attributes:
        failed: indices of images that cannot be read and are replaced by the next one; None: they are errors.
    """

    failed: set[int] | None = None

    @abstractmethod
    def __len__(self) -> int: ...

    def fingerprint(self) -> dict[str, Any] | None:
        """Return {"count", "sha256"} of the files, by which a resumed run recognises them; None without files."""
        return None

    def order(self, epoch: int, generator: torch.Generator) -> list[int]:
        """Return the indices of a training epoch in a random order."""
        return torch.randperm(len(self), generator=generator).tolist()

    def replacing(self, read: Callable[[int], Content], first: int, count: int) -> tuple[int, Content]:
        """Return the first index from `first` on, of `count` in a circle, that `read` can read, and its content.

        Each image that cannot be read is named once a process.

        Raises:
            ImageError: if an image cannot be read and errors are not skipped, or none can be read.
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
        raise ImageError(f"none of the {count} images can be read: check data.root")


class StillImages(ImageDataset):
    """Images that are the same in every epoch, but for mirroring.

    Attributes:
        names: names of the images.
        image_size: side in pixels.
        flip_seed: mirror half of the images, which follow from (flip_seed, epoch, index); None: never mirror.
    """

    names: Sequence[str]
    image_size: int
    flip_seed: int | None

    def __len__(self) -> int:
        return len(self.names)

    @abstractmethod
    def pixels(self, index: int) -> Tensor:
        """Return an image before mirroring, uint8 (3, S, S). Raises ImageError."""

    def __getitem__(self, key: Key) -> Item:
        epoch, index = epoch_and_index(key)
        index, x = self.replacing(self.pixels, index, len(self))
        if self.flip_seed is not None and augmentation(self.flip_seed, epoch, index).random() < 0.5:
            x = x.flip(-1)
        return {"x": from_pixels(x), "name": self.names[index], "index": index}


class Splits(Protocol):
    """A data set."""

    def split(self, name: str) -> ImageDataset:
        """Return the images of train, val or test."""
        ...


def worker_options(count: int) -> dict[str, Any]:
    """Return the arguments of a DataLoader with `count` processes.

    A fork server starts them: libvips, which decodes images, dead-locks in forked processes.
    """
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["diracdiff.data"])
    return {"num_workers": count, "multiprocessing_context": context if count else None}
