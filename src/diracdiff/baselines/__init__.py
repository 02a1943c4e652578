"""Comparison methods with the common interface of `diracdiff.baselines.base.Baseline`."""

from diracdiff.baselines.admm import ADMMTV, PnPADMM
from diracdiff.baselines.base import Baseline, BaselineOutput, Measurement
from diracdiff.baselines.bridge import BridgeMethod
from diracdiff.baselines.deepinv_prior import DiffUNetPrior
from diracdiff.baselines.diffusion import DDRM, DPS, DiffPIR, PiGDM
from diracdiff.baselines.levels import DDPMLevels
from diracdiff.baselines.pmrf import PMRF, PosteriorMeanFlow, Regression
from diracdiff.baselines.prior import NetworkPrior, Prior, load_prior

__all__ = [
    "ADMMTV",
    "DDRM",
    "DPS",
    "PMRF",
    "Baseline",
    "BaselineOutput",
    "BridgeMethod",
    "DDPMLevels",
    "DiffPIR",
    "DiffUNetPrior",
    "Measurement",
    "NetworkPrior",
    "PiGDM",
    "PnPADMM",
    "PosteriorMeanFlow",
    "Prior",
    "Regression",
    "load_prior",
]
