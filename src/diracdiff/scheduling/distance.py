"""Distances between versions of images: severities of a degradation, or times of a trajectory.

A dissimilarity M(a, b) of images in [0, 1] compares features of the two images. Features are expensive, so those of a
version are computed once.
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

CACHED_VERSIONS = 8  # versions whose features are kept; bisection compares three at a time


class Dissimilarity(ABC):
    """M(a, b) >= 0, zero for equal images. By default the squared Euclidean distance of the features.

    Attributes:
        name: name in titles and tables.
        min_side: smallest side of images, in pixels.
    """

    name: str
    min_side: int = 1

    @abstractmethod
    def features(self, x: Tensor) -> Tensor:
        """Return features of images in [0, 1], (B, C, H, W), with the batch first."""

    def between(self, a: Tensor, b: Tensor) -> Tensor:
        """Return M of the images with features a and b, (B,)."""
        squared: Tensor = torch.linalg.vector_norm(a - b, dim=1).square()
        return squared


class MSE(Dissimilarity):
    """Mean squared difference of pixels."""

    name = "MSE"

    def features(self, x: Tensor) -> Tensor:
        scale: float = x[0].numel() ** 0.5
        return x.flatten(1) / scale


class SSIM(Dissimilarity):
    """1 - SSIM, see `diracdiff.metrics.SSIM`."""

    name, min_side = "1 - SSIM", WINDOW

    def features(self, x: Tensor) -> Tensor:
        return x

    def between(self, a: Tensor, b: Tensor) -> Tensor:
        return 1 - structural_similarity(a, b)


class LPIPS(Dissimilarity):
    """Learned perceptual image patch similarity (Zhang et al. 2018).

    The sum over layers l of the mean over pixels of sum_c w_lc (f_lc(a) - f_lc(b))^2, with activations f_l of unit
    length across channels and weights w_l >= 0. The features are sqrt(w_lc / pixels) f_lc of all layers.

    Args:
        net: backbone "squeeze", "alex" or "vgg"; values of different backbones do not compare. See `load_lpips`.
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
    """d(i, j), the mean over images of the dissimilarity M of their versions i and j.

    Args:
        version: returns a batch of images in a version, (B, C, H, W), from the numbers of the version and the batch.
        batches: number of batches.
        dissimilarity: M.
    """

    def __init__(self, version: Callable[[int, int], Tensor], batches: int, dissimilarity: Dissimilarity):
        self.version, self.batches, self.dissimilarity = version, batches, dissimilarity
        self._features = functools.lru_cache(CACHED_VERSIONS * batches)(self._extract)

    @classmethod
    def from_degradation(
        cls, degradation: Degradation, images: Tensor, dissimilarity: Dissimilarity, count: int, batch_size: int = 8
    ) -> Self:
        """Compare A_t(x) at t = i / (N - 1), for clean images in [0, 1], (n, C, H, W), and a count N of at least 2."""
        parts = images.split(batch_size)

        def version(i: int, batch: int) -> Tensor:
            return degradation(parts[batch], i / (count - 1))

        return cls(version, len(parts), dissimilarity)

    @classmethod
    def from_trajectory(cls, states: Tensor, dissimilarity: Dissimilarity, batch_size: int = 8) -> Self:
        """Compare iterates y_t at t = i / (N - 1), (N, n, C, H, W)."""
        batches = -(-states.shape[1] // batch_size)
        return cls(lambda i, batch: states[i].split(batch_size)[batch], batches, dissimilarity)

    @torch.no_grad()
    def __call__(self, i: int, j: int) -> float:
        """Return the distance of candidates i and j; raise ValueError if images are too small for M."""
        features = ((self._features(i, batch), self._features(j, batch)) for batch in range(self.batches))
        return torch.cat([self.dissimilarity.between(a, b) for a, b in features]).double().mean().item()

    def _extract(self, candidate: int, batch: int) -> Tensor:
        x, least = self.version(candidate, batch).clamp(0, 1), self.dissimilarity.min_side
        if min(x.shape[-2:]) < least:
            raise ValueError(
                f"{self.dissimilarity.name} needs images of at least {least} pixels a side, got {tuple(x.shape)}: "
                "use a larger data.image_size or another dissimilarity"
            )
        return self.dissimilarity.features(x)


@torch.no_grad()
def trajectories(restorer: Restorer, parts: Iterable[Tensor], count: int) -> Tensor:
    """Sample without noise, one step per candidate: iterates from t = 0 to t = 1, (count, n, C, H, W).

    Args:
        restorer: restorer whose sampler is scheduled.
        parts: batches of clean images, (B, C, H, W) each.
        count: number of candidates.
    """
    # Look-ahead works with any number of steps.
    options: dict[str, Any] = {"eta": 0.0, "grid": UniformGrid(), "t_start": 1.0}
    sampler = restorer.sampler.replace(num_steps=count - 1, increment=LookAhead(), **options)
    found = []
    for number, part in enumerate(parts):
        names = [f"schedule/{number}/{i}" for i in range(len(part))]
        measured = measure(restorer.process, part, names, restorer.seed)
        states = sampler.states(measured.process, restorer.denoiser, measured.y, measured.noise)
        found.append(torch.stack([state.y for state in states]).flip(0))
    return torch.cat(found, dim=1)
