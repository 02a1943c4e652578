"""The values that a training run returns to a sweep: of its best checkpoint on validation images."""

from collections.abc import Sequence
from typing import Any

from diracdiff.metrics import Metric
from diracdiff.restorer import Restorer

PREFIX = "val/"


def check_objective(requested: Any, metrics: Sequence[Metric]) -> list[Metric]:
    """Return the metrics that `optimized_metric` names: `val/psnr`, a list, or none for null.

    Raises:
        ValueError: if one is not measured or has no best value.
    """
    known = {metric.name: metric for metric in metrics if metric.higher_is_better is not None}
    targets = {metric.target: metric for metric in known.values() if metric.target} | known  # val/lpips: any backbone
    found = []
    for name in [requested] if isinstance(requested, str) else requested or []:
        metric = targets.get(str(name).removeprefix(PREFIX))
        if metric is None or not str(name).startswith(PREFIX):
            names = ", ".join(PREFIX + str(name) for name in targets)
            raise ValueError(f"optimized_metric={name}: is not measured in validation. Use {names} or null.")
        found.append(metric)
    return found


def objective(metrics: Sequence[Metric], best: Restorer) -> float | list[float] | None:
    """Return the best value of each metric along the validation curve; a number for one metric."""
    values = [float(metric.best(best.curve)[metric.name]) for metric in metrics]
    return values[0] if len(values) == 1 else values or None
