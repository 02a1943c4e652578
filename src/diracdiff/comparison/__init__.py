"""Comparison of methods on the same measurements, with the same tuning budget and the same metrics."""

from diracdiff.comparison.comparison import Comparison, check_output_folder, select_targets
from diracdiff.comparison.measurements import load_or_measure
from diracdiff.comparison.runs import Runner

__all__ = ["Comparison", "Runner", "check_output_folder", "load_or_measure", "select_targets"]
