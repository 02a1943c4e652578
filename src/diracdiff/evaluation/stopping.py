"""Stopping points: times at which the reverse process ends, on the trade-off between distortion and perception.

PSNR of x_hat peaks early in the reverse process while LPIPS still improves (paper, Fig. 3). The distortion-optimised
(DO) time t_DO is where mean PSNR is highest; the perception-optimised (PO) time t_PO is where mean LPIPS is lowest, of
x_hat or of the iterate, both on validation images.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from torch import Tensor

from diracdiff.metrics import METRICS
from diracdiff.metrics.metric import Metric, Row
from diracdiff.samplers import OUTPUTS
from diracdiff.samplers.increment import TOLERANCE

BLEND = "blend"
TARGETS = {str(metric.target): metric for metric in METRICS if metric.target}
TARGET_RULE = f"target must be {', '.join(TARGETS)}, nfe:N, t:T, blend:A, or one within bounds (lpips,psnr>=29)"
CONDITION = re.compile(r"(\w+)(>=|<=)([+-]?\d+\.?\d*(?:[eE][+-]?\d+)?)")
MEASURE = "python -m diracdiff evaluate split=val"


@dataclass(frozen=True)
class StoppingPoint:
    """A stopping time and the output to return there, "mean" (x_hat) or "iterate"."""

    t: float
    output: str = "mean"

    @property
    def points(self) -> tuple[StoppingPoint, ...]:
        """The point itself; a blend has two."""
        return (self,)

    @property
    def last_output(self) -> str:
        """Output at the time where sampling ends."""
        return self.output

    def mix(self, images: Tensor) -> Tensor:
        """Return the images themselves."""
        return images

    def plain(self) -> dict[str, Any]:
        """Return a dictionary for checkpoints."""
        return asdict(self)


@dataclass(frozen=True)
class Blend:
    """(1 - fraction) x_DO + fraction x_PO of one trajectory.

    For a posterior mean and images that are optimally transported from it the straight line between them is the best
    possible trade-off (Freirich et al. 2021).

    Args:
        distortion: stopping point of x_DO.
        perception: stopping point of x_PO.
        fraction: weight of x_PO, in [0, 1].

    Raises:
        ValueError: if the fraction is outside [0, 1].
    """

    distortion: StoppingPoint
    perception: StoppingPoint
    fraction: float

    def __post_init__(self) -> None:
        if not 0 <= self.fraction <= 1:
            raise ValueError(f"the fraction of x_PO must be in [0, 1], got {self.fraction:g}")

    @property
    def points(self) -> tuple[StoppingPoint, StoppingPoint]:
        """Both stopping points."""
        return self.distortion, self.perception

    @property
    def t(self) -> float:
        """Time where sampling ends."""
        return min(point.t for point in self.points)

    @property
    def last_output(self) -> str:
        """Output at the time where sampling ends: x_hat, if one of the points there needs it."""
        return "mean" if any(point.output == "mean" for point in self.points if point.t == self.t) else "iterate"

    @property
    def output(self) -> str:
        """Name in curves, such as "blend=0.3"."""
        return f"{BLEND}={self.fraction:g}"

    def mix(self, distortion: Tensor, perception: Tensor) -> Tensor:
        """Return the blend of the images of both points, (B, C, H, W)."""
        return (1 - self.fraction) * distortion + self.fraction * perception


StoppingPoints = dict[str, StoppingPoint | None]
"""The stopping point of each target; None where its metric was not measured."""


def no_stopping_points() -> StoppingPoints:
    """Return the stopping points of a restorer that was never validated."""
    return dict.fromkeys(TARGETS)


def find_stopping_points(curve: Sequence[Row], metrics: Sequence[Metric]) -> StoppingPoints:
    """Return the best point of a trade-off curve for every target; of equal values that with the fewest NFE.

    Args:
        curve: rows of `Records.curve`.
        metrics: metrics that were measured.
    """
    rows = sorted((row for row in curve if row["output"] in OUTPUTS), key=lambda row: float(row["nfe"]))
    points = no_stopping_points()
    for metric in metrics:
        if metric.target:
            best = metric.best(rows)
            points[metric.target] = StoppingPoint(best["t"], best["output"])
    return points


def matching(
    stop: StoppingPoint | Blend, t: float, output: str, found: Mapping[StoppingPoint, Any]
) -> list[StoppingPoint]:
    """Return the points of `stop` whose result is the output of this state, until a later state replaces it.

    Args:
        stop: stopping point or blend.
        t: time of the state.
        output: "mean" or "iterate".
        found: results so far; the first state serves points before the start of the trajectory.
    """
    return [p for p in stop.points if output == p.output and (t >= p.t - TOLERANCE or p not in found)]


def row_at(curve: Sequence[Row], stop: StoppingPoint | Blend) -> Row:
    """Return the row of a curve where sampling to this point ends: the last time that is not before it."""
    rows = [row for row in curve if row["output"] == stop.output]
    return min((r for r in rows if r["t"] >= stop.t - TOLERANCE), key=lambda r: float(r["t"]), default=rows[0])


def on_grid(stops: Iterable[StoppingPoint | Blend], times: Sequence[float]) -> list[StoppingPoint]:
    """Return the points at these falling times where sampling to other points, or to those of blends, ends."""
    found: dict[StoppingPoint, None] = {}
    for point in (point for stop in stops for point in stop.points):
        t = min((t for t in times if t >= point.t - TOLERANCE), default=times[0])
        found[StoppingPoint(round(t, 9), point.output)] = None
    return list(found)


def key_rows(
    curve: Sequence[Row], stops: Mapping[str, StoppingPoint | None], extra: StoppingPoint | Blend | None = None
) -> dict[str, Row | None]:
    """Return the main rows of a curve: measurement, one_shot, do, po, further known points, blends, and target.

    Args:
        curve: rows of `Records.curve`.
        stops: stopping points of the targets.
        extra: a further point, the row "target".
    """
    rows: dict[str, Row | None] = {
        "measurement": row_at(curve, StoppingPoint(1.0, "iterate")),
        "one_shot": row_at(curve, StoppingPoint(1.0, "mean")),
    }
    for target, metric in TARGETS.items():
        stop = stops.get(target)
        if stop is not None or metric.abbreviation:
            rows[metric.stop_key()] = row_at(curve, stop) if stop is not None else None
    rows |= {row["output"]: row for row in curve if row["output"].startswith(BLEND)}
    return rows | ({"target": row_at(curve, extra)} if extra is not None else {})


def do_and_po(stops: Mapping[str, StoppingPoint | None]) -> tuple[StoppingPoint, StoppingPoint] | None:
    """Return the points of PSNR and of LPIPS, or else SWD; None where one is unknown or both are the same."""
    distortion, perception = stops.get("psnr"), stops.get("lpips") or stops.get("swd")
    return (distortion, perception) if distortion and perception and distortion != perception else None


def make_blends(stops: Mapping[str, StoppingPoint | None], fractions: Sequence[float]) -> list[Blend]:
    """Return blends of the DO and the PO point.

    Raises:
        ValueError: if a fraction is outside [0, 1], or there are fractions but not two points.
    """
    points = do_and_po(stops)
    if points is None and fractions:
        raise ValueError(_nothing_to_blend(stops))
    return [] if points is None else [Blend(*points, fraction) for fraction in fractions]


def _nothing_to_blend(stops: Mapping[str, StoppingPoint | None]) -> str:
    if stops.get("psnr") and (stops.get("lpips") or stops.get("swd")):
        return "the DO and the PO point of this checkpoint are the same: there is nothing to blend"
    return f"this checkpoint does not know both a DO and a PO point to blend: find them with {MEASURE} tuned=…"


def stopping_point_for(
    target: str, stops: Mapping[str, StoppingPoint | None], curve: Sequence[Row], output: str = "mean"
) -> StoppingPoint | Blend:
    """Return the stopping point of a target.

    Args:
        target: one of TARGETS, possibly with conditions on means over the validation images, "lpips,psnr>=29";
            "nfe:N", the last x_hat within N network calls; "t:T"; or "blend:A", see `Blend`; "t=T" is the same.
        stops: stopping points of the targets, see `find_stopping_points`.
        curve: the validation's, for nfe and conditions.
        output: output at "t:T".

    Raises:
        ValueError: if the target is unknown or has no stopping point.
    """
    target = re.sub(r"^(t|nfe|blend):", r"\1=", str(target))  # on the command line `=` needs quotes, `:` does not
    kind, _, value = target.partition("=")
    if kind == "t" and value:
        return StoppingPoint(_number(target, value), output)
    if kind == BLEND and value:
        return _blend(target, stops, _number(target, value))
    if kind == "nfe" and value:
        if not value.isdecimal() or int(value) < 1:
            raise ValueError(f"{TARGET_RULE} with N an integer of at least 1, got {target!r}")
        means = [row for row in _needed(target, curve) if row["output"] == "mean"]
        if reached := [row["t"] for row in means if row["nfe"] <= int(value)]:
            return StoppingPoint(min(reached), "mean")
        least = min(row["nfe"] for row in means)
        raise ValueError(f"target={target}: the first x_hat of this sampler takes {least} NFE: use nfe:{least}")
    name, *conditions = (part.strip() for part in target.split(","))
    if name not in TARGETS:
        raise ValueError(f"{TARGET_RULE}, got {target!r}")
    if conditions:
        return _best_within(target, name, conditions, stops, curve)
    stop, metric = stops.get(name), TARGETS[name]
    best = f"{f'{metric.abbreviation}, ' if metric.abbreviation else ''}the best {metric.title}"
    if not any(stops.values()):
        raise ValueError(
            f"target={target} needs {best}, but this checkpoint was never validated: give target=t:T, or find its "
            f"stopping times with {MEASURE} tuned=…"
        )
    if stop is None:
        raise ValueError(
            f"target={target} needs {best}, which this checkpoint does not know: measure it with "
            f"{MEASURE} {metric.how_to_measure}tuned=…, or use another target"
        )
    return stop


def _number(target: str, value: str) -> float:
    try:
        number = float(value)
    except ValueError:
        number = -1.0
    if not 0 <= number <= 1:
        raise ValueError(f"{TARGET_RULE} with {'A' if target.startswith(BLEND) else 'T'} in [0, 1], got {target!r}")
    return number


def _needed(target: str, curve: Sequence[Row]) -> Sequence[Row]:
    if not curve:
        raise ValueError(f"target={target} needs a validation's curve, which this checkpoint lacks: use target=t:…")
    return curve


def _blend(target: str, stops: Mapping[str, StoppingPoint | None], fraction: float) -> Blend:
    points = do_and_po(stops)
    if points is None:
        raise ValueError(f"target={target}: {_nothing_to_blend(stops)}, or use target=psnr")
    return Blend(*points, fraction)


def _best_within(
    target: str,
    name: str,
    conditions: Sequence[str],
    stops: Mapping[str, StoppingPoint | None],
    curve: Sequence[Row],
) -> StoppingPoint | Blend:
    """Return the best row of the curve, by the metric of a name, that meets every condition."""
    rows = _needed(target, curve)
    column = _column(target, name, rows)
    for condition in conditions:
        match = CONDITION.fullmatch(condition)
        if match is None:
            raise ValueError(f"{TARGET_RULE}; conditions are METRIC>=NUMBER or METRIC<=NUMBER, got {target!r}")
        key, limit, at_least = _column(target, match[1], rows), float(match[3]), match[2] == ">="
        kept = [row for row in rows if (row[key] >= limit if at_least else row[key] <= limit)]
        if not kept:
            best = (max if at_least else min)(float(row[key]) for row in rows)
            raise ValueError(f"target={target}: no stopping point has {condition}; {best:.4g} is the best there")
        rows = kept
    choose = max if TARGETS[name].higher_is_better else min
    row = choose(sorted(rows, key=lambda row: float(row["nfe"])), key=lambda row: float(row[column]))
    if row["output"].startswith(BLEND):
        return _blend(target, stops, float(row["output"].partition("=")[2]))
    return StoppingPoint(row["t"], row["output"])


def _column(target: str, name: str, curve: Sequence[Row]) -> str:
    """Return the column of a metric with any backbone or network."""
    columns = [key for key in curve[0] if key == name or key.startswith(f"{name}_")]
    if len(columns) != 1 or name in ("t", "n", "nfe", "output", "seconds"):
        raise ValueError(
            f"target={target}: {name!r} is not a metric that the validation of this checkpoint measured; measure it "
            f"with {MEASURE} tuned=…"
        )
    return columns[0]
