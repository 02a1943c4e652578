"""Problems with solutions in closed form: exact denoisers, Gaussian images, and a benchmark of samplers."""

from diracdiff.oracles.bench import Calibration, GaussianBench, LateNoise
from diracdiff.oracles.oracles import (
    ConditionalFieldOracle,
    FiniteDataOracle,
    GaussianFieldOracle,
    GaussianOracle,
    GaussianPrior,
)

__all__ = [
    "Calibration",
    "ConditionalFieldOracle",
    "FiniteDataOracle",
    "GaussianBench",
    "GaussianFieldOracle",
    "GaussianOracle",
    "GaussianPrior",
    "LateNoise",
]
