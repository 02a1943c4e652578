"""The figures of the stops that matter: what a training or an evaluation comes to."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from diracdiff.evaluation.evaluation import Evaluation
from diracdiff.evaluation.statistics import interval, mean
from diracdiff.evaluation.stopping import Blend, StoppingPoint, key_rows
from diracdiff.metrics.metric import ImageMetric, Row
from diracdiff.utils.files import write_json

Summary = dict[str, Any]
"""An entry for each stop, and what holds for all of them: n, seed, steps, task."""


def summary_of(
    evaluation: Evaluation,
    stops: Mapping[str, StoppingPoint | None],
    extra: StoppingPoint | Blend | None = None,
    **same: Any,
) -> Summary:
    """The figures at the measurement, one-shot, DO, PO and other stops.

    Every entry has t, output, nfe, seconds per image, the means of the metrics (None where one is missing) and, as
    "interval", their 95 % bootstrap confidence intervals, where single images have the metric, each None for too few
    images; or it is None where there is no such stop. "excess" is P - c with its interval, see `Evaluation`, where both
    ends are known. n is the number of images and seed the run's.

    Args:
        evaluation: that was finished.
        stops: of the targets.
        extra: a further stop, the entry "target".
        same: seed, steps, task: what holds for all entries.
    """
    rows = key_rows(evaluation.curve, stops, extra)
    seed = int(same.get("seed", 0))
    excess = list(evaluation.excess.values())
    found = {"excess": {"mean": mean(excess), "interval": interval(excess, seed)}} if excess else {}
    summary: Summary = {key: row and _entry(row, evaluation, seed) for key, row in rows.items()}
    return summary | found | {"n": evaluation.curve[0]["n"]} | same


def write_summary(path: str | Path, summary: Summary) -> None:
    """Write a summary as JSON."""
    write_json(path, summary)


def _entry(row: Row, evaluation: Evaluation, seed: int) -> Row:
    metrics = evaluation.metrics
    values = {key: row[key] for key in ("t", "output", "nfe", "seconds")}
    values |= {metric.name: row.get(metric.name) for metric in metrics}
    images = evaluation.records.at(row["t"], row["output"])
    of_images = [metric.name for metric in metrics if isinstance(metric, ImageMetric)]
    return values | {"interval": {key: interval([image[key] for image in images], seed) for key in of_images}}
