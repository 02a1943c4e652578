"""Networks, and the denoiser they make."""

from diracdiff.models.denoiser import Denoiser
from diracdiff.models.dncnn import DnCNN
from diracdiff.models.ncsnpp import NCSNpp
from diracdiff.models.network import Network, execute
from diracdiff.models.preconditioning import OperatorPreconditioning

__all__ = ["Denoiser", "DnCNN", "NCSNpp", "Network", "OperatorPreconditioning", "execute"]
