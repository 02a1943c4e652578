"""The reverse process: one loop over time that yields its states, and the choices it is made of."""

from diracdiff.samplers.grid import AdaptiveGrid, PowerGrid, UniformGrid
from diracdiff.samplers.guidance import Guidance
from diracdiff.samplers.increment import (
    ExactLookBack,
    LookAhead,
    LookBack,
    PredictedIncrement,
    SmallLookAhead,
    SmallLookBack,
)
from diracdiff.samplers.noise import ImageNoise
from diracdiff.samplers.reverse import ReverseSampler, State

__all__ = [
    "AdaptiveGrid",
    "ExactLookBack",
    "Guidance",
    "ImageNoise",
    "LookAhead",
    "LookBack",
    "PowerGrid",
    "PredictedIncrement",
    "ReverseSampler",
    "SmallLookAhead",
    "SmallLookBack",
    "State",
    "UniformGrid",
]
