"""A fair table: every method restores the same measurements, with the same budget, measured in the same way."""

from diracdiff.comparison.comparison import Comparison, check_folder, pick_targets
from diracdiff.comparison.measurements import freeze
from diracdiff.comparison.runs import Runner

__all__ = ["Comparison", "Runner", "check_folder", "freeze", "pick_targets"]
