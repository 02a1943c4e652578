"""Dials beside the stopping time: where each of their values lies on the plane of distortion and perception."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from torch import Tensor

from diracdiff.comparison.contenders import Dirac, Setting
from diracdiff.comparison.measurements import Measurements
from diracdiff.comparison.runs import Runner
from diracdiff.comparison.table import Table
from diracdiff.comparison.tuning import best
from diracdiff.evaluation import Blend, StoppingPoint
from diracdiff.metrics import Metric, Row
from diracdiff.utils.errors import UserError

Dials = Mapping[str, Sequence[float]]
SDE = {"stochasticity": 1.0}
NEEDS: dict[str, Setting] = {"blend": {}, "noise_scale": SDE, "renoise": {}, "samples": SDE}
"""{dial: what it needs of the sampler}: a probability-flow ODE adds no noise to scale, and its samples are one."""


def check_dials(dials: Mapping[str, Any], metrics: Sequence[Metric]) -> None:
    """Refuse dials that there are not, or without the two metrics that stops are found for.

    Args:
        dials: {name: values}, see `turn`.
        metrics: those that are measured.

    Raises:
        UserError: naming what is wrong.
    """
    for name, values in dials.items():
        if name not in NEEDS:
            raise UserError(f"dirac.dials knows {', '.join(NEEDS)}, got {name!r}")
        if not isinstance(values, list):
            raise UserError(f"dirac.dials.{name} must be a list of values, [0.25,0.5] say, got {values!r}")
        within = {"blend": (0, 1), "noise_scale": (0, 100), "renoise": (0.001, 0.999), "samples": (1, 1000)}[name]
        for value in values:
            if (
                not isinstance(value, int | float)
                or isinstance(value, bool)
                or not within[0] <= value <= within[1]
                or (name == "samples" and int(value) != value)
            ):
                what = "integers" if name == "samples" else "numbers"
                raise UserError(f"dirac.dials.{name} must be {what} from {within[0]} to {within[1]}, got {value}")
    if any(dials.values()) and sum(bool(metric.abbreviation) for metric in metrics) < 2:
        raise UserError(
            "dirac.dials needs PSNR and LPIPS, for which stops are found: leave dials out, dirac.dials=null"
        )


def turn(
    dials: Dials,
    contender: Dirac,
    base: Setting,
    runner: Runner,
    val: Measurements,
    test: Measurements,
    table: Table,
    seed: int,
) -> tuple[list[Row], dict[str, Tensor]]:
    """Measure every value of every dial on the test images, at the perception's best stop on the validation images.

    Args:
        dials: {name: values}. "blend": shares of x_PO in x_DO; "noise_scale" and "renoise": of the sampler; "samples":
            numbers of samples whose mean is taken.
        contender: whose dials they are.
        base: setting of its perception-optimised row, from which one dial at a time is turned.
        runner: runs them.
        val: where stops are found.
        test: what is measured.
        table: in whose terms.
        seed: of bootstrap and metrics.

    Returns:
        A row of the table for every value, with "dial" and "value", and {method: uint8 images (N, C, H, W)}.
    """
    distortion, perception = (metric for metric in runner.metrics if metric.abbreviation)

    def stop_of(setting: Setting, metric: Metric, description: str) -> str:
        means = runner.run(contender, setting, val, lambda stop: False, description).means()
        return best([(setting, means)], metric).stop

    rows: list[Row] = []
    pictures: dict[str, Tensor] = {}
    for dial, values in dials.items():
        for value in values:
            description = f"turning {dial} to {value:g}"
            if dial == "blend":
                faithful, perceptual = (stop_of(base, metric, description) for metric in (distortion, perception))
                blend = Blend(_stop(faithful), _stop(perceptual), value)
                setting, stop = base | {"blend": asdict(blend)}, f"{blend.output} t={blend.t:g}"
            else:
                setting = base | NEEDS[dial] | {dial: value}
                stop = stop_of(setting, perception, description)
            run = runner.run(contender, setting, test, stop.__eq__, description, only=[stop])
            row = table.row(f"dirac {dial}={value:g}", perception.name, setting, stop, run, seed)
            rows.append({"dial": dial, "value": value} | row)
            pictures[row["method"]] = run.images[stop]
    return rows, pictures


def plain(rows: Sequence[Row]) -> list[dict[str, Any]]:
    """Rows as a CSV holds them: intervals in columns of their own, and no setting."""
    flat = []
    for row in rows:
        kept = {key: value for key, value in row.items() if key not in ("method", "for", "setting", "interval")}
        for column, ends in row["interval"].items():
            low, high = ends or (None, None)
            kept |= {f"{column}_low": low, f"{column}_high": high}
        flat.append(kept)
    return flat


def _stop(words: str) -> StoppingPoint:
    output, _, t = words.partition(" t=")
    return StoppingPoint(float(t), output)
