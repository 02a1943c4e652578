"""The reverse process: one loop over time that yields its states, and the choices it is made of."""

from diracdiff.samplers.euler import Euler
from diracdiff.samplers.exponential import Exponential
from diracdiff.samplers.grid import AdaptiveGrid, PowerGrid, UniformGrid
from diracdiff.samplers.guidance import Guidance
from diracdiff.samplers.heun import Heun
from diracdiff.samplers.increment import (
    ExactLookBack,
    Increment,
    LookAhead,
    LookBack,
    NetworkIncrement,
    SmallLookAhead,
    SmallLookBack,
)
from diracdiff.samplers.multistep import Multistep
from diracdiff.samplers.noise import ImageNoise
from diracdiff.samplers.sampler import ReverseSampler
from diracdiff.samplers.step import Step
from diracdiff.samplers.walk import OUTPUTS, Prediction, State, Walk

__all__ = [
    "OUTPUTS",
    "AdaptiveGrid",
    "Euler",
    "ExactLookBack",
    "Exponential",
    "Guidance",
    "Heun",
    "ImageNoise",
    "Increment",
    "LookAhead",
    "LookBack",
    "Multistep",
    "NetworkIncrement",
    "PowerGrid",
    "Prediction",
    "ReverseSampler",
    "SmallLookAhead",
    "SmallLookBack",
    "State",
    "Step",
    "UniformGrid",
    "Walk",
]
