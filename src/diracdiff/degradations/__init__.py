"""Deterministic degradation processes A_t: identity at t = 0, the measurement's operator at t = 1."""

from diracdiff.degradations.base import Degradation
from diracdiff.degradations.blur import GaussianBlur
from diracdiff.degradations.inpainting import BoxInpainting, GaussianInpainting
from diracdiff.degradations.severity import LinearSeverity, TabulatedSeverity

__all__ = [
    "BoxInpainting",
    "Degradation",
    "GaussianBlur",
    "GaussianInpainting",
    "LinearSeverity",
    "TabulatedSeverity",
]
