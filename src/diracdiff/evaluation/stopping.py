"""Stopping points: times at which the reverse process ends, on the trade-off between distortion and perception.

PSNR of x_hat peaks early in the reverse process while LPIPS still improves (paper, Fig. 3). The distortion-optimised
(DO) time t_DO is where mean PSNR is highest; the perception-optimised (PO) time t_PO is where mean LPIPS is lowest,
both on validation images.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from diracdiff.metrics import METRICS
from diracdiff.metrics.metric import Metric, Row
from diracdiff.samplers.increment import TOLERANCE

TARGETS = {str(metric.target): metric for metric in METRICS if metric.target}
TARGET_RULE = f"target must be {', '.join(TARGETS)}, nfe:N with N of at least 1, or t:T with T in [0, 1]"
NUMBER = re.compile(r"\d*\.?\d+(e-?\d+)?")
MEASURE = "python -m diracdiff evaluate split=val"


@dataclass(frozen=True)
class StoppingPoint:
    """A stopping time and the output to return there, "x_hat" or "iterate"."""

    t: float
    output: str = "x_hat"


StoppingPoints = dict[str, StoppingPoint | None]
"""The stopping point of each target; None where its metric was not measured."""


def candidates(curve: Iterable[Row]) -> list[Row]:
    """Return the rows of a curve that may become stopping points: x_hat at every time.

    Iterates contain noise and, before t = 0, are degraded. LPIPS and SWD can still prefer them.
    """
    return [row for row in curve if row["output"] == "x_hat"]


def find_stopping_points(curve: Sequence[Row], metrics: Sequence[Metric]) -> StoppingPoints:
    """Return the best of the `candidates` of a curve for each target; of equal values, the one with the fewest NFE.

    Args:
        curve: rows of `Records.curve`.
        metrics: metrics that were measured.
    """
    rows, points = sorted(candidates(curve), key=lambda row: float(row["nfe"])), StoppingPoints.fromkeys(TARGETS)
    for metric in metrics:
        if metric.target:
            best = metric.best(rows)
            points[metric.target] = StoppingPoint(best["t"], best["output"])
    return points


def last_before(times: Iterable[float], t: float) -> float:
    """Return the time where sampling to t ends: the last of these times that is not before t, or else the first."""
    times = list(times)
    return min((time for time in times if time >= t - TOLERANCE), default=max(times))


def row_at(curve: Sequence[Row], stop: StoppingPoint) -> Row:
    """Return the row of a curve where sampling to this point ends."""
    rows = {row["t"]: row for row in curve if row["output"] == stop.output}
    return rows[last_before(rows, stop.t)]


def on_grid(stopping_points: Iterable[StoppingPoint], times: Sequence[float]) -> list[StoppingPoint]:
    """Return the points at these times where sampling to other points ends, each once."""
    found = (StoppingPoint(round(last_before(times, stop.t), 9), stop.output) for stop in stopping_points)
    return list(dict.fromkeys(found))


def key_rows(
    curve: Sequence[Row], stopping_points: Mapping[str, StoppingPoint | None], extra: StoppingPoint | None = None
) -> dict[str, Row | None]:
    """Return the main rows of a curve: measurement, one_shot, do, po, further known points, and target.

    Args:
        curve: rows of `Records.curve`.
        stopping_points: stopping points of the targets.
        extra: a further point, the row "target".
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
        target: one of TARGETS; "nfe:N", the last x_hat within N network calls; or "t:T". "t=T" is the same.
        stopping_points: stopping points of the targets, see `find_stopping_points`.
        curve: the validation's, for nfe.
        output: output at "t:T".

    Raises:
        ValueError: if the target is unknown or has no stopping point.
    """
    kind, _, value = str(target).replace("=", ":").partition(":")
    if kind == "t" and NUMBER.fullmatch(value) and float(value) <= 1:
        return StoppingPoint(float(value), output)
    if kind == "nfe" and value.isdecimal() and int(value) >= 1:
        return _within_nfe(int(value), curve)
    if target not in TARGETS:
        raise ValueError(f"{TARGET_RULE}, got {target!r}")
    stop = stopping_points.get(target)
    if stop is None:
        raise ValueError(
            f"target={target}: this checkpoint does not know the best {TARGETS[target].title}. Give target=t:T, or "
            f"measure it with {MEASURE} {'fid=squeezenet ' if target == 'fid' else ''}save_tuned=…"
        )
    return stop


def _within_nfe(nfe: int, curve: Sequence[Row]) -> StoppingPoint:
    means = [row for row in curve if row["output"] == "x_hat"]
    if not means:
        raise ValueError(f"target=nfe:{nfe}: needs a validation's curve, which this checkpoint lacks. Use target=t:T.")
    if reached := [row["t"] for row in means if row["nfe"] <= nfe]:
        return StoppingPoint(min(reached))
    least = min(row["nfe"] for row in means)
    raise ValueError(f"target=nfe:{nfe}: the first x_hat of this sampler takes {least} NFE. Use nfe:{least}.")
