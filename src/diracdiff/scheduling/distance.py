"""Distances between versions of images: severities of a degradation, or times of a trajectory.

A dissimilarity M(a, b) of images in [0, 1] compares the features of two images. The features of a version are cached,
because they are expensive.
"""

import functools
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
from typing import Any, Self

import torch
from torch import Tensor

from diracdiff.degradations import Degradation
from diracdiff.evaluation.measurement import measure
from diracdiff.metrics.fidelity import WINDOW, structural_similarity
from diracdiff.metrics.lpips import BACKBONES, load_lpips
from diracdiff.restorer import Restorer
from diracdiff.samplers import LookAhead, UniformGrid

CACHED_VERSIONS = 8
"""Number of versions with cached features. Bisection compares three versions at a time."""


class Dissimilarity(ABC):
    """Base class of dissimilarities M(a, b) >= 0, which are 0 for equal images.

    By default, M is the squared Euclidean distance of the features.

    Attributes:
        name: name in titles and tables.
        min_side: smallest side of images in pixels.
    """

    name: str
    min_side: int = 1

    @abstractmethod
    def features(self, x: Tensor) -> Tensor:
        """Return features, (B, …), of images in [0, 1], (B, C, H, W)."""

    def between(self, a: Tensor, b: Tensor) -> Tensor:
        """Return the dissimilarities, (B,), of images with features a and b, (B, …) each."""
        squared: Tensor = torch.linalg.vector_norm(a - b, dim=1).square()
        return squared


class MSE(Dissimilarity):
    """Mean squared error of the pixels."""

    name = "MSE"

    def features(self, x: Tensor) -> Tensor:
        scale: float = x[0].numel() ** 0.5
        return x.flatten(1) / scale


class SSIM(Dissimilarity):
    """Dissimilarity 1 - SSIM, see `diracdiff.metrics.SSIM`."""

    name, min_side = "1 - SSIM", WINDOW

    def features(self, x: Tensor) -> Tensor:
        return x

    def between(self, a: Tensor, b: Tensor) -> Tensor:
        return 1 - structural_similarity(a, b)


class LPIPS(Dissimilarity):
    """Learned perceptual image patch similarity (Zhang et al. 2018).

    M is the sum over layers l of the mean over pixels of sum_c w_lc (f_lc(a) - f_lc(b))^2. The activations f_l have
    unit length across channels, and the weights w_lc are not negative. The features are sqrt(w_lc / pixels) f_lc of all
    layers.

    Args:
        net: backbone, "squeeze", "alex" or "vgg". Values of different backbones are not comparable.

    Raises:
        ValueError: see `load_lpips`.
    """

    def __init__(self, net: str = "squeeze"):
        self._network = load_lpips(net)
        self.name, self.min_side = f"LPIPS ({net})", BACKBONES[net][1]

    def features(self, x: Tensor) -> Tensor:
        network = self._network.to(x.device)
        x = network.scaling_layer(2 * x - 1).contiguous(memory_format=torch.channels_last)  # twice as fast on a CPU
        layers = []
        for activation, head in zip(network.net(x), network.lins, strict=True):
            activation = activation.permute(0, 2, 3, 1)
            length = torch.linalg.vector_norm(activation, dim=-1, keepdim=True) + 1e-10
            weight = head.model[-1].weight.flatten() / activation[0, ..., 0].numel()
            layers.append((activation * (weight.sqrt() / length)).flatten(1))
        return torch.cat(layers, dim=1)


class Distance:
    """Distance d(i, j): mean over images of the dissimilarity of the versions i and j.

    Args:
        version: function that maps the indices of a version and of a batch to images, (B, C, H, W).
        batches: number of batches.
        dissimilarity: dissimilarity M.
    """

    def __init__(self, version: Callable[[int, int], Tensor], batches: int, dissimilarity: Dissimilarity):
        self.version, self.batches, self.dissimilarity = version, batches, dissimilarity
        self._features = functools.lru_cache(CACHED_VERSIONS * batches)(self._extract)

    @classmethod
    def from_degradation(
        cls, degradation: Degradation, images: Tensor, dissimilarity: Dissimilarity, count: int, batch_size: int = 8
    ) -> Self:
        """Return the distance of degraded images A_t(x) at t = i / (count - 1).

        Args:
            degradation: degradation process.
            images: clean images in [0, 1], (n, C, H, W).
            dissimilarity: dissimilarity M.
            count: number of versions, at least 2.
            batch_size: number of images of a batch.
        """
        parts = images.split(batch_size)

        def version(i: int, batch: int) -> Tensor:
            return degradation(parts[batch], i / (count - 1))

        return cls(version, len(parts), dissimilarity)

    @classmethod
    def from_trajectory(cls, states: Tensor, dissimilarity: Dissimilarity, batch_size: int = 8) -> Self:
        """Return the distance of iterates y_t at t = i / (N - 1).

        Args:
            states: iterates, (N, n, C, H, W).
            dissimilarity: dissimilarity M.
            batch_size: number of images of a batch.
        """
        batches = -(-states.shape[1] // batch_size)
        return cls(lambda i, batch: states[i].split(batch_size)[batch], batches, dissimilarity)

    @torch.no_grad()
    def __call__(self, i: int, j: int) -> float:
        """Return the distance of the versions i and j.

        Raises:
            ValueError: if the images are smaller than `Dissimilarity.min_side`.
        """
        features = ((self._features(i, batch), self._features(j, batch)) for batch in range(self.batches))
        return torch.cat([self.dissimilarity.between(a, b) for a, b in features]).double().mean().item()

    def _extract(self, candidate: int, batch: int) -> Tensor:
        x, min_side = self.version(candidate, batch).clamp(0, 1), self.dissimilarity.min_side
        if min(x.shape[-2:]) < min_side:
            rule = f"{self.dissimilarity.name} needs at least {min_side} pixels a side"
            raise ValueError(f"images: {rule}, got {tuple(x.shape)}. Increase data.image_size or change dissimilarity.")
        return self.dissimilarity.features(x)


@torch.no_grad()
def trajectories(restorer: Restorer, parts: Iterable[Tensor], count: int) -> Tensor:
    """Return the iterates of the probability-flow ODE, with one step per candidate.

    Args:
        restorer: restorer.
        parts: batches of clean images in [0, 1], (B, C, H, W) each.
        count: number of candidates, at least 2.

    Returns:
        Iterates at equidistant times from 0 to 1, (count, n, C, H, W).
    """
    # Other increments limit the number of steps.
    options: dict[str, Any] = {"eta": 0.0, "grid": UniformGrid(), "t_start": 1.0, "t_restart": None, "sigma": None}
    sampler = restorer.sampler.replace(num_steps=count - 1, increment=LookAhead(), **options)
    iterates = []
    for number, part in enumerate(parts):
        names = [f"schedule/{number}/{i}" for i in range(len(part))]
        measured = measure(restorer.process, part, names, restorer.seed)
        states = sampler.states(measured.process, restorer.denoiser, measured.y, measured.noise)
        iterates.append(torch.stack([state.y for state in states]).flip(0))
    return torch.cat(iterates, dim=1)
