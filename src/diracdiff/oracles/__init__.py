"""What is known in closed form: denoisers that are exactly right, Gaussian images, and a bench for samplers."""

from diracdiff.oracles.bench import Calibration, GaussianBench, LateNoise
from diracdiff.oracles.gaussian_prior import GaussianPrior
from diracdiff.oracles.oracles import ConditionalFieldOracle, FiniteDataOracle, GaussianFieldOracle, GaussianOracle

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
