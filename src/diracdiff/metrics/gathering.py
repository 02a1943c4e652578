"""What is kept of the features of a set of images: those of so many images at most, or their moments.

So the memory of an evaluation has a bound that its number of images does not move.
"""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Self

import torch
from torch import Tensor

FEWEST = 64
"""Images whose features have a place from the beginning."""


class Gathering(ABC):
    """Features of a set, image after image."""

    @abstractmethod
    def add(self, names: Sequence[str], features: Tensor) -> None:
        """Take the features of images, (B, …), each image once."""

    @classmethod
    @abstractmethod
    def merged(cls, parts: Sequence[Self]) -> Self:
        """Those of several processes in one: the same for any number of them, but for rounding of moments."""


class Sample(Gathering):
    """The features of all images, or of as many as there may be at most, which follow from their names alone.

    Args:
        limit: of images.
    """

    def __init__(self, limit: int):
        self.limit = limit
        self._places: dict[str, int] = {}
        self._rows = torch.zeros(0)  # one block: small ones between what comes and goes would break the heap up

    def add(self, names: Sequence[str], features: Tensor) -> None:
        """See `Gathering`."""
        together = {*self._places, *names}
        left_out = set(sorted(together, key=_place)[self.limit :]) if len(together) > self.limit else set()
        free = [self._places.pop(name) for name in left_out & self._places.keys()]
        for name, row in zip(names, features, strict=True):
            if name in left_out:
                continue
            if name not in self._places:
                self._places[name] = free.pop() if free else len(self._places)
            self._hold(self._places[name], row)

    def _hold(self, place: int, row: Tensor) -> None:
        if place >= len(self._rows):
            larger = row.new_empty((min(self.limit, max(FEWEST, 2 * len(self._rows))), *row.shape))
            if len(self._rows):
                larger[: len(self._rows)] = self._rows
            self._rows = larger
        self._rows[place] = row

    @classmethod
    def merged(cls, parts: Sequence[Self]) -> Self:
        """See `Gathering`."""
        if len(parts) == 1:
            return parts[0]
        found = cls(parts[0].limit)
        for part in parts:
            if len(part):
                found.add(part.names(), part.features())
        return found

    def __len__(self) -> int:
        return len(self._places)

    def names(self) -> list[str]:
        """Of the images that are kept, in order."""
        return sorted(self._places)

    def features(self) -> Tensor:
        """Those that are kept, (N, …), in the order of the names."""
        return self._rows[[self._places[name] for name in self.names()]]


class Moments(Gathering):
    """Number, mean and scatter of features, in float64; or themselves, where there are no more than a scatter's rows.

    Attributes:
        count: number of images.
        mean: of their features, (D,), or None while the features are kept.
        scatter: sum of the outer products of their distances from the mean, (D, D), or None likewise.
    """

    def __init__(self) -> None:
        self.count = 0
        self.mean: Tensor | None = None
        self.scatter: Tensor | None = None
        self._few = Sample(2**62)

    def add(self, names: Sequence[str], features: Tensor) -> None:
        """See `Gathering`."""
        if self.mean is not None:
            self._join(*_moments(features))
            return
        self._few.add(names, features)
        self.count = len(self._few)
        if self.count > features.shape[1]:
            self.condense()

    @classmethod
    def merged(cls, parts: Sequence[Self]) -> Self:
        """See `Gathering`."""
        if len(parts) == 1:
            return parts[0]
        found = cls()
        if all(part.mean is None for part in parts):
            few = Sample.merged([part._few for part in parts])
            if len(few):
                found.add(few.names(), few.features())
            return found
        for part in parts:
            if part.count:
                found._join(part.count, *part.condense())
        return found

    def features(self) -> Tensor | None:
        """The features, (N, D), in the order of the names, if they are kept."""
        return self._few.features() if self.mean is None else None

    def condense(self) -> tuple[Tensor, Tensor]:
        """Mean and scatter, which from now on are kept instead of the features."""
        if self.mean is None or self.scatter is None:
            few, self.count, self._few = self._few.features(), 0, Sample(0)
            self._join(*_moments(few))
        assert self.mean is not None and self.scatter is not None
        return self.mean, self.scatter

    def _join(self, count: int, mean: Tensor, scatter: Tensor) -> None:
        """Take in the moments of other images (Chan et al. 1979)."""
        if self.mean is None or self.scatter is None:
            self.count, self.mean, self.scatter = count, mean, scatter.clone()
            return
        total, gap = self.count + count, mean - self.mean
        self.scatter += scatter
        self.scatter.addr_(gap, gap, alpha=self.count * count / total)
        self.mean, self.count = self.mean + gap * (count / total), total


def _moments(features: Tensor) -> tuple[int, Tensor, Tensor]:
    features = features.double()
    mean = features.mean(0)
    return len(features), mean, (features - mean).mT @ (features - mean)


def _place(name: str) -> bytes:
    """Where an image stands among those that are kept: by chance, and in every evaluation alike."""
    return hashlib.sha256(name.encode()).digest()
