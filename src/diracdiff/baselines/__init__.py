"""Comparison methods: each restores the same measurements through one signature, see `diracdiff.baselines.base`."""

from diracdiff.baselines.admm_tv import ADMMTV
from diracdiff.baselines.base import Baseline, Restored
from diracdiff.baselines.deepinv_prior import DiffUNetPrior
from diracdiff.baselines.measurement import Measurement
from diracdiff.baselines.operator import Operator
from diracdiff.baselines.pnp_admm import PnPADMM
from diracdiff.baselines.prior import GaussianPrior, NetworkPrior, Prior, load_prior
from diracdiff.baselines.regression import Regression

__all__ = [
    "ADMMTV",
    "Baseline",
    "DiffUNetPrior",
    "GaussianPrior",
    "Measurement",
    "NetworkPrior",
    "Operator",
    "PnPADMM",
    "Prior",
    "Regression",
    "Restored",
    "load_prior",
]
