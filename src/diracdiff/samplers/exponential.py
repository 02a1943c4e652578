"""Steps that are exact where x_hat is constant."""

from torch import Tensor

from diracdiff.samplers.step import Step
from diracdiff.samplers.walk import Prediction, Walk


class Exponential(Step):
    """y_s = A_s x_hat + keep (y_t - A_t x_hat) + eta sigma_s sqrt(1 - r^2) z, r = sigma_s / sigma_t.

    keep = r sqrt(1 - eta^2 (1 - r^2)) is r^2 for the SDE (eta = 1, ancestral steps, those of DDPM for A = identity) and
    r for the probability-flow ODE (eta = 0, DDIM). If x_hat were x, y_s would have its law whatever the step; Euler's
    steps add more noise, by sigma_t / sigma_s. First order; one network call a step.
    """

    def __call__(self, walk: Walk, y: Tensor, prediction: Prediction, t: float, s: float) -> Tensor:
        before, after = walk.process.sigma(t, y), walk.process.sigma(s, y)
        ratio = after / before
        fresh = (1 - ratio**2).clamp(min=0)
        keep = ratio * (1 - walk.stochasticity**2 * fresh).sqrt()
        # For a score without guidance, (A_t x_hat - y) / sigma_t^2, this is the formula above.
        y = y + walk.change(y, prediction, t, s, (1 - keep) * before**2)
        return walk.diffuse(y, after * fresh.sqrt())
