"""Features of a set of images, or their moments: containers whose memory does not grow with the number of images."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import torch
from torch import Tensor


class Sample:
    """Features of all images, or of a fixed number of them; which ones follows from their names alone.

    Args:
        limit: largest number of images.
    """

    def __init__(self, limit: int):
        self.limit = limit
        self._names: list[str] = []
        self._parts: list[Tensor] = []
        self._last: bytes | None = None  # place of the last image, once there are more than the limit

    def __len__(self) -> int:
        return min(self.limit, len(set(self._names)))

    def add(self, names: Sequence[str], features: Tensor) -> None:
        """Add the features of images, (B, …); of equal names the last one counts."""
        if self._last is not None:
            kept = [i for i, name in enumerate(names) if _place(name) <= self._last]
            names, features = [names[i] for i in kept], features[kept]
        self._names += names
        self._parts.append(features)
        if len(self._names) > self.limit:
            self._compact()

    def _compact(self) -> None:
        rows = {name: i for i, name in enumerate(self._names)}
        if len(rows) > self.limit:
            chosen = sorted(rows, key=_place)[: self.limit]
            self._last = _place(chosen[-1]) if chosen else b""
        else:
            chosen = list(rows)
        self._names = sorted(chosen)
        if self._parts:
            self._parts = [torch.cat(self._parts)[[rows[name] for name in self._names]]]

    @classmethod
    def merged(cls, parts: Sequence[Sample]) -> Sample:
        """Return the sample of several processes: the same for any number of them."""
        if len(parts) == 1:
            return parts[0]
        whole = cls(parts[0].limit)
        for part in parts:
            if len(part):
                whole.add(part.names(), part.features())
        return whole

    def names(self) -> list[str]:
        """Return the names of the images in the sample, sorted."""
        self._compact()
        return self._names

    def features(self) -> Tensor:
        """Return the features, (N, …), in the order of the names."""
        self._compact()
        return self._parts[0] if self._parts else torch.zeros(0)


class Moments:
    """Count, mean and scatter of features in float64, or the features themselves while they are at most D images.

    Attributes:
        count: number of images.
        mean: mean of the features, (D,), or None while the features are kept.
        scatter: sum of the outer products of their distances from the mean, (D, D), or None likewise.
    """

    def __init__(self) -> None:
        self.count = 0
        self.mean: Tensor | None = None
        self.scatter: Tensor | None = None
        self._few = Sample(2**62)

    def add(self, names: Sequence[str], features: Tensor) -> None:
        """Add the features of images, (B, D), each image once."""
        if self.mean is not None:
            self._join(*_moments(features))
            return
        self._few.add(names, features)
        self.count = len(self._few)
        if self.count > features.shape[1]:
            self.condense()

    @classmethod
    def merged(cls, parts: Sequence[Moments]) -> Moments:
        """Return the moments of several processes: up to rounding the same for any number of them."""
        if len(parts) == 1:
            return parts[0]
        whole = cls()
        if all(part.mean is None for part in parts):
            few = Sample.merged([part._few for part in parts])
            if len(few):
                whole.add(few.names(), few.features())
            return whole
        for part in parts:
            if part.count:
                whole._join(part.count, *part.condense())
        return whole

    def features(self) -> Tensor | None:
        """Return the features, (N, D), in the order of the names, while they are kept."""
        return self._few.features() if self.mean is None else None

    def condense(self) -> tuple[Tensor, Tensor]:
        """Return mean and scatter, which replace the features."""
        if self.mean is None or self.scatter is None:
            few, self.count, self._few = self._few.features(), 0, Sample(0)
            self._join(*_moments(few))
        assert self.mean is not None and self.scatter is not None
        return self.mean, self.scatter

    def _join(self, count: int, mean: Tensor, scatter: Tensor) -> None:
        """Include the moments of other images (Chan et al. 1979)."""
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
    """Return the rank of an image among candidates of a sample: random, and the same in every evaluation."""
    return hashlib.sha256(name.encode()).digest()
