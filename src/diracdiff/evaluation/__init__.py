"""Evaluation: records along the trajectory, the trade-off curve and its stopping points, tables, plots."""

from diracdiff.evaluation.evaluation import Evaluation
from diracdiff.evaluation.results import Result
from diracdiff.evaluation.statistics import interval, mean
from diracdiff.evaluation.stopping import (
    StoppingPoint,
    find_stopping_points,
    key_rows,
    on_grid,
    stopping_point_for,
)
from diracdiff.evaluation.uncertainty import Interval, Spread

__all__ = [
    "Evaluation",
    "Interval",
    "Result",
    "Spread",
    "StoppingPoint",
    "find_stopping_points",
    "interval",
    "key_rows",
    "mean",
    "on_grid",
    "stopping_point_for",
]
