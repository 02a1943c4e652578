"""Heun's steps of the probability-flow ODE."""

from torch import Tensor

from diracdiff.samplers.increment import Increment, LookAhead
from diracdiff.samplers.step import Step
from diracdiff.samplers.walk import Prediction, Walk


class Heun(Step):
    """The mean of the changes of an Euler step with x_hat at (y_t, t) and with x_hat at its end, (y_s, s).

    Second order for the ODE (stochasticity 0) with look-ahead; two network calls a step (Karras et al. 2022, Alg. 1).
    """

    def check(self, increment: Increment, stochasticity: float) -> None:
        if stochasticity > 0 or type(increment) is not LookAhead:
            raise ValueError(
                "Heun's steps are of second order for the ODE with look-ahead only: use stochasticity=0 and the "
                "increment look_ahead, or Euler's steps"
            )

    def __call__(self, walk: Walk, y: Tensor, prediction: Prediction, t: float, s: float) -> Tensor:
        change = walk.drift(y, prediction, t, s)
        corrected = walk.predict(y + change, s)
        return y + (change + walk.drift(y + change, corrected, t, s, at=s)) / 2
