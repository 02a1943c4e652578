"""Distances between candidates: severities of a degradation, or times of a walk."""

from abc import ABC, abstractmethod
from collections import OrderedDict

import torch
from torch import Tensor

from diracdiff.degradations import Degradation
from diracdiff.scheduling.dissimilarities import Dissimilarity

MIB = 2**20


class FeatureDistance(ABC):
    """d(i, j), the mean over images of the dissimilarity M of their versions i and j.

    Versions are reduced to features once; a distance compares features. Those used last are kept, and what no longer
    fits is computed again when needed. Bisection uses three candidates at a time.

    Args:
        images: number of images.
        dissimilarity: M.
        candidates: number N of versions, at least 2.
        batch_size: images that are reduced at a time.
        memory: bound on the features that are kept, in MiB; two batches are always held.
    """

    def __init__(self, images: int, dissimilarity: Dissimilarity, candidates: int, batch_size: int, memory: int):
        for name, value, least in (("candidates", candidates, 2), ("batch_size", batch_size, 1), ("memory", memory, 0)):
            if value < least:
                raise ValueError(f"{name} must be at least {least}, got {value}")
        self.dissimilarity, self.candidates = dissimilarity, candidates
        self.batch_size, self.memory = batch_size, memory
        self._batches = range(-(-images // batch_size))
        self._kept: OrderedDict[tuple[int, int], Tensor] = OrderedDict()

    @abstractmethod
    def version(self, candidate: int, batch: int) -> Tensor:
        """The images of a batch in version `candidate`, (B, C, H, W)."""

    @torch.no_grad()
    def __call__(self, i: int, j: int) -> float:
        """The distance of candidates i and j."""
        parts = [
            self.dissimilarity.between(self._features(i, batch), self._features(j, batch)) for batch in self._batches
        ]
        return torch.cat(parts).double().mean().item()

    def _features(self, candidate: int, batch: int) -> Tensor:
        key = (candidate, batch)
        if key in self._kept:
            self._kept.move_to_end(key)
            return self._kept[key]
        found = self.dissimilarity.features(self.version(candidate, batch).clamp(0, 1))
        self._kept[key] = found
        room = max(2, self.memory * MIB // (found.numel() * found.element_size()))
        while len(self._kept) > room:
            self._kept.popitem(last=False)
        return found


class DegradationDistance(FeatureDistance):
    """d(i, j), the mean over clean images of M(A_s(x), A_t(x)) with s = i / (N - 1), t = j / (N - 1).

    Args:
        degradation: A_t, with the severity along which the candidates are evenly spaced.
        images: clean, (n, C, H, W), in [0, 1].
        dissimilarity: M.
        candidates: their number N, at least 2.
        batch_size: images that are degraded and reduced at a time.
        memory: bound on the features that are kept, in MiB; two batches are always held.

    Attributes:
        degraded: how many images have been degraded so far; divided by n, how many candidates.
    """

    def __init__(
        self,
        degradation: Degradation,
        images: Tensor,
        dissimilarity: Dissimilarity,
        candidates: int,
        batch_size: int = 8,
        memory: int = 1024,
    ):
        if images.ndim != 4 or not len(images):
            raise ValueError(f"images must have shape (n, C, H, W) with n > 0, got {tuple(images.shape)}")
        super().__init__(len(images), dissimilarity, candidates, batch_size, memory)
        self.degradation, self.images, self.degraded = degradation, images, 0

    def version(self, candidate: int, batch: int) -> Tensor:
        """A_t of a batch, t = candidate / (N - 1)."""
        x = self.images.split(self.batch_size)[batch]
        self.degraded += len(x)
        return self.degradation(x, candidate / (self.candidates - 1))


class TrajectoryDistance(FeatureDistance):
    """d(i, j), the mean over images of M(y_s, y_t) on a reverse process, s = i / (N - 1), t = j / (N - 1).

    Args:
        states: iterates from t = 0 to t = 1, evenly spaced, (N, n, C, H, W).
        dissimilarity: M.
        batch_size: images that are reduced at a time.
        memory: bound on the features that are kept, in MiB.
    """

    def __init__(self, states: Tensor, dissimilarity: Dissimilarity, batch_size: int = 8, memory: int = 1024):
        super().__init__(states.shape[1], dissimilarity, len(states), batch_size, memory)
        self.states = states

    def version(self, candidate: int, batch: int) -> Tensor:
        """y_t of a batch, t = candidate / (N - 1)."""
        batches: tuple[Tensor, ...] = self.states[candidate].split(self.batch_size)
        return batches[batch]
