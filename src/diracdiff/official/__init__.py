"""The checkpoints that the authors of DiracDiffusion released, in our terms."""

from diracdiff.official.network import ARCHITECTURES, official_names, translate
from diracdiff.official.settings import (
    architecture,
    build_process,
    conditioning,
    hyper_parameters,
    look_ahead,
    settle,
)
from diracdiff.official.weights import network_weights

__all__ = [
    "ARCHITECTURES",
    "architecture",
    "build_process",
    "conditioning",
    "hyper_parameters",
    "look_ahead",
    "network_weights",
    "official_names",
    "settle",
    "translate",
]
