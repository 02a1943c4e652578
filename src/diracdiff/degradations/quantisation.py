"""Colour quantisation with smooth steps between the levels."""

import math

import torch
from torch import Tensor

from diracdiff.degradations.base import REFERENCE_SIZE, Degradation
from diracdiff.degradations.severity import Severity
from diracdiff.utils.validate import check_count

EPSILON = 1e-6


class ColourQuantisation(Degradation):
    """Smooth quantisation A_t(x) = (k + sign(d) |2 d|^p / 2) / (levels - 1), (levels - 1) x = k + d, |d| <= 1/2.

    k is an integer. The severity is the exponent p, at least 1. It is the identity at p = 1 and approaches hard
    quantisation for p to infinity. The map of a pixel value is increasing and differentiable, also outside [0, 1]. Its
    slope is 0 at a level and p halfway between two levels. The transition from p_s to p_t is the same map with exponent
    p_t / p_s.

    Args:
        severity: exponent p over t, at least 1.
        image_size: side of the training images in pixels, not used.
        levels: number of levels in [0, 1] including 0 and 1, at least 2. 4 levels are 2 bits per channel.

    Raises:
        ValueError: if an argument is out of range.
    """

    linear = False
    in_pixels = False
    limits = (1.0, math.inf)

    def __init__(self, severity: Severity, image_size: int = REFERENCE_SIZE, levels: int = 4):
        super().__init__(severity, image_size)
        check_count(levels, "levels", 2)
        self.levels = levels

    def apply(self, x: Tensor, severity: Tensor) -> Tensor:
        scaled = (self.levels - 1) * x
        distance = scaled - torch.round(scaled)
        exponent = severity.to(x.dtype).reshape(-1, 1, 1, 1) - 1
        # Powers below 1 have no derivative at 0, and pixels at the levels 0 and 1 are frequent.
        shrinkage = (2 * distance.abs()).clamp(min=EPSILON) ** exponent
        return x + distance * (shrinkage - 1) / (self.levels - 1)
