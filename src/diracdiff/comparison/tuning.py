"""Tuning: every contender tries the same number of settings, at most, on the same validation images."""

import itertools
import json
from collections.abc import Sequence
from typing import Any, NamedTuple

from diracdiff.comparison.contenders import Contender, Setting
from diracdiff.comparison.measurements import Measurements
from diracdiff.comparison.runs import Runner
from diracdiff.metrics import Metric, Row


class Choice(NamedTuple):
    """The best setting for a metric on the validation images, and its stopping time."""

    metric: str
    setting: Setting
    stop: str


def grid(search: dict[str, list[Any]], trials: int) -> list[Setting]:
    """Return at most `trials` settings, evenly spread over all combinations of the values, the first one first."""
    combinations = [dict(zip(search, values, strict=True)) for values in itertools.product(*search.values())]
    count = min(trials, len(combinations))
    return [combinations[i * len(combinations) // count] for i in range(count)]


def tune(
    contender: Contender, runner: Runner, measurements: Measurements, metrics: Sequence[Metric], trials: int
) -> tuple[list[Choice], list[Row]]:
    """Find the best setting for each of the metrics; the same trials serve every metric.

    Returns:
        A choice per metric, and the log: a row per trial and stopping time.
    """
    tried, log, settings = list[tuple[Setting, dict[str, Row]]](), list[Row](), grid(contender.search, trials)
    for i, setting in enumerate(settings):
        description = f"tuning {contender.name}, trial {i + 1} of {len(settings)}"
        tried.append((setting, runner.run(contender, setting, measurements, description).means()))
        row = {"method": contender.name, "trial": i, "n": len(measurements), "setting": json.dumps(setting)}
        log += [row | {"stop": stop} | columns for stop, columns in tried[-1][1].items()]
    return [best(tried, metric) for metric in metrics], log


def best(tried: Sequence[tuple[Setting, dict[str, Row]]], metric: Metric) -> Choice:
    """Choose the best of settings and their means by stopping time.

    Of equal values the one with the smaller NFE counts; a setting that diverges, to NaN, is the worst.
    """
    candidates = [
        (metric.cost(row[metric.name]), row["calls"], i, stop)
        for i, (_, means) in enumerate(tried)
        for stop, row in means.items()
    ]
    *_, i, stop = min(candidates)
    return Choice(metric.name, tried[i][0], stop)
