"""Networks, the denoiser they make, and oracles that need no training."""

from diracdiff.models.denoiser import Denoiser, Padded
from diracdiff.models.dncnn import DnCNN
from diracdiff.models.ncsnpp import NCSNpp
from diracdiff.models.oracle import FiniteDataOracle, GaussianFieldOracle, GaussianOracle

__all__ = ["Denoiser", "DnCNN", "FiniteDataOracle", "GaussianFieldOracle", "GaussianOracle", "NCSNpp", "Padded"]
