"""Means over images, and how sure they are."""

import math
import warnings
from collections.abc import Sequence

import numpy as np

RESAMPLES = 2000
BATCH = 2**17  # values that are resampled at a time, which bounds the memory and changes no number
FEWEST = 8
"""Least number of images for an interval or a conclusion.

Nominal 95 % intervals of 2, 4, 6 and 8 values cover the mean with a probability of about 0.49, 0.79, 0.84 and 0.88.
"""

Interval = tuple[float, float]


def mean(values: Sequence[float]) -> float:
    """Arithmetic mean, summed exactly, so that it does not depend on the order."""
    return math.fsum(values) / len(values)


def mean_of_known(values: Sequence[float | None]) -> float | None:
    """Arithmetic mean of the values that are not None; None if there are none."""
    known = [value for value in values if value is not None]
    return mean(known) if known else None


def interval(values: Sequence[float | None], seed: int = 0) -> Interval | None:
    """95 % bootstrap confidence interval of the mean, bias-corrected and accelerated (BCa; Efron 1987).

    Of paired differences, one per image, it is the paired interval. Values that are all equal have an interval of no
    width. NaN where a value is not finite. None for fewer than FEWEST values, of which None is not one.
    """
    from scipy.stats import bootstrap

    sample = np.asarray([value for value in values if value is not None], dtype=np.float64)
    if len(sample) < FEWEST:
        return None
    if not np.isfinite(sample).all():
        return math.nan, math.nan
    if np.ptp(sample) == 0:
        return float(sample[0]), float(sample[0])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of degenerate resamples, which is dealt with below
        batch = max(1, BATCH // len(sample))
        options = {"n_resamples": RESAMPLES, "batch": batch, "method": "BCa", "vectorized": True}
        found = bootstrap((sample,), np.mean, rng=np.random.default_rng(seed), **options).confidence_interval
    low, high = float(found.low), float(found.high)
    if math.isnan(low) or math.isnan(high):  # nearly equal values: no acceleration can be estimated
        return float(sample.min()), float(sample.max())
    return low, high
