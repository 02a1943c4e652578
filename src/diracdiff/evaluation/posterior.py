"""CRPS, coverage and energy distance of several samples of each measurement.

The estimates of CRPS and energy distance are unbiased. A method without randomness gives equal samples, and its CRPS is
the mean absolute error.
"""

from abc import abstractmethod

import torch
from torch import Tensor

from diracdiff.evaluation.uncertainty import Spread, raw_factor
from diracdiff.metrics import Metric, SetMetric

LEVEL = 0.9
"""Default level of `coverage`."""


def crps(samples: Tensor, clean: Tensor) -> Tensor:
    """Return the continuous ranked probability score of each image, (B,), averaged over its pixels.

    The fair estimator (Ferro 2014) is mean_k |x_k - x| - (1/2) mean_{k != l} |x_k - x_l|. Its expectation does not
    depend on the number of samples and is smallest for samples of the posterior (Gneiting and Raftery 2007). The unit
    is that of the images.

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
    """Return the fraction of the pixels of each image, (B,), that lie in intervals about the mean of its samples.

    The half width of an interval is `raw_factor` standard deviations of the samples. The expected fraction is `level`
    if the clean image and the samples are drawn from the same Gaussian.

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
    """Return the energy distance between the distributions of samples and of clean images.

    It is 2 E d(x, s) - E d(x, x') - E d(s, s') with d(a, b) = ||a - b|| / sqrt(C H W), the squared maximum mean
    discrepancy (MMD) for the kernel -d, which has no bandwidth (Sejdinovic et al. 2013). Means are over pairs of
    different images, so the estimate is unbiased and may be negative. It is NaN for a single image. The value does not
    depend on which sample belongs to which image.

    Args:
        samples: (K, B, C, H, W).
        clean: (B, C, H, W).

    Raises:
        ValueError: if shapes do not fit.
    """
    samples, clean = _checked(samples, clean, least=1)
    centre = clean.mean(0)  # smaller vectors give smaller rounding errors of distances
    x, drawn = (clean - centre).flatten(1), (samples - centre).flatten(2)
    between = torch.stack([_mean_distance(x, s) for s in drawn]).mean()
    within = torch.stack([_mean_distance(a, b) for a in drawn for b in drawn]).mean()
    return float(2 * between - _mean_distance(x, x) - within)


class SampleMetric(Metric):
    """Metric of several samples of each measurement."""

    @abstractmethod
    def values(self, samples: Tensor, clean: Tensor) -> list[float]:
        """Return a value for each clean image, (B, C, H, W), and its samples, (K, B, C, H, W)."""


class CRPS(SampleMetric):
    """`crps` of samples that are clipped to [0, 1]."""

    name, title, higher_is_better = "crps", "CRPS", False

    def values(self, samples: Tensor, clean: Tensor) -> list[float]:
        found: list[float] = crps(samples.clamp(0, 1), clean).tolist()
        return found


class Coverage(SampleMetric):
    """`coverage` of samples that are clipped to [0, 1]. The best value is LEVEL."""

    name, title, digits = f"coverage_{100 * LEVEL:.0f}", f"coverage ({100 * LEVEL:.0f} %)", 3

    def values(self, samples: Tensor, clean: Tensor) -> list[float]:
        found: list[float] = coverage(samples.clamp(0, 1), clean).tolist()
        return found


class Pixels:
    """Feature extractor that returns the pixels of samples."""

    def features(self, images: Tensor) -> Tensor:
        """Return samples, (K, B, C, H, W), as (B, K, C, H, W), clipped to [0, 1], in half precision and on the CPU."""
        return images.clamp(0, 1).half().transpose(0, 1).cpu()


class EnergyDistance(SetMetric):
    """`energy_distance` of samples that are clipped to [0, 1]."""

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
        raise ValueError(f"samples: must be at least {least} per image, got {len(samples)}.")
    return samples, clean


def _mean_distance(a: Tensor, b: Tensor) -> Tensor:
    """Return the mean of d over pairs of different images of (B, D) and (B, D)."""
    distances = torch.cdist(a, b).double()
    count = len(a)
    return (distances.sum() - distances.diagonal().sum()) / (count * (count - 1)) / a.shape[1] ** 0.5
