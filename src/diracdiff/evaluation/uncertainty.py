"""Uncertainty of a restoration: intervals from several samples of one measurement, and their calibration.

An interval of a pixel reaches `factor` standard deviations of the samples to either side of their mean. The raw factor
is Student's, right for exact samples of a Gaussian posterior. The calibrated one is the least that held the required
fraction of pixels on validation images, by conformal risk control (Angelopoulos et al. 2022). The ratio of an image's
mean square error to the samples' variance is calibrated in the same way (split conformal prediction).
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

LEVELS = (0.8, 0.9, 0.95)  # fractions of the pixels, and of the images, that intervals should hold
FACTORS = torch.logspace(-2, 4, 1201)  # factors to choose from, 1.2 % apart
LEAST_STD = 1 / 510  # least standard deviation that is distinguished: half a grey level
PICTURES = ("uncertainty", "mean", "low", "high")  # images that are written in addition to one sample
ROUNDING = 1e-9


class Spread:
    """Mean and standard deviation of several samples of each measurement of a batch.

    Args:
        samples: (K, B, C, H, W), K of at least 2.

    Attributes:
        count: number K of samples.
        mean: mean of the samples, (B, C, H, W); nearer to the image than one sample.
        std: standard deviation, (B, C, H, W), at least LEAST_STD.
        variance: mean variance of an image, (B,).
    """

    def __init__(self, samples: Tensor):
        self.count = len(samples)
        self.mean, self.std = samples.mean(0), samples.std(0).clamp(min=LEAST_STD)
        self.variance = (self.std**2).flatten(1).mean(1)


class Tally:
    """Counts of pixels and images that intervals hold, image by image.

    Attributes:
        errors: mean square error of the samples' mean in units of their variance, of every image.
        within: fraction of every image's pixels that each of FACTORS holds, (N, len(FACTORS)).
    """

    def __init__(self) -> None:
        self.errors: list[float] = []
        self.within = torch.zeros(0, len(FACTORS), dtype=torch.float64)

    def add(self, spread: Spread, clean: Tensor) -> None:
        """Count a batch with known clean images, (B, C, H, W)."""
        self.errors += (((clean - spread.mean) ** 2).flatten(1).mean(1) / spread.variance).tolist()
        needed = ((clean - spread.mean).abs() / spread.std).flatten(1).cpu().sort(1).values
        counts = torch.searchsorted(needed, FACTORS.expand(len(needed), -1).contiguous(), right=True)
        self.within = torch.cat([self.within, counts.double() / needed.shape[1]])

    def covered(self, factor: float) -> float:
        """Return the fraction of the pixels within intervals of a factor, the mean over images."""
        if math.isinf(factor):
            return 1.0
        index = int(torch.searchsorted(FACTORS, torch.tensor(factor), right=True)) - 1
        return mean(self.within[:, index].tolist()) if index >= 0 else 0.0


def describe_samples(sampler: ReverseSampler, samples: int, stop: StoppingPoint) -> dict[str, Any]:
    """Describe the samples that a calibration is valid for, in plain containers."""
    return {"samples": samples, "stop": asdict(stop), "sampler": to_recipe(sampler)}


@dataclass(frozen=True)
class Interval:
    """Intervals of one level.

    Attributes:
        level: fraction of the pixels to hold.
        factor: half of an interval's length in standard deviations; infinite for a level that needs more images.
        errors: bounds of an image's mean square error in units of the samples' variance; None if unknown.
        images: number of images it was calibrated on; 0 for Student's factor.
        samples: the samples it was calibrated for, see `describe_samples`.
    """

    level: float
    factor: float
    errors: tuple[float, float] | None = None
    images: int = 0
    samples: dict[str, Any] = field(default_factory=dict)

    def __str__(self) -> str:
        kind = f"calibrated on {self.images} images" if self.images else "not calibrated, see diracdiff calibrate"
        return f"intervals to hold {100 * self.level:g} % of the pixels ({kind})"

    def pictures(self, spread: Spread, i: int) -> dict[str, Tensor]:
        """Return the samples' mean and the bounds of the i-th image of a batch, (C, H, W) each.

        Bounds are rounded outwards to 8 bits, so that files hold as much as the numbers do.
        """
        mean, reach = spread.mean[i], self.factor * spread.std[i]
        low, high = (mean - reach).clamp(0, 1), (mean + reach).clamp(0, 1)
        return {"mean": mean, "low": (255 * low).floor() / 255, "high": (255 * high).ceil() / 255}

    def row(self, spread: Spread, i: int) -> dict[str, Any]:
        """Return a table's row of the i-th image of a batch; PSNR is that of the samples' mean, in dB."""
        low, high = (_psnr(spread.variance[i].item() * e) for e in self.errors[::-1]) if self.errors else (None, None)
        same = {"level": self.level, "calibrated_on": self.images, "factor": self.factor}
        return {"samples": spread.count, "std": spread.std[i].mean().item(), **same, "psnr_low": low, "psnr_high": high}


def calibrated(samples: dict[str, Any], tally: Tally, levels: Sequence[float] = LEVELS) -> list[Interval]:
    """Return intervals that are calibrated on images that were not used for training.

    Args:
        samples: the samples that were counted, see `describe_samples`.
        tally: counts of these images.
        levels: fractions to hold, in (0, 1).
    """
    n, missed, errors = len(tally.errors), 1 - tally.within, sorted(tally.errors)
    intervals = []
    for level in levels:
        # The next image counts as if it missed everything.
        holds = (missed.sum(0) + 1) / (n + 1) <= 1 - level + ROUNDING
        factor = FACTORS[int(holds.int().argmax())].item() if holds.any() else math.inf
        low = math.floor((n + 1) * (1 - level) / 2 + ROUNDING)
        bounds = (errors[low - 1], errors[n - low]) if low else (0.0, math.inf)
        intervals.append(Interval(level, factor, bounds, n, samples))
    return intervals


def coverage(intervals: Sequence[Interval], tally: Tally) -> list[dict[str, Any]]:
    """Return a row per calibrated level with the fractions that intervals hold on other images."""
    rows = []
    for interval in intervals:
        (low, high), count = interval.errors or (0.0, math.inf), interval.samples["samples"]
        raw = raw_factor(interval.level, count)
        row = {"level": interval.level, "pixels_raw": tally.covered(raw)}
        row["pixels_calibrated"] = tally.covered(interval.factor)
        row["images_calibrated"] = mean([float(low <= error <= high) for error in tally.errors])
        row |= {"factor_raw": raw, "factor_calibrated": interval.factor, "samples": count}
        rows.append(row | {"calibration_images": interval.images, "images": len(tally.errors)})
    return rows


def choose_interval(intervals: Sequence[Interval], samples: dict[str, Any], level: float) -> Interval:
    """Return the calibrated interval of a level if there are any for these samples, or else the raw one.

    Raises:
        ValueError: if the level is not in (0, 1), was not calibrated, or needs more images.
    """
    if not 0 < level < 1:
        raise ValueError(f"level={level}: must lie between 0 and 1.")
    levels = {interval.level: interval for interval in intervals if interval.samples == samples}
    if not levels:
        return Interval(level, raw_factor(level, samples["samples"]))
    if level not in levels:
        raise ValueError(f"level={level}: must be one that was calibrated, {list(levels)}.")
    if math.isinf(levels[level].factor):
        raise ValueError(f"level={level}: needs more images than the {levels[level].images} that were calibrated on.")
    return levels[level]


def raw_factor(level: float, samples: int) -> float:
    """Return Student's factor: right if the image and its K samples are K + 1 draws of one Gaussian."""
    from scipy.stats import t

    return float(t.ppf((1 + level) / 2, samples - 1)) * math.sqrt(1 + 1 / samples)


def _psnr(error: float) -> float:
    return -10 * math.log10(error) if error > 0 else math.inf
