"""How sure a restoration is: intervals from several samples of one measurement, and their calibration.

The samples' standard deviation is a map of where the measurement leaves the image open. An interval of a pixel reaches
`factor` standard deviations to either side of the samples' mean. The raw factor is Student's, right for exact samples
of a Gaussian posterior; the calibrated one is the least that held the wanted share of pixels on validation images, by
conformal risk control (Angelopoulos et al. 2022), the split-conformal method for shares. For the error of a whole
image, the ratio of its mean square error to the samples' variance is calibrated in the same way (split conformal).
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor

from diracdiff.checkpoints import to_recipe
from diracdiff.checkpoints.recipe import construct
from diracdiff.evaluation.statistics import mean
from diracdiff.evaluation.stopping import Blend, StoppingPoint
from diracdiff.evaluation.uncertainty import Spread, raw_factor
from diracdiff.samplers import ReverseSampler

LEVELS = (0.8, 0.9, 0.95)
"""Shares of the pixels, and of the images, that intervals are to hold."""

FACTORS = torch.logspace(-2, 4, 1201)
"""Factors that calibration chooses among, 1.2 % apart."""

ROUNDING = 1e-9


@dataclass(frozen=True)
class Walked:
    """What a calibration holds for: the same number of samples of the same walk.

    Attributes:
        samples: number of samples of each measurement.
        stop: of the walk, in plain containers.
        sampler: its recipe.
    """

    samples: int
    stop: dict[str, Any]
    sampler: dict[str, Any]

    @classmethod
    def of(cls, sampler: ReverseSampler, samples: int, stop: StoppingPoint | Blend) -> Walked:
        """What walks of a sampler to a stop are known by."""
        return cls(samples, asdict(stop), to_recipe(sampler))


@dataclass(frozen=True)
class Calibration:
    """What makes a spread an interval.

    Attributes:
        walked: what it holds for.
        images: number of images that it was found on.
        factors: {level: factor} of pixels; infinite where the images are too few for the level.
        errors: {level: bounds} of an image's mean square error in units of the samples' variance; (0, inf) where the
            images are too few for the level.
    """

    walked: Walked
    images: int
    factors: dict[float, float]
    errors: dict[float, tuple[float, float]]

    @classmethod
    def of(cls, walked: Walked, tally: Tally, levels: Sequence[float] = LEVELS) -> Calibration:
        """Calibrate on images that were not trained on.

        Args:
            walked: what the tally was made with.
            tally: of those images.
            levels: shares to hold, in (0, 1).
        """
        n, missed, errors = len(tally.errors), tally.missed(), sorted(tally.errors)
        factors, bounds = {}, {}
        for level in levels:
            # The image to come is reckoned with as if it missed everything.
            holds = (missed.sum(0) + 1) / (n + 1) <= 1 - level + ROUNDING
            factors[level] = FACTORS[int(holds.int().argmax())].item() if holds.any() else math.inf
            low = math.floor((n + 1) * (1 - level) / 2 + ROUNDING)
            bounds[level] = (errors[low - 1] if low else 0.0, errors[n - low] if low else math.inf)
        return cls(walked, n, factors, bounds)

    def plain(self) -> dict[str, Any]:
        """As a checkpoint holds it."""
        return asdict(self)

    @classmethod
    def from_plain(cls, plain: Mapping[str, Any]) -> Calibration:
        """Return the calibration that `plain` described.

        Raises:
            ValueError: if an entry is missing or of another type.
        """
        tables = {name: _by_level(plain.get(name)) for name in ("factors", "errors")}
        calibration: Calibration = construct(cls, {**plain, **tables, "walked": construct(Walked, plain.get("walked"))})
        return calibration


def _by_level(table: Any) -> Any:
    """Return a table whose keys are numbers, which JSON turns into text."""
    if not isinstance(table, dict):
        return table
    return {float(key) if re.fullmatch(r"0?\.\d+", str(key)) else key: value for key, value in table.items()}


class Tally:
    """What calibration and coverage are counted from, image by image.

    Attributes:
        errors: `Spread.error` of every image.
    """

    def __init__(self) -> None:
        self.errors: list[float] = []
        self._within: list[Tensor] = []

    def add(self, spread: Spread, clean: Tensor) -> None:
        """Count a batch whose clean images, (B, C, H, W), are known."""
        self.errors += spread.error(clean).tolist()
        needed = spread.needed(clean).flatten(1).cpu().sort(1).values
        counts = torch.searchsorted(needed, FACTORS.expand(len(needed), -1).contiguous(), right=True)
        self._within.append(counts.double() / needed.shape[1])

    def missed(self) -> Tensor:
        """Share of every image's pixels that each of FACTORS misses, (N, len(FACTORS))."""
        return 1 - torch.cat(self._within)

    def covered(self, factor: float) -> float:
        """Share of the pixels within intervals of a factor, mean over images."""
        if math.isinf(factor):
            return 1.0
        index = int(torch.searchsorted(FACTORS, torch.tensor(factor), right=True)) - 1
        return mean(torch.cat(self._within)[:, index].tolist()) if index >= 0 else 0.0

    def images_within(self, bounds: tuple[float, float]) -> float:
        """Share of the images whose error lies within bounds."""
        return mean([float(bounds[0] <= error <= bounds[1]) for error in self.errors])


@dataclass(frozen=True)
class Interval:
    """How a spread becomes intervals of one level.

    Attributes:
        level: share of the pixels to hold.
        factor: half of an interval's length in standard deviations.
        errors: bounds of an image's mean square error in units of the samples' variance; None where unknown.
        images: number of images it was calibrated on; 0 for Student's factor, which was not.
    """

    level: float
    factor: float
    errors: tuple[float, float] | None = None
    images: int = 0

    @classmethod
    def of(cls, calibrations: Sequence[Calibration], walked: Walked, level: float) -> Interval:
        """The calibrated one for the walk, or else the raw one.

        Raises:
            ValueError: if the level does not lie in (0, 1), was not calibrated, or needs more images than there were.
        """
        if not 0 < level < 1:
            raise ValueError(f"level must lie between 0 and 1, got {level}")
        found = next((c for c in calibrations if c.walked == walked), None)
        if found is None:
            return cls(level, raw_factor(level, walked.samples))
        if level not in found.factors:
            raise ValueError(f"level must be one that was calibrated, {list(found.factors)}, got {level}")
        if math.isinf(found.factors[level]):
            raise ValueError(f"level={level}: needs more images than the {found.images} that were calibrated on.")
        return cls(level, found.factors[level], found.errors[level], found.images)

    def __str__(self) -> str:
        kind = f"calibrated on {self.images} images" if self.images else "not calibrated, see diracdiff calibrate"
        return f"intervals to hold {100 * self.level:g} % of the pixels ({kind})"

    def pictures(self, spread: Spread, i: int) -> dict[str, Tensor]:
        """Of the i-th image of a batch: the samples' mean and the bounds of its pixels, (C, H, W) each.

        Bounds are rounded outwards to 8 bits, so that they hold as files what they hold as numbers.
        """
        low, high = (bound[i] for bound in spread.interval(self.factor))
        return {"mean": spread.mean[i], "low": (255 * low).floor() / 255, "high": (255 * high).ceil() / 255}

    def row(self, spread: Spread, i: int) -> dict[str, Any]:
        """Of the i-th image of a batch, for tables; PSNR is that of the samples' mean, in dB."""
        low, high = spread.psnr(self.errors)[i] if self.errors else (None, None)
        same = {"level": self.level, "calibrated_on": self.images, "factor": self.factor}
        return {"samples": spread.count, "std": spread.std[i].mean().item(), **same, "psnr_low": low, "psnr_high": high}


def coverage(calibration: Calibration, tally: Tally) -> list[dict[str, Any]]:
    """What a calibration holds on other images: a row for each level.

    Args:
        calibration: found on images of their own.
        tally: of other images, made with the same walk.
    """
    samples = calibration.walked.samples
    return [
        {
            "level": level,
            "pixels_raw": tally.covered(raw_factor(level, samples)),
            "pixels_calibrated": tally.covered(factor),
            "images_calibrated": tally.images_within(calibration.errors[level]),
            "factor_raw": raw_factor(level, samples),
            "factor_calibrated": factor,
            "samples": samples,
            "calibration_images": calibration.images,
            "images": len(tally.errors),
        }
        for level, factor in calibration.factors.items()
    ]


def coverage_table(rows: Sequence[Mapping[str, Any]]) -> tuple[list[str], list[list[str]]]:
    """The rows of `coverage` as text: header and cells."""
    columns = ("level", "pixels_raw", "pixels_calibrated", "images_calibrated")
    header = ["to hold", "pixels, raw", "pixels, calibrated", "images' errors, calibrated"]
    cells = [[f"{100 * row[column]:.1f} %" for column in columns] for row in rows]
    few = [row["factor_calibrated"] == math.inf for row in rows]
    return header, [[*row[:2], "too few images", "–"] if rare else row for row, rare in zip(cells, few, strict=True)]
