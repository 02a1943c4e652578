"""Euler-Maruyama steps, the paper's."""

from torch import Tensor

from diracdiff.samplers.step import Step
from diracdiff.samplers.walk import Prediction, Walk


class Euler(Step):
    """y_s = y_t + R + (1 + eta^2) / 2 (sigma_t^2 - sigma_s^2) score + eta sqrt(sigma_t^2 - sigma_s^2) z.

    eta, the stochasticity, is 1 for the paper's steps (Eq. 7) and 0 for those of the probability-flow ODE (Song et al.
    2021, Eq. 13). First order; one network call a step.
    """

    def __call__(self, walk: Walk, y: Tensor, prediction: Prediction, t: float, s: float) -> Tensor:
        return walk.diffuse(y + walk.drift(y, prediction, t, s), walk.removed(y, t, s).sqrt())
