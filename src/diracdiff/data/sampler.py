"""Sampler of image indices: the order depends only on (seed, epoch) and is divided among the ranks.

Training data sets are indexed by (epoch, index), and their augmentation depends only on (seed, epoch, index). Resumed
runs are therefore reproducible with any number of workers.
"""

import random
from collections.abc import Callable, Iterator

import torch
from torch.utils.data import Sampler

from diracdiff.utils.seeds import AUGMENTATION, ORDER, step_seed

Key = int | tuple[int, int]


class ShardSampler(Sampler[Key]):
    """Sampler of the indices of one rank: every `world_size`-th index, starting at `rank`.

    With `shuffle` (training), it yields (epoch, index) in a random order. The order is padded from its start until all
    ranks have equally many indices. Global batches contain the same images for any number of ranks.
    Without `shuffle` (evaluation), it yields plain indices, each once over all ranks. With fewer images than ranks, the
    remaining ranks repeat images of other ranks, since ranks wait for each other.

    Args:
        length: number of images.
        seed: seed of the order.
        shuffle: True for training, False for evaluation.
        rank: number of this process, in [0, world_size).
        world_size: number of processes.
        epoch: first epoch.
        skip: number of indices of this rank to skip in the first epoch; `len` is unchanged.
        order: function of (epoch, generator) that returns the order of an epoch; None: a random permutation.
    """

    def __init__(
        self,
        length: int,
        *,
        seed: int = 0,
        shuffle: bool = False,
        rank: int = 0,
        world_size: int = 1,
        epoch: int = 0,
        skip: int = 0,
        order: Callable[[int, torch.Generator], list[int]] | None = None,
    ):
        self.length, self.seed, self.shuffle, self.rank, self.world_size = length, seed, shuffle, rank, world_size
        self.epoch, self.skip, self.order = epoch, skip, order

    def set_epoch(self, epoch: int) -> None:
        """Set the epoch. Lightning calls this method before each epoch."""
        if epoch != self.epoch:
            self.epoch, self.skip = epoch, 0

    def __iter__(self) -> Iterator[Key]:
        if not self.shuffle:
            yield from self._shard()[self.skip :]
            return
        epoch, skip = self.epoch, self.skip
        generator = torch.Generator().manual_seed(step_seed(self.seed, ORDER, epoch))
        order = (
            self.order(epoch, generator) if self.order else torch.randperm(self.length, generator=generator).tolist()
        )
        for i in range(skip, len(self)):
            yield epoch, order[(self.rank + i * self.world_size) % self.length]

    def __len__(self) -> int:
        return -(-self.length // self.world_size) if self.shuffle else len(self._shard())

    def _shard(self) -> range:
        first = self.rank if self.rank < self.length else self.rank % max(1, self.length)
        return range(first, self.length, self.world_size)


def epoch_and_index(key: Key) -> tuple[int, int]:
    """Return the epoch and index of a key. The epoch of a plain index is 0."""
    return key if isinstance(key, tuple) else (0, key)


def augmentation_rng(seed: int, epoch: int, index: int) -> random.Random:
    """Return the random generator for the augmentation of one image in one epoch.

    Args:
        seed: seed of the data set.
        epoch: number of the epoch.
        index: index of the image.
    """
    return random.Random(step_seed(seed, AUGMENTATION, epoch, index))
