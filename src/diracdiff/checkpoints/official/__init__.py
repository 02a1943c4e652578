"""The checkpoints that the authors of DiracDiffusion released, in our terms."""

from diracdiff.checkpoints.official.network import ARCHITECTURES, official_names, translate
from diracdiff.checkpoints.official.settings import (
    architecture,
    build_process,
    conditioning,
    hyper_parameters,
    look_ahead,
    settle,
)
from diracdiff.checkpoints.official.weights import network_weights

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
