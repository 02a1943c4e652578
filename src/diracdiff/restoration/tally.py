"""Spreads of several samples of clean images that are degraded first, for calibration."""

from collections.abc import Iterable
from typing import Any

from diracdiff.evaluation.calibration import Tally
from diracdiff.evaluation.uncertainty import Spread
from diracdiff.restorer import Restorer
from diracdiff.utils.console import track


def tallied(
    restorer: Restorer, batches: Iterable[dict[str, Any]], samples: int, target: str, description: str
) -> Tally:
    """Count what the spreads of several samples hold of clean images, which are degraded first.

    Args:
        restorer: restores them.
        batches: {"x", "name"} of clean images.
        samples: of each image.
        target: stopping time and output.
        description: for progress.
    """
    tally = Tally()
    for batch in track(batches, description=description):
        x, names = batch["x"].to(restorer.device), [str(name) for name in batch["name"]]
        bound = restorer.bind_images(names, x)
        y = bound.measure(x, [f"measurement/{name}" for name in names]).y
        tally.add(Spread(bound.sample(y, samples, target, names=names).images), x)
    return tally
