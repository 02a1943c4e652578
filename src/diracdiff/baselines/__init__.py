"""Comparison methods: each restores the same measurements through one signature, see `diracdiff.baselines.base`."""

from diracdiff.baselines.base import Baseline, Restored
from diracdiff.baselines.measurement import Measurement
from diracdiff.baselines.operator import Operator
from diracdiff.baselines.prior import GaussianPrior, NetworkPrior, Prior, load_prior
from diracdiff.baselines.regression import Regression

__all__ = [
    "Baseline",
    "GaussianPrior",
    "Measurement",
    "NetworkPrior",
    "Operator",
    "Prior",
    "Regression",
    "Restored",
    "load_prior",
]
