"""Stopping points of the reverse process on the trade-off between distortion and perception.

PSNR of x_hat peaks early in the reverse process, while LPIPS still improves (paper, Fig. 3). The distortion-optimised
(DO) stopping time t_DO maximises the mean PSNR on validation images. The perception-optimised (PO) stopping time t_PO
minimises the mean LPIPS on validation images.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from diracdiff.metrics import METRICS
from diracdiff.metrics.metric import Metric, Row
from diracdiff.samplers.increment import TOLERANCE

TARGETS = {str(metric.target): metric for metric in METRICS if metric.target}
TARGET_RULE = f"must be {', '.join(TARGETS)}, nfe:N with N >= 1, or t:T with T in [0, 1]"
NUMBER = re.compile(r"\d*\.?\d+(e-?\d+)?")
MEASURE = "python -m diracdiff evaluate split=val"


@dataclass(frozen=True)
class StoppingPoint:
    """Stopping time and output of the reverse process.

    Attributes:
        t: stopping time, in [0, 1].
        output: "x_hat" or "iterate".
    """

    t: float
    output: str = "x_hat"


StoppingPoints = dict[str, StoppingPoint | None]
"""Stopping point of each target; None if its metric was not measured."""


def candidates(curve: Iterable[Row]) -> list[Row]:
    """Return the rows of a curve that are candidates for stopping points: x_hat at each time.

    Iterates are excluded: they contain noise and are degraded for t > 0, but LPIPS and SWD can prefer them.

    Args:
        curve: rows of `Records.curve`.
    """
    return [row for row in curve if row["output"] == "x_hat"]


def find_stopping_points(curve: Sequence[Row], metrics: Sequence[Metric]) -> StoppingPoints:
    """Select the best candidate of a curve for each target. Ties are resolved by the smallest NFE.

    Args:
        curve: rows of `Records.curve`.
        metrics: metrics of the evaluation.

    Returns:
        Stopping point of each target.
    """
    rows, points = sorted(candidates(curve), key=lambda row: float(row["nfe"])), StoppingPoints.fromkeys(TARGETS)
    for metric in metrics:
        if metric.target:
            best = metric.best(rows)
            points[metric.target] = StoppingPoint(best["t"], best["output"])
    return points


def snap_time(times: Iterable[float], t: float) -> float:
    """Return the time of a grid at which sampling to t ends: the smallest time >= t, or the largest time.

    Args:
        times: times of the grid.
        t: stopping time, in [0, 1].
    """
    times = list(times)
    return min((time for time in times if time >= t - TOLERANCE), default=max(times))


def row_at(curve: Sequence[Row], point: StoppingPoint) -> Row:
    """Return the row of a curve at which sampling to a stopping point ends.

    Args:
        curve: rows of `Records.curve`.
        point: stopping point.
    """
    rows = {row["t"]: row for row in curve if row["output"] == point.output}
    return rows[snap_time(rows, point.t)]


def snap_to_grid(stopping_points: Iterable[StoppingPoint], times: Sequence[float]) -> list[StoppingPoint]:
    """Move stopping points to the times of a grid at which sampling ends, without duplicates.

    Args:
        stopping_points: stopping points.
        times: times of the grid.
    """
    snapped = (StoppingPoint(round(snap_time(times, point.t), 9), point.output) for point in stopping_points)
    return list(dict.fromkeys(snapped))


def summary_rows(
    curve: Sequence[Row], stopping_points: Mapping[str, StoppingPoint | None], extra: StoppingPoint | None = None
) -> dict[str, Row | None]:
    """Return the rows of a curve for a summary.

    Args:
        curve: rows of `Records.curve`.
        stopping_points: stopping point of each target.
        extra: additional stopping point with the key "target".

    Returns:
        Rows by key: measurement, one_shot, do, po, further targets, target. The row of an unknown DO or PO point is
        None.
    """
    points = StoppingPoints(measurement=StoppingPoint(1.0, "iterate"), one_shot=StoppingPoint(1.0, "x_hat"))
    for target, metric in TARGETS.items():
        if stopping_points.get(target) or metric.abbreviation:
            points[metric.stopping_point_name().lower()] = stopping_points.get(target)
    points |= {"target": extra} if extra else {}
    return {key: row_at(curve, point) if point else None for key, point in points.items()}


def stopping_point_for(
    target: str, stopping_points: Mapping[str, StoppingPoint | None], curve: Sequence[Row], output: str = "x_hat"
) -> StoppingPoint:
    """Return the stopping point of a target.

    Args:
        target: key of `TARGETS`; "nfe:N" for the last x_hat within N function evaluations; or "t:T" (also "t=T") for
            the stopping time T.
        stopping_points: stopping point of each target, see `find_stopping_points`.
        curve: trade-off curve of the validation, for "nfe:N".
        output: output for "t:T", "x_hat" or "iterate".

    Raises:
        ValueError: if the target is unknown or has no stopping point.
    """
    kind, _, value = str(target).replace("=", ":").partition(":")
    if kind == "t" and NUMBER.fullmatch(value) and float(value) <= 1:
        return StoppingPoint(float(value), output)
    if kind == "nfe" and value.isdecimal() and int(value) >= 1:
        return _within_nfe(int(value), curve)
    if target not in TARGETS:
        raise ValueError(f"target={target}: {TARGET_RULE}.")
    point = stopping_points.get(target)
    if point is None:
        raise ValueError(
            f"target={target}: this checkpoint has no stopping time for {TARGETS[target].title}. Use target=t:T, or "
            f"run {MEASURE} {'fid=squeezenet ' if target == 'fid' else ''}save_tuned=…"
        )
    return point


def _within_nfe(nfe: int, curve: Sequence[Row]) -> StoppingPoint:
    rows = [row for row in curve if row["output"] == "x_hat"]
    if not rows:
        raise ValueError(
            f"target=nfe:{nfe}: needs the curve of a validation, which this checkpoint lacks. Use target=t:T."
        )
    if times := [row["t"] for row in rows if row["nfe"] <= nfe]:
        return StoppingPoint(min(times))
    min_nfe = min(row["nfe"] for row in rows)
    raise ValueError(f"target=nfe:{nfe}: the first x_hat of this sampler takes {min_nfe} NFE. Use nfe:{min_nfe}.")
