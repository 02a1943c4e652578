"""A fair table: every method restores the same measurements, tuned with the same budget, measured by the same rule."""

from diracdiff.comparison.checks import check_sigma
from diracdiff.comparison.comparison import Plan, check_folder, compare, frozen_splits, pick_targets
from diracdiff.comparison.runs import Runner
from diracdiff.comparison.shown import show

__all__ = ["Plan", "Runner", "check_folder", "check_sigma", "compare", "frozen_splits", "pick_targets", "show"]
