"""Uncertainty of a restoration: intervals from several samples of a measurement, and their calibration.

The interval of a pixel is the mean of the samples plus or minus `factor` standard deviations. The raw factor is that
of Student's distribution, which is exact for samples of a Gaussian posterior. The calibrated factor is the smallest one
with the required coverage on validation images, by conformal risk control (Angelopoulos et al. 2022). The ratio of the
mean square error of an image to the variance of its samples is calibrated by split conformal prediction.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import torch
from torch import Tensor

from diracdiff.checkpoints import to_recipe
from diracdiff.evaluation.statistics import mean
from diracdiff.evaluation.stopping import StoppingPoint
from diracdiff.samplers import ReverseSampler

LEVELS = (0.8, 0.9, 0.95)  # nominal coverage of pixels and of images
FACTORS = torch.logspace(-2, 4, 1201)  # candidate factors, 1.2 % apart
MIN_STD = 1 / 510  # minimum standard deviation: half a grey level
UNCERTAINTY_IMAGES = ("uncertainty", "mean", "low", "high")  # images that are written in addition to one sample
ROUNDING = 1e-9


class SampleStatistics:
    """Mean and standard deviation of several samples of each measurement of a batch.

    Args:
        samples: samples, (K, B, C, H, W), K >= 2.

    Attributes:
        count: number K of samples.
        mean: mean of the samples, (B, C, H, W).
        std: standard deviation of the samples, (B, C, H, W), at least `MIN_STD`.
        variance: mean variance over the pixels of each image, (B,).
    """

    def __init__(self, samples: Tensor):
        self.count = len(samples)
        self.mean, self.std = samples.mean(0), samples.std(0).clamp(min=MIN_STD)
        self.variance = (self.std**2).flatten(1).mean(1)


class CoverageCounts:
    """Coverage of intervals for each image and each of `FACTORS`.

    Attributes:
        errors: mean square error of the mean of the samples divided by their variance, for each image.
        within: fraction of pixels inside the intervals, (N, len(FACTORS)), for N images.
    """

    def __init__(self) -> None:
        self.errors: list[float] = []
        self.within = torch.zeros(0, len(FACTORS), dtype=torch.float64)

    def add(self, statistics: SampleStatistics, clean: Tensor) -> None:
        """Add a batch.

        Args:
            statistics: statistics of the samples.
            clean: clean images, (B, C, H, W).
        """
        self.errors += (((clean - statistics.mean) ** 2).flatten(1).mean(1) / statistics.variance).tolist()
        factors = ((clean - statistics.mean).abs() / statistics.std).flatten(1).cpu().sort(1).values
        counts = torch.searchsorted(factors, FACTORS.expand(len(factors), -1).contiguous(), right=True)
        self.within = torch.cat([self.within, counts.double() / factors.shape[1]])

    def covered_fraction(self, factor: float) -> float:
        """Return the fraction of pixels inside intervals with a factor, averaged over the images."""
        if math.isinf(factor):
            return 1.0
        index = int(torch.searchsorted(FACTORS, torch.tensor(factor), right=True)) - 1
        return mean(self.within[:, index].tolist()) if index >= 0 else 0.0


def describe_samples(sampler: ReverseSampler, samples: int, point: StoppingPoint) -> dict[str, Any]:
    """Return the settings of samples for which a calibration is valid, as plain containers.

    Args:
        sampler: sampler of the samples.
        samples: number of samples per measurement.
        point: stopping point.
    """
    return {"samples": samples, "stop": asdict(point), "sampler": to_recipe(sampler)}


@dataclass(frozen=True)
class Interval:
    """Intervals with one nominal coverage.

    Attributes:
        level: nominal coverage of the pixels, in (0, 1).
        factor: half width of the intervals in standard deviations; infinite if the level needs more images.
        errors: bounds of the mean square error of an image divided by the variance of its samples; None if unknown.
        images: number of images of the calibration; 0 for the factor of Student's distribution.
        samples: settings of the samples, see `describe_samples`.
    """

    level: float
    factor: float
    errors: tuple[float, float] | None = None
    images: int = 0
    samples: dict[str, Any] = field(default_factory=dict)

    def __str__(self) -> str:
        kind = f"calibrated on {self.images} images" if self.images else "not calibrated, see diracdiff calibrate"
        return f"intervals for {100 * self.level:g} % of the pixels ({kind})"

    def to_images(self, statistics: SampleStatistics, i: int) -> dict[str, Tensor]:
        """Return the mean of the samples and the bounds of the intervals of one image.

        Bounds are rounded outwards to 8 bits, which preserves the coverage in files.

        Args:
            statistics: statistics of the samples of a batch.
            i: index of the image in the batch.

        Returns:
            Images "mean", "low" and "high", (C, H, W), the bounds in [0, 1].
        """
        mean, half_width = statistics.mean[i], self.factor * statistics.std[i]
        low, high = (mean - half_width).clamp(0, 1), (mean + half_width).clamp(0, 1)
        return {"mean": mean, "low": (255 * low).floor() / 255, "high": (255 * high).ceil() / 255}

    def row(self, statistics: SampleStatistics, i: int) -> dict[str, Any]:
        """Return the columns of one image for `restored.csv`, with bounds of the PSNR of the mean in dB.

        Args:
            statistics: statistics of the samples of a batch.
            i: index of the image in the batch.
        """
        variance = statistics.variance[i].item()
        low, high = (_to_psnr(variance * error) for error in self.errors[::-1]) if self.errors else (None, None)
        return {
            "samples": statistics.count,
            "std": statistics.std[i].mean().item(),
            "level": self.level,
            "calibrated_on": self.images,
            "factor": self.factor,
            "psnr_low": low,
            "psnr_high": high,
        }


def calibrate_intervals(
    samples: dict[str, Any], counts: CoverageCounts, levels: Sequence[float] = LEVELS
) -> list[Interval]:
    """Calibrate intervals on images that were not used for training.

    Args:
        samples: settings of the samples, see `describe_samples`.
        counts: coverage on these images.
        levels: nominal coverages, in (0, 1).

    Returns:
        Interval of each level.
    """
    n, missed, errors = len(counts.errors), 1 - counts.within, sorted(counts.errors)
    intervals = []
    for level in levels:
        # Conformal risk control assumes the worst case, no covered pixel, for the next image.
        sufficient = (missed.sum(0) + 1) / (n + 1) <= 1 - level + ROUNDING
        factor = FACTORS[int(sufficient.int().argmax())].item() if sufficient.any() else math.inf
        low = math.floor((n + 1) * (1 - level) / 2 + ROUNDING)
        bounds = (errors[low - 1], errors[n - low]) if low else (0.0, math.inf)
        intervals.append(Interval(level, factor, bounds, n, samples))
    return intervals


def coverage_table(intervals: Sequence[Interval], counts: CoverageCounts) -> list[dict[str, Any]]:
    """Compute the coverage of calibrated intervals on other images.

    Args:
        intervals: calibrated intervals.
        counts: coverage on images that were not used for the calibration.

    Returns:
        One row per level.
    """
    rows = []
    for interval in intervals:
        (low, high), count = interval.errors or (0.0, math.inf), interval.samples["samples"]
        raw = student_factor(interval.level, count)
        row = {"level": interval.level, "pixels_raw": counts.covered_fraction(raw)}
        row["pixels_calibrated"] = counts.covered_fraction(interval.factor)
        row["images_calibrated"] = mean([float(low <= error <= high) for error in counts.errors])
        row |= {"factor_raw": raw, "factor_calibrated": interval.factor, "samples": count}
        rows.append(row | {"calibration_images": interval.images, "images": len(counts.errors)})
    return rows


def select_interval(intervals: Sequence[Interval], samples: dict[str, Any], level: float) -> Interval:
    """Return the calibrated interval of a level, or the raw interval without a calibration for these samples.

    Args:
        intervals: calibrated intervals.
        samples: settings of the samples, see `describe_samples`.
        level: nominal coverage, in (0, 1).

    Raises:
        ValueError: if the level is not in (0, 1), was not calibrated, or needs more images.
    """
    if not 0 < level < 1:
        raise ValueError(f"level={level}: must be in (0, 1).")
    levels = {interval.level: interval for interval in intervals if interval.samples == samples}
    if not levels:
        return Interval(level, student_factor(level, samples["samples"]))
    if level not in levels:
        raise ValueError(f"level={level}: must be one that was calibrated, {list(levels)}.")
    if math.isinf(levels[level].factor):
        raise ValueError(f"level={level}: needs a calibration on more than {levels[level].images} images.")
    return levels[level]


def student_factor(level: float, samples: int) -> float:
    """Return the factor of Student's distribution, exact if an image and its K samples are K + 1 draws of a Gaussian.

    Args:
        level: nominal coverage, in (0, 1).
        samples: number K of samples, at least 2.
    """
    from scipy.stats import t

    return float(t.ppf((1 + level) / 2, samples - 1)) * math.sqrt(1 + 1 / samples)


def _to_psnr(error: float) -> float:
    return -10 * math.log10(error) if error > 0 else math.inf
