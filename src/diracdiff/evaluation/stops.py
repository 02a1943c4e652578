"""Where to stop: the trade-off between distortion and perception along the reverse process.

PSNR of x_hat peaks early in the reverse process while LPIPS goes on improving (paper, Fig. 3). The
distortion-optimised time t_DO is where mean PSNR is highest, the perception-optimised time t_PO where mean
LPIPS, or FID, is lowest, of x_hat or of the iterate, both on validation images.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from diracdiff.errors import UserError
from diracdiff.evaluation.metric import Metric, Row
from diracdiff.evaluation.metrics import METRICS
from diracdiff.samplers.sampler import TOLERANCE

TARGETS = {str(metric.target): metric for metric in METRICS if metric.target}
TARGET_RULE = f"target must be {', '.join(TARGETS)}, nfe=N or t=T"


@dataclass(frozen=True)
class Stop:
    """A stopping time and what to take there, "mean" or "iterate"."""

    t: float
    output: str = "mean"

    def plain(self) -> dict[str, Any]:
        """As a checkpoint holds it."""
        return asdict(self)


Stops = dict[str, Stop | None]
"""The stop of each target; None where its metric was not measured."""


def no_stops() -> Stops:
    """Those of a restorer that was never validated."""
    return dict.fromkeys(TARGETS)


def stopped(curve: Sequence[Row], stop: Stop) -> Row:
    """The row of a curve where a walk with this stop ends: the last time that is at least the stop's."""
    rows = [row for row in curve if row["output"] == stop.output]
    return min((r for r in rows if r["t"] >= stop.t - TOLERANCE), key=lambda r: float(r["t"]), default=rows[0])


def find_stops(curve: Sequence[Row], metrics: Sequence[Metric]) -> Stops:
    """Where to stop, and with which output, for every target.

    Of equal values the earlier stop, which needs fewer network calls, counts.

    Args:
        curve: rows as `Records.curve` makes them.
        metrics: those that were measured.
    """
    rows, stops = sorted(curve, key=lambda row: float(row["nfe"])), no_stops()
    for metric in metrics:
        if metric.target:
            best = metric.best(rows)
            stops[metric.target] = Stop(best["t"], best["output"])
    return stops


def stop_for(target: str, stops: Mapping[str, Stop | None], curve: Sequence[Row], output: str = "mean") -> Stop:
    """Where to stop for a target.

    Args:
        target: one of TARGETS; "nfe=N", the last x_hat that N network calls reach; or "t=T".
        stops: as `find_stops` gives them.
        curve: the validation's, for nfe.
        output: what to take at "t=T".

    Raises:
        UserError: if the target is unknown or has no stop.
    """
    kind, _, value = str(target).partition("=")
    if kind == "t" and value:
        return Stop(_number(target, value, float), output)
    if kind == "nfe" and value:
        number = _number(target, value, int)
        if not curve:
            raise UserError(f"target={target} needs a validation's curve, which this checkpoint lacks: use target=t=…")
        reached = [row["t"] for row in curve if row["output"] == "mean" and row["nfe"] <= number]
        if not reached:
            least = min(row["nfe"] for row in curve if row["output"] == "mean")
            raise UserError(f"target={target} is too few network calls: this sampler's first x_hat takes {least}")
        return Stop(min(reached), "mean")
    if target not in TARGETS:
        raise UserError(f"{TARGET_RULE}, got {target!r}")
    stop, metric = stops.get(target), TARGETS[target]
    if not any(stops.values()):
        raise UserError(
            f"target={target} needs {metric.meaning()}, but this checkpoint was never validated: give target=t=T, or "
            "find its stopping times with python -m diracdiff.evaluate split=val tuned=…"
        )
    if stop is None:
        raise UserError(
            f"target={target} needs {metric.meaning()}, which this checkpoint does not know: measure it with "
            f"python -m diracdiff.evaluate split=val {metric.how_to_measure}tuned=…, or use another target"
        )
    return stop


def _number(target: str, value: str, kind: type) -> Any:
    try:
        number = kind(value)
    except ValueError:
        number = -1
    if (kind is int and number < 1) or (kind is float and not 0 <= number <= 1):
        rule = "N an integer of at least 1" if kind is int else "T in [0, 1]"
        raise UserError(f"{TARGET_RULE} with {rule}, got {target!r}")
    return number


def summarise(
    curve: Sequence[Row], stops: Mapping[str, Stop | None], extra: Stop | None = None
) -> dict[str, Row | None]:
    """The rows of a curve that matter: measurement, one_shot, do, po, other stops that are known, and target.

    Args:
        curve: rows as `Records.curve` makes them.
        stops: of the targets.
        extra: a further stop, the row "target".
    """
    rows: dict[str, Row | None] = {
        "measurement": stopped(curve, Stop(1.0, "iterate")),
        "one_shot": stopped(curve, Stop(1.0, "mean")),
    }
    for target, metric in TARGETS.items():
        stop = stops.get(target)
        if stop is not None or metric.abbreviation:
            rows[metric.stop_key()] = stopped(curve, stop) if stop is not None else None
    return rows | ({"target": stopped(curve, extra)} if extra is not None else {})
