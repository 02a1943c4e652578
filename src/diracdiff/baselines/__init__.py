"""Comparison methods: each restores the same measurements through one signature, see `diracdiff.baselines.base`."""

from diracdiff.baselines.admm_tv import ADMMTV
from diracdiff.baselines.base import Baseline, Restored
from diracdiff.baselines.ddrm import DDRM
from diracdiff.baselines.deepinv_prior import DiffUNetPrior
from diracdiff.baselines.diffpir import DiffPIR
from diracdiff.baselines.dps import DPS
from diracdiff.baselines.levels import DDPMLevels, KarrasLevels, Levels
from diracdiff.baselines.measurement import Measurement
from diracdiff.baselines.pigdm import PiGDM
from diracdiff.baselines.pmrf import PMRF, PosteriorMeanFlow
from diracdiff.baselines.pnp_admm import PnPADMM
from diracdiff.baselines.prior import NetworkPrior, Prior, load_prior
from diracdiff.baselines.regression import Regression

__all__ = [
    "ADMMTV",
    "DDRM",
    "DPS",
    "PMRF",
    "Baseline",
    "DDPMLevels",
    "DiffPIR",
    "DiffUNetPrior",
    "KarrasLevels",
    "Levels",
    "Measurement",
    "NetworkPrior",
    "PiGDM",
    "PnPADMM",
    "PosteriorMeanFlow",
    "Prior",
    "Regression",
    "Restored",
    "load_prior",
]
