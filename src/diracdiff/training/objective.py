"""What a training returns to a sweep that looks for the best settings: values of its best checkpoint on validation."""

from collections.abc import Sequence
from typing import Any

from diracdiff.metrics import Metric, Missing
from diracdiff.restorer import Restorer
from diracdiff.utils.errors import UserError

PREFIX = "val/"


def check_objective(asked: Any, metrics: Sequence[Metric]) -> list[Metric]:
    """The metrics that `optimized_metric` names, `val/psnr` or a list of such; empty for null.

    A metric is called as in `metrics.csv`, `val/lpips_squeeze`, or by its kind, `val/lpips`.

    Raises:
        UserError: if one is not measured, or has no best value.
    """
    known = {metric.name: metric for metric in metrics if metric.higher_is_better is not None}
    kinds = {metric.target: metric for metric in known.values() if metric.target} | known
    found = []
    for name in [asked] if isinstance(asked, str) else asked or []:
        metric = kinds.get(str(name).removeprefix(PREFIX))
        if metric is None or not str(name).startswith(PREFIX):
            names = ", ".join(f"{PREFIX}{name}" for name in kinds)
            raise UserError(f"optimized_metric={name} is not measured in validation: must be one of {names}, or null")
        if isinstance(metric, Missing):
            raise UserError(f"optimized_metric={name} has no weights to measure it with: get them, or choose another")
        found.append(metric)
    return found


def objective(metrics: Sequence[Metric], best: Restorer) -> float | list[float] | None:
    """The best values along the validation curve of a training's best checkpoint; of one metric, a number."""
    values = [float(metric.best(best.curve)[metric.name]) for metric in metrics]
    return values[0] if len(values) == 1 else values or None
