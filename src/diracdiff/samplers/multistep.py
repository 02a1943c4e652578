"""Exact steps of second order, without a second network call."""

from torch import Tensor

from diracdiff.samplers.exponential import Exponential
from diracdiff.samplers.walk import Prediction, Walk

VARIABLES = ("time", "log_sigma")


class Multistep(Exponential):
    """An exact step with x_hat at its middle, extrapolated through the last two calls.

    For A_t the identity this is DPM-Solver++(2M) (Lu et al. 2022), and its SDE form for eta > 0. Second order for the
    ODE; the first step of a walk is an exponential one. One network call a step.

    Args:
        variable: in which x_hat is taken to be linear, and the middle lies: "time" or "log_sigma".
    """

    def __init__(self, variable: str = "time"):
        if variable not in VARIABLES:
            raise ValueError(f"variable must be one of {VARIABLES}, got {variable!r}")
        self.variable = variable

    def __call__(self, walk: Walk, y: Tensor, prediction: Prediction, t: float, s: float) -> Tensor:
        if walk.earlier is not None:
            earlier, x_hat = walk.earlier
            here, there, before = (self._variable(walk, y, time) for time in (t, s, earlier))
            share = (there - here) / (here - before) / 2
            prediction = prediction._replace(x_hat=prediction.x_hat + share * (prediction.x_hat - x_hat))
        return super().__call__(walk, y, prediction, t, s)

    def _variable(self, walk: Walk, y: Tensor, t: float) -> Tensor:
        return y.new_tensor(t) if self.variable == "time" else walk.process.sigma(t, y).log()
