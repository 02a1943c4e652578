"""What a user may ask for, and the stop that it means."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from diracdiff.evaluation.stops import BLEND, TARGETS, Blend, Stop, ends_of, no_ends
from diracdiff.metrics.metric import Metric, Row
from diracdiff.utils.errors import UserError

NAMES = ", ".join(TARGETS)
TARGET_RULE = f"target must be {NAMES}, nfe:N, t:T, blend:A, or one within bounds (lpips,psnr>=29)"
CONDITION = re.compile(r"(\w+)(>=|<=)([\d.eE+-]+)")


def stop_for(target: str, stops: Mapping[str, Stop | None], curve: Sequence[Row], output: str = "mean") -> Stop | Blend:
    """Where to stop for a target.

    Args:
        target: one of TARGETS, with conditions on means over the validation images where asked, "lpips,psnr>=29";
            "nfe:N", the last x_hat that N network calls reach; "t:T"; or "blend:A", see `Blend`; "t=T" is the same.
        stops: as `find_stops` gives them.
        curve: the validation's, for nfe and conditions.
        output: what to take at "t=T".

    Raises:
        UserError: if the target is unknown or has no stop.
    """
    target = re.sub(r"^(t|nfe|blend):", r"\1=", str(target))  # on the command line `=` needs quotes, `:` does not
    kind, _, value = target.partition("=")
    if kind == "t" and value:
        return Stop(_number(target, value, float), output)
    if kind == "nfe" and value:
        number = _number(target, value, int)
        if not curve:
            raise UserError(f"target={target} needs a validation's curve, which this checkpoint lacks: use target=t:…")
        reached = [row["t"] for row in curve if row["output"] == "mean" and row["nfe"] <= number]
        if not reached:
            least = min(row["nfe"] for row in curve if row["output"] == "mean")
            raise UserError(f"target={target} is too few network calls: this sampler's first x_hat takes {least}")
        return Stop(min(reached), "mean")
    if kind == BLEND and value:
        return Blend(*_ends(target, stops), _number(target, value, float))
    name, *conditions = (part.strip() for part in str(target).split(","))
    if conditions:
        return _within(target, name, conditions, stops, curve)
    if target not in TARGETS:
        raise UserError(f"{TARGET_RULE}, got {target!r}")
    stop, metric = stops.get(target), TARGETS[target]
    if not any(stops.values()):
        raise UserError(
            f"target={target} needs {_meaning(metric)}, but this checkpoint was never validated: give target=t:T, or "
            "find its stopping times with python -m diracdiff evaluate split=val tuned=…"
        )
    if stop is None:
        raise UserError(
            f"target={target} needs {_meaning(metric)}, which this checkpoint does not know: measure it with "
            f"python -m diracdiff evaluate split=val {metric.how_to_measure}tuned=…, or use another target"
        )
    return stop


def _meaning(metric: type[Metric]) -> str:
    best = f"the best {metric.title}"
    return f"{metric.abbreviation}, {best}" if metric.abbreviation else best


def _number(target: str, value: str, kind: type) -> Any:
    try:
        number = kind(value)
    except ValueError:
        number = -1
    if (kind is int and number < 1) or (kind is float and not 0 <= number <= 1):
        rule = "N an integer of at least 1" if kind is int else f"{'A' if target.startswith(BLEND) else 'T'} in [0, 1]"
        raise UserError(f"{TARGET_RULE} with {rule}, got {target!r}")
    return number


def _ends(target: str, stops: Mapping[str, Stop | None]) -> tuple[Stop, Stop]:
    ends = ends_of(stops)
    if ends is None:
        raise UserError(f"target={target}: {no_ends(stops)}, so there is nothing to blend: use target=psnr")
    return ends


def _within(
    target: str, name: str, conditions: Sequence[str], stops: Mapping[str, Stop | None], curve: Sequence[Row]
) -> Stop | Blend:
    """The best row of the curve, by the metric of a name, that meets every condition."""
    if name not in TARGETS:
        raise UserError(f"{TARGET_RULE}, got {target!r}")
    if not curve:
        raise UserError(f"target={target} needs a validation's curve, which this checkpoint lacks: use target=t:…")
    column, rows = _column(target, name, curve), list(curve)
    for condition in conditions:
        found = CONDITION.fullmatch(condition)
        if found is None:
            raise UserError(f"{TARGET_RULE}; conditions are METRIC>=NUMBER or METRIC<=NUMBER, got {target!r}")
        key, limit, least = _column(target, found[1], curve), _limit(target, found[3]), found[2] == ">="
        kept = [row for row in rows if (row[key] >= limit if least else row[key] <= limit)]
        if not kept:
            best = (max if least else min)(float(row[key]) for row in rows)
            raise UserError(
                f"target={target}: no stop of the validation has {condition}, the {'most' if least else 'least'} there "
                f"is is {best:.4g}: ask for {'less' if least else 'more'}"
            )
        rows = kept
    pick = max if TARGETS[name].higher_is_better else min
    best_row = pick(sorted(rows, key=lambda row: float(row["nfe"])), key=lambda row: float(row[column]))
    if best_row["output"].startswith(BLEND):
        return Blend(*_ends(target, stops), float(best_row["output"].partition("=")[2]))
    return Stop(best_row["t"], best_row["output"])


def _column(target: str, name: str, curve: Sequence[Row]) -> str:
    """The column of a metric, whatever backbone or network it is measured with."""
    columns = [key for key in curve[0] if key == name or key.startswith(f"{name}_")]
    if len(columns) != 1 or name in ("t", "n", "nfe", "output", "seconds"):
        raise UserError(
            f"target={target}: {name!r} is not a metric that the validation of this checkpoint measured; measure it "
            "with python -m diracdiff evaluate split=val tuned=…"
        )
    return columns[0]


def _limit(target: str, number: str) -> float:
    try:
        return float(number)
    except ValueError as error:
        raise UserError(f"{TARGET_RULE}; {number!r} is not a number, in {target!r}") from error
