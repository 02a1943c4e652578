"""The reverse process: one loop over time that yields its states, and the choices it is made of."""

from diracdiff.samplers.guidance import Guidance
from diracdiff.samplers.increment import LookAhead
from diracdiff.samplers.noise import ImageNoise
from diracdiff.samplers.reverse import ReverseSampler, State

__all__ = ["Guidance", "ImageNoise", "LookAhead", "ReverseSampler", "State"]
