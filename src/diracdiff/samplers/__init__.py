"""Samplers of the reverse process, with solvers, increments, guidance, time grids and bridges."""

from diracdiff.samplers.bridges import I2SB, Bridge, BridgeSampler, InDI, Palette
from diracdiff.samplers.grid import AdaptiveGrid, PowerGrid, UniformGrid
from diracdiff.samplers.guidance import Guidance
from diracdiff.samplers.increment import (
    ExactLookBack,
    Increment,
    LookAhead,
    LookBack,
    NetworkIncrement,
    SmallLookAhead,
    SmallLookBack,
)
from diracdiff.samplers.reverse_process import OUTPUTS, ImageNoise, Prediction, ReverseProcess, State
from diracdiff.samplers.sampler import ReverseSampler
from diracdiff.samplers.solvers import Euler, Exponential, Heun, Multistep, Solver

__all__ = [
    "I2SB",
    "OUTPUTS",
    "AdaptiveGrid",
    "Bridge",
    "BridgeSampler",
    "Euler",
    "ExactLookBack",
    "Exponential",
    "Guidance",
    "Heun",
    "ImageNoise",
    "InDI",
    "Increment",
    "LookAhead",
    "LookBack",
    "Multistep",
    "NetworkIncrement",
    "Palette",
    "PowerGrid",
    "Prediction",
    "ReverseProcess",
    "ReverseSampler",
    "SmallLookAhead",
    "SmallLookBack",
    "Solver",
    "State",
    "UniformGrid",
]
