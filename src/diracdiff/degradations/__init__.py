"""Deterministic degradation processes A_t, from the identity at t = 0 to the operator of the measurement at t = 1."""

from diracdiff.degradations.base import Degradation, Identity, PerImageDegradation
from diracdiff.degradations.blur import GaussianBlur
from diracdiff.degradations.fourier import FourierUndersampling
from diracdiff.degradations.freeform import FreeformInpainting
from diracdiff.degradations.inpainting import BoxInpainting, GaussianInpainting
from diracdiff.degradations.kernel_blur import KernelBlur
from diracdiff.degradations.motion_blur import MotionBlur
from diracdiff.degradations.operator import Operator
from diracdiff.degradations.quantisation import ColourQuantisation
from diracdiff.degradations.severity import LinearSeverity, TabulatedSeverity
from diracdiff.degradations.super_resolution import MultiScaleSuperResolution, SuperResolution
from diracdiff.degradations.svd import SVD

__all__ = [
    "SVD",
    "BoxInpainting",
    "ColourQuantisation",
    "Degradation",
    "FourierUndersampling",
    "FreeformInpainting",
    "GaussianBlur",
    "GaussianInpainting",
    "Identity",
    "KernelBlur",
    "LinearSeverity",
    "MotionBlur",
    "MultiScaleSuperResolution",
    "Operator",
    "PerImageDegradation",
    "SuperResolution",
    "TabulatedSeverity",
]
