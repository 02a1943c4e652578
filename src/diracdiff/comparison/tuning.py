"""Tuning: every contender tries as many settings, at most, on the same validation images."""

import itertools
import json
import logging
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from diracdiff.comparison.contenders import Contender, Setting
from diracdiff.comparison.measurements import Measurements
from diracdiff.comparison.runs import Run, Runner
from diracdiff.metrics import Metric, Row
from diracdiff.utils.errors import UserError

TUNERS = ("grid", "optuna")
Attempt = Callable[[Setting, str, int, int], dict[str, Row]]


class Choice(NamedTuple):
    """The best setting for a metric on the validation images, and where to stop with it."""

    metric: str
    setting: Setting
    stop: str


def grid(search: dict[str, list[Any]], trials: int) -> list[Setting]:
    """At most `trials` settings, evenly spread over all combinations of the values, the first one first."""
    combinations = [dict(zip(search, values, strict=True)) for values in itertools.product(*search.values())]
    count = min(trials, len(combinations))
    return [combinations[i * len(combinations) // count] for i in range(count)]


def tune(
    contender: Contender,
    runner: Runner,
    measurements: Measurements,
    metrics: Sequence[Metric],
    trials: int,
    tuner: str = "grid",
    seed: int = 0,
) -> tuple[list[Choice], list[dict[str, Any]]]:
    """Find the best setting for each of the metrics.

    With "grid" the same trials serve every metric. With "optuna" each metric has `trials` of its own: numbers that are
    not integers are drawn log-uniformly between the least and the greatest value of the search, all else among its
    values.

    Returns:
        A choice per metric, and the log: a row per trial and stop.

    Raises:
        UserError: if the tuner is not installed.
    """
    log: list[dict[str, Any]] = []

    def attempt(setting: Setting, metric: str, number: int, of: int) -> dict[str, Row]:
        description = f"tuning {contender.name}, trial {number + 1} of {of}"
        run: Run = runner.run(contender, setting, measurements, lambda stop: False, description)
        means = run.means()
        row = {"method": contender.name, "tuner": tuner, "for": metric, "trial": number, "n": len(measurements)}
        log.extend(row | {"setting": json.dumps(setting), "stop": stop} | columns for stop, columns in means.items())
        return means

    if tuner == "grid" or not contender.search:
        settings = grid(contender.search, trials)
        tried = [(s, attempt(s, "all", i, len(settings))) for i, s in enumerate(settings)]
        return [best(tried, metric) for metric in metrics], log
    return [_study(contender, attempt, metric, trials, seed) for metric in metrics], log


def best(tried: list[tuple[Setting, dict[str, Row]]], metric: Metric) -> Choice:
    """The best of settings and their means by stop.

    Of equal values the one with fewer network calls counts; a setting that diverges, to NaN, is the worst.
    """
    candidates = [
        (metric.cost(row[metric.name]), row["calls"], i, stop)
        for i, (_, means) in enumerate(tried)
        for stop, row in means.items()
    ]
    *_, i, stop = min(candidates)
    return Choice(metric.name, tried[i][0], stop)


def _study(contender: Contender, attempt: Attempt, metric: Metric, trials: int, seed: int) -> Choice:
    try:
        import optuna
    except ImportError as error:
        raise UserError("tuner=optuna needs Optuna: pip install 'diracdiff[sweep]', or use tuner=grid") from error
    optuna.logging.set_verbosity(logging.WARNING)
    tried: list[tuple[Setting, dict[str, Row]]] = []

    def objective(trial: Any) -> float:
        setting = {key: _suggest(trial, key, values) for key, values in contender.search.items()}
        tried.append((setting, attempt(setting, metric.name, trial.number, trials)))
        return min(metric.cost(row[metric.name]) for row in tried[-1][1].values())

    optuna.create_study(sampler=optuna.samplers.TPESampler(seed=seed)).optimize(objective, n_trials=trials)
    return best(tried, metric)


def _suggest(trial: Any, key: str, values: list[Any]) -> Any:
    if all(isinstance(value, float) and value > 0 for value in values):
        return trial.suggest_float(key, min(values), max(values), log=True)
    return trial.suggest_categorical(key, values)
