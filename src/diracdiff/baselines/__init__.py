"""Comparison methods: each restores the same measurements through one signature, see `diracdiff.baselines.base`."""

from diracdiff.baselines.base import Baseline, Restored
from diracdiff.baselines.bench import Calibration, GaussianBench, LateNoise
from diracdiff.baselines.ddrm import DDRM
from diracdiff.baselines.diffpir import DiffPIR
from diracdiff.baselines.dps import DPS
from diracdiff.baselines.levels import DDPMLevels, KarrasLevels, Levels
from diracdiff.baselines.operator import Operator
from diracdiff.baselines.pigdm import PiGDM
from diracdiff.baselines.prior import GaussianPrior, NetworkPrior, Prior

__all__ = [
    "DDRM",
    "DPS",
    "Baseline",
    "Calibration",
    "DDPMLevels",
    "DiffPIR",
    "GaussianBench",
    "GaussianPrior",
    "KarrasLevels",
    "LateNoise",
    "Levels",
    "NetworkPrior",
    "Operator",
    "PiGDM",
    "Prior",
    "Restored",
]
