"""Colour quantisation: tones gather softly at a few levels."""

import math

import torch
from torch import Tensor

from diracdiff.degradations.base import REFERENCE_SIZE, Degradation
from diracdiff.degradations.severity import Severity
from diracdiff.utils.validate import check_count

EPSILON = 1e-6


class ColourQuantisation(Degradation):
    """A_t(x) = (k + sign(d) |2 d|^p / 2) / (levels - 1), where (levels - 1) x = k + d, k an integer, |d| <= 1/2.

    The severity is the exponent p, at least 1: the identity at p = 1, a hard staircase for p to infinity. The map of
    a value is increasing with slopes from 0 (at a level) to p (between two), and differentiable. An exponent p_t / p_s
    after p_s makes p_t, so the same formula is the transition. The staircase continues outside [0, 1].

    Args:
        severity: the exponent.
        image_size: side in pixels of the training images; not used.
        levels: number of levels in [0, 1], 0 and 1 among them; 4 are 2 bits per channel.
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
        # The power of 0 has no derivative where the exponent is below 1, and the levels 0 and 1 are common.
        shrinkage = (2 * distance.abs()).clamp(min=EPSILON) ** exponent
        return x + distance * (shrinkage - 1) / (self.levels - 1)
