"""Posterior quality: how well several samples of each measurement represent the distribution of its clean image.

CRPS and the energy distance are estimated without bias, and need at least two samples. A method without randomness
gives equal samples: its CRPS is the mean absolute error.
"""

import torch
from torch import Tensor

from diracdiff.evaluation.uncertainty import Spread, raw_factor
from diracdiff.metrics import Metric, SetMetric

LEVEL = 0.9
"""Fraction of the pixels that the intervals of `coverage` should hold."""


def crps(samples: Tensor, clean: Tensor) -> Tensor:
    """Continuous ranked probability score of each image, (B,): the mean over its pixels, in the units of the images.

    mean_k |x_k - x| - (1/2) mean_{k != l} |x_k - x_l|, the fair estimator (Ferro 2014): its expectation does not depend
    on the number of samples, and is smallest for samples of the posterior (Gneiting and Raftery 2007).

    Args:
        samples: (K, B, C, H, W), K of at least 2.
        clean: (B, C, H, W).

    Raises:
        ValueError: if shapes do not fit, or there are fewer than two samples.
    """
    samples, clean = _checked(samples, clean)
    count = len(samples)
    ranks = 2 * torch.arange(count, device=samples.device) - (count - 1)  # sum_{k<l} |x_k - x_l| = sum of ranks x
    spread = torch.einsum("k,k...->...", ranks.to(samples), samples.sort(0).values) / (count * (count - 1))
    return ((samples - clean).abs().mean(0) - spread).flatten(1).mean(1)


def coverage(samples: Tensor, clean: Tensor, level: float = LEVEL) -> Tensor:
    """Fraction of the pixels of each image, (B,), that intervals about the mean of its samples hold.

    The intervals reach `raw_factor` standard deviations to either side: they hold `level` of the pixels if clean image
    and samples are draws of one Gaussian.

    Args:
        samples: (K, B, C, H, W), K of at least 2.
        clean: (B, C, H, W).
        level: in (0, 1).

    Raises:
        ValueError: if shapes do not fit, or there are fewer than two samples.
    """
    samples, clean = _checked(samples, clean)
    spread = Spread(samples)
    held = (clean - spread.mean).abs() <= raw_factor(level, len(samples)) * spread.std
    return held.float().flatten(1).mean(1)


def energy_distance(samples: Tensor, clean: Tensor) -> float:
    """Energy distance between the distributions of samples and of clean images.

    2 E d(x, s) - E d(x, x') - E d(s, s') with d(a, b) = ||a - b|| / sqrt(C H W). It is the squared maximum mean
    discrepancy (MMD) of the kernel -d, which has no bandwidth (Sejdinovic et al. 2013). Means are over pairs of
    different images, which are independent: for samples of the clean images' distribution the expectation is zero, and
    single values may be negative. It compares the sets alone, whichever sample belongs to which image.

    Args:
        samples: (K, B, C, H, W).
        clean: (B, C, H, W); NaN for one image.

    Raises:
        ValueError: if shapes do not fit.
    """
    samples, clean = _checked(samples, clean, least=1)
    centre = clean.mean(0)  # the smaller the vectors, the smaller the rounding errors of their distances
    x, drawn = (clean - centre).flatten(1), (samples - centre).flatten(2)
    between = torch.stack([_mean_distance(x, s) for s in drawn]).mean()
    within = torch.stack([_mean_distance(a, b) for a in drawn for b in drawn]).mean()
    return float(2 * between - _mean_distance(x, x) - within)


class SampleMetric(Metric):
    """A metric of several samples of each measurement."""

    def values(self, samples: Tensor, clean: Tensor) -> list[float]:
        """Return the value of each image of samples, (K, B, C, H, W), of clean images, (B, C, H, W)."""
        raise NotImplementedError


class CRPS(SampleMetric):
    """See `crps`; of samples clipped to [0, 1]."""

    name, title, higher_is_better = "crps", "CRPS", False

    def values(self, samples: Tensor, clean: Tensor) -> list[float]:
        found: list[float] = crps(samples.clamp(0, 1), clean).tolist()
        return found


class Coverage(SampleMetric):
    """See `coverage`; of samples clipped to [0, 1]. The level is best."""

    name, title, digits = f"coverage_{100 * LEVEL:.0f}", f"coverage ({100 * LEVEL:.0f} %)", 3

    def values(self, samples: Tensor, clean: Tensor) -> list[float]:
        found: list[float] = coverage(samples.clamp(0, 1), clean).tolist()
        return found


class Pixels:
    """Features of samples that are their pixels."""

    def features(self, images: Tensor) -> Tensor:
        """Return samples, (K, B, C, H, W), clipped to [0, 1] in half precision: (B, K, C, H, W)."""
        return images.clamp(0, 1).half().transpose(0, 1).cpu()


class EnergyDistance(SetMetric):
    """See `energy_distance`; of samples clipped to [0, 1]."""

    name, title, digits, higher_is_better = "energy_distance", "energy distance", 6, False

    def __init__(self) -> None:
        self.extractor = Pixels()

    def score(self, clean: Tensor, restored: Tensor, seed: int) -> float:
        return energy_distance(restored.transpose(0, 1).float(), clean[:, 0].float())


SAMPLE_METRICS = (CRPS(), Coverage(), EnergyDistance())


def _checked(samples: Tensor, clean: Tensor, least: int = 2) -> tuple[Tensor, Tensor]:
    if samples.ndim != 5 or samples.shape[1:] != clean.shape:
        shapes = f"{tuple(samples.shape)} for {tuple(clean.shape)}"
        raise ValueError(f"samples: must be (K, B, C, H, W) for clean images (B, C, H, W), got {shapes}.")
    if len(samples) < least:
        raise ValueError(f"samples: must be at least {least} of each image, got {len(samples)}.")
    return samples, clean


def _mean_distance(a: Tensor, b: Tensor) -> Tensor:
    """Return the mean of d over pairs of different images of (B, D) and (B, D)."""
    distances = torch.cdist(a, b).double()
    count = len(a)
    return (distances.sum() - distances.diagonal().sum()) / (count * (count - 1)) / a.shape[1] ** 0.5
