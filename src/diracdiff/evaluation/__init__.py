"""Evaluation: records along the trajectory, the trade-off curve and its stopping points, tables, plots."""

from diracdiff.evaluation.evaluation import Evaluation, Gallery
from diracdiff.evaluation.records import Records
from diracdiff.evaluation.results import Result, results
from diracdiff.evaluation.statistics import interval, mean
from diracdiff.evaluation.stopping import (
    TARGETS,
    StoppingPoint,
    StoppingPoints,
    find_stopping_points,
    key_rows,
    on_grid,
    stopping_point_for,
)
from diracdiff.evaluation.uncertainty import Interval, Spread

__all__ = [
    "TARGETS",
    "Evaluation",
    "Gallery",
    "Interval",
    "Records",
    "Result",
    "Spread",
    "StoppingPoint",
    "StoppingPoints",
    "find_stopping_points",
    "interval",
    "key_rows",
    "mean",
    "on_grid",
    "results",
    "stopping_point_for",
]
