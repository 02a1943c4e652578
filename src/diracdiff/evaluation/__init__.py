"""Evaluation: records along the trajectory, the trade-off curve and its stopping times, tables, plots."""

from diracdiff.evaluation.calibration import Calibration
from diracdiff.evaluation.evaluation import Evaluation, Gallery
from diracdiff.evaluation.records import Records
from diracdiff.evaluation.results import Result, measured, results
from diracdiff.evaluation.statistics import interval, mean
from diracdiff.evaluation.stops import TARGETS, Blend, Stop, Stops, blends_of, find_stops, reached, summarise
from diracdiff.evaluation.targets import stop_for
from diracdiff.evaluation.uncertainty import Spread

__all__ = [
    "TARGETS",
    "Blend",
    "Calibration",
    "Evaluation",
    "Gallery",
    "Records",
    "Result",
    "Spread",
    "Stop",
    "Stops",
    "blends_of",
    "find_stops",
    "interval",
    "mean",
    "measured",
    "reached",
    "results",
    "stop_for",
    "summarise",
]
