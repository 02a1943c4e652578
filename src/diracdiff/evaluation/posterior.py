"""Metrics of posterior samples: CRPS, coverage and energy distance.

The estimates of CRPS and energy distance are unbiased. A deterministic method returns equal samples, and its CRPS is
the mean absolute error.
"""

from abc import abstractmethod

import torch
from torch import Tensor

from diracdiff.evaluation.uncertainty import SampleStatistics, student_factor
from diracdiff.metrics import Metric, SetMetric

LEVEL = 0.9
"""Default level of `coverage`."""


def crps(samples: Tensor, clean: Tensor) -> Tensor:
    """Compute the continuous ranked probability score (CRPS) of each image, averaged over its pixels.

    The fair estimator (Ferro 2014) is mean_k |x_k - x| - (1/2) mean_{k != l} |x_k - x_l|. Its expectation does not
    depend on the number of samples and is smallest for posterior samples (Gneiting and Raftery 2007). The unit is that
    of the images.

    Args:
        samples: samples, (K, B, C, H, W), K >= 2.
        clean: clean images, (B, C, H, W).

    Returns:
        CRPS of each image, (B,).

    Raises:
        ValueError: if the shapes do not fit, or there are fewer than two samples.
    """
    samples, clean = _check_shapes(samples, clean)
    count = len(samples)
    ranks = 2 * torch.arange(count, device=samples.device) - (count - 1)  # sum_{k<l} |x_k - x_l| = sum of ranks x
    spread = torch.einsum("k,k...->...", ranks.to(samples), samples.sort(0).values) / (count * (count - 1))
    return ((samples - clean).abs().mean(0) - spread).flatten(1).mean(1)


def coverage(samples: Tensor, clean: Tensor, level: float = LEVEL) -> Tensor:
    """Compute the fraction of pixels of each image inside the intervals around the mean of its samples.

    The half width of an interval is `student_factor` times the standard deviation of the samples. The expected fraction
    is `level` if the clean image and the samples are drawn from the same Gaussian.

    Args:
        samples: samples, (K, B, C, H, W), K >= 2.
        clean: clean images, (B, C, H, W).
        level: nominal coverage, in (0, 1).

    Returns:
        Coverage of each image, (B,), in [0, 1].

    Raises:
        ValueError: if the shapes do not fit, or there are fewer than two samples.
    """
    samples, clean = _check_shapes(samples, clean)
    statistics = SampleStatistics(samples)
    covered = (clean - statistics.mean).abs() <= student_factor(level, len(samples)) * statistics.std
    return covered.float().flatten(1).mean(1)


def energy_distance(samples: Tensor, clean: Tensor) -> float:
    """Compute the energy distance between the distributions of samples and of clean images.

    The distance is 2 E d(x, s) - E d(x, x') - E d(s, s') with d(a, b) = ||a - b|| / sqrt(C H W). It is the squared
    maximum mean discrepancy (MMD) of the kernel -d, which has no bandwidth (Sejdinovic et al. 2013). Means are over
    pairs of different images. The estimate is therefore unbiased, may be negative, and is NaN for a single image. The
    assignment of samples to images has no effect.

    Args:
        samples: samples, (K, B, C, H, W).
        clean: clean images, (B, C, H, W).

    Raises:
        ValueError: if the shapes do not fit.
    """
    samples, clean = _check_shapes(samples, clean, min_samples=1)
    centre = clean.mean(0)  # centring reduces the rounding errors of distances
    x, centred = (clean - centre).flatten(1), (samples - centre).flatten(2)
    between = torch.stack([_mean_distance(x, s) for s in centred]).mean()
    within = torch.stack([_mean_distance(a, b) for a in centred for b in centred]).mean()
    return float(2 * between - _mean_distance(x, x) - within)


class SampleMetric(Metric):
    """Base class of metrics of several samples of each measurement."""

    @abstractmethod
    def values(self, samples: Tensor, clean: Tensor) -> list[float]:
        """Return the metric of each image.

        Args:
            samples: samples, (K, B, C, H, W).
            clean: clean images, (B, C, H, W).
        """


class CRPS(SampleMetric):
    """CRPS of samples clipped to [0, 1], see `crps`."""

    name, title, higher_is_better = "crps", "CRPS", False

    def values(self, samples: Tensor, clean: Tensor) -> list[float]:
        values: list[float] = crps(samples.clamp(0, 1), clean).tolist()
        return values


class Coverage(SampleMetric):
    """Coverage of samples clipped to [0, 1], see `coverage`. The ideal value is `LEVEL`."""

    name, title, digits = f"coverage_{100 * LEVEL:.0f}", f"coverage ({100 * LEVEL:.0f} %)", 3

    def values(self, samples: Tensor, clean: Tensor) -> list[float]:
        values: list[float] = coverage(samples.clamp(0, 1), clean).tolist()
        return values


class PixelFeatures:
    """Feature extractor that returns pixels."""

    def features(self, images: Tensor) -> Tensor:
        """Return samples clipped to [0, 1] in half precision on the CPU.

        Args:
            images: samples, (K, B, C, H, W).

        Returns:
            Pixels, (B, K, C, H, W).
        """
        return images.clamp(0, 1).half().transpose(0, 1).cpu()


class EnergyDistance(SetMetric):
    """Energy distance of samples clipped to [0, 1], see `energy_distance`."""

    name, title, digits, higher_is_better = "energy_distance", "energy distance", 6, False

    def __init__(self) -> None:
        self.extractor = PixelFeatures()

    def score(self, clean: Tensor, restored: Tensor, seed: int) -> float:
        return energy_distance(restored.transpose(0, 1).float(), clean[:, 0].float())


SAMPLE_METRICS = (CRPS(), Coverage(), EnergyDistance())


def _check_shapes(samples: Tensor, clean: Tensor, min_samples: int = 2) -> tuple[Tensor, Tensor]:
    if samples.ndim != 5 or samples.shape[1:] != clean.shape:
        shapes = f"{tuple(samples.shape)} for {tuple(clean.shape)}"
        raise ValueError(f"samples: must be (K, B, C, H, W) for clean images (B, C, H, W), got {shapes}.")
    if len(samples) < min_samples:
        raise ValueError(f"samples: must be at least {min_samples} per image, got {len(samples)}.")
    return samples, clean


def _mean_distance(a: Tensor, b: Tensor) -> Tensor:
    """Return the mean of d over pairs of different images, (B, D) and (B, D)."""
    distances = torch.cdist(a, b).double()
    count = len(a)
    return (distances.sum() - distances.diagonal().sum()) / (count * (count - 1)) / a.shape[1] ** 0.5
