"""Networks and the denoiser."""

from diracdiff.models.denoiser import Denoiser, Network
from diracdiff.models.dncnn import DnCNN
from diracdiff.models.ncsnpp import NCSNpp
from diracdiff.models.preconditioning import OperatorPreconditioning

__all__ = ["Denoiser", "DnCNN", "NCSNpp", "Network", "OperatorPreconditioning"]
