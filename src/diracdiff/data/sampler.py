"""Which image comes when: an order that follows from (seed, epoch) alone, shared out over the ranks.

A training data set is indexed by (epoch, index), so that its random crops and flips follow from
(seed, epoch, index), never from the state of a generator. That makes a resumed run repeat itself, with any number
of loader workers.
"""

import random
from collections.abc import Callable, Iterator

import torch
from torch.utils.data import Sampler

from diracdiff.utils.seeds import AUGMENTATION, ORDER, step_seed

Key = int | tuple[int, int]


class ShardSampler(Sampler[Key]):
    """One rank's share of a data set of `length` images: every `world_size`-th of the order, from `rank` on.

    With `shuffle` (training): yields (epoch, index) in the order of (seed, epoch), padded from the order's start
    until all ranks have the same number. Global batches therefore hold the same images whatever the number of
    ranks, and `set_epoch` moves on to the next order.
    Without (evaluation): yields plain indices, each image once over all ranks, nothing padded; with fewer images than
    ranks, ranks beyond them get one of another's, since ranks wait for each other and records keep each image once.

    `epoch` is where the sampler starts, and `skip` the number of this rank's images already used in that epoch,
    for resuming in its middle. `len` remains the full epoch's. `order(epoch, generator)` gives the order of an epoch;
    None: any permutation.
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
        if not 0 <= rank < world_size:
            raise ValueError(f"rank must be in [0, world_size={world_size}), got {rank}")
        self.length, self.seed, self.shuffle = length, seed, shuffle
        self.rank, self.world_size = rank, world_size
        self.epoch, self.skip, self.order = epoch, skip, order

    def set_epoch(self, epoch: int) -> None:
        """Use the order of `epoch`. Lightning calls this before each epoch."""
        if epoch != self.epoch:
            self.epoch, self.skip = epoch, 0

    def __iter__(self) -> Iterator[Key]:
        if not self.shuffle:
            yield from self._share()[self.skip :]
            return
        epoch, skip = self.epoch, self.skip
        generator = torch.Generator().manual_seed(step_seed(self.seed, ORDER, epoch))
        order = (
            self.order(epoch, generator) if self.order else torch.randperm(self.length, generator=generator).tolist()
        )
        for i in range(skip, len(self)):
            yield epoch, order[(self.rank + i * self.world_size) % self.length]

    def __len__(self) -> int:
        if self.shuffle:
            return -(-self.length // self.world_size)
        return len(self._share())

    def _share(self) -> range:
        return range(
            self.rank if self.rank < self.length else self.rank % max(1, self.length), self.length, self.world_size
        )


def epoch_and_index(key: Key) -> tuple[int, int]:
    """The epoch and index that a training data set is asked for. A bare index means epoch 0."""
    return key if isinstance(key, tuple) else (0, key)


def augmentation(seed: int, epoch: int, index: int) -> random.Random:
    """The generator for the random crop and flip of one image in one epoch."""
    return random.Random(step_seed(seed, AUGMENTATION, epoch, index))
