"""Comparison methods: each restores the same measurements through one signature, see `diracdiff.baselines.base`."""

from diracdiff.baselines.base import Baseline, Restored
from diracdiff.baselines.operator import Operator
from diracdiff.baselines.prior import GaussianPrior, NetworkPrior, Prior

__all__ = ["Baseline", "GaussianPrior", "NetworkPrior", "Operator", "Prior", "Restored"]
