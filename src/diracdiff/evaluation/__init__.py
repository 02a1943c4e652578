"""Evaluation of trajectories: metrics per image, trade-off curve, stopping points, tables and plots."""

from diracdiff.evaluation.evaluation import Evaluation
from diracdiff.evaluation.results import Result
from diracdiff.evaluation.statistics import interval, mean
from diracdiff.evaluation.stopping import (
    StoppingPoint,
    find_stopping_points,
    snap_to_grid,
    stopping_point_for,
    summary_rows,
)
from diracdiff.evaluation.uncertainty import Interval, SampleStatistics

__all__ = [
    "Evaluation",
    "Interval",
    "Result",
    "SampleStatistics",
    "StoppingPoint",
    "find_stopping_points",
    "interval",
    "mean",
    "snap_to_grid",
    "stopping_point_for",
    "summary_rows",
]
