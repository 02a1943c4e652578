"""Order of images: a function of (seed, epoch) alone, divided among the ranks.

A training data set is indexed by (epoch, index), so that its random crops and mirroring follow from
(seed, epoch, index). A resumed run therefore repeats itself, with any number of loader workers.
"""

import random
from collections.abc import Callable, Iterator

import torch
from torch.utils.data import Sampler

from diracdiff.utils.seeds import AUGMENTATION, ORDER, step_seed

Key = int | tuple[int, int]


class ShardSampler(Sampler[Key]):
    """Indices of one rank: every `world_size`-th of the order, from `rank` on.

    With `shuffle` (training): (epoch, index) in the order of (seed, epoch), padded from the order's start until all
    ranks have the same number. Global batches hold the same images for any number of ranks.
    Without (evaluation): plain indices, each image once over all ranks; with fewer images than ranks, the ranks beyond
    get an image of another rank, since ranks wait for each other.

    Args:
        length: number of images.
        seed: seed of the order.
        shuffle: training or evaluation.
        rank: number of this process.
        world_size: number of processes.
        epoch: epoch to start in.
        skip: number of this rank's images of that epoch that were used before; `len` remains that of an epoch.
        order: returns the order of an epoch from (epoch, generator); None: a permutation.
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
        """Use the order of `epoch`. Lightning calls this before each epoch."""
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
    """Return the epoch and index of a key. A bare index means epoch 0."""
    return key if isinstance(key, tuple) else (0, key)


def augmentation(seed: int, epoch: int, index: int) -> random.Random:
    """Return the generator for the random crop and mirroring of one image in one epoch."""
    return random.Random(step_seed(seed, AUGMENTATION, epoch, index))
