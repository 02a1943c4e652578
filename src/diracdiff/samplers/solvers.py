"""Solvers of the reverse process: each makes one step, from y_t to y_s, s < t.

With x_hat, A and sigma at time t, the score is (A_t(x_hat) - y_t) / sigma_t^2 (paper, Eq. 11), R the estimate of
A_s(x) - A_t(x), and eta is 1 for the SDE, 0 for the probability-flow ODE.
"""

from abc import ABC, abstractmethod

from torch import Tensor

from diracdiff.samplers.increment import Increment, LookAhead
from diracdiff.samplers.reverse_process import Prediction, ReverseProcess
from diracdiff.utils.validate import check_option


class Solver(ABC):
    """One step of the reverse process."""

    def check(self, increment: Increment, eta: float) -> None:  # noqa: B027
        """Raise ValueError if the solver does not suit the increment or the eta of a sampler."""

    @abstractmethod
    def __call__(self, reverse: ReverseProcess, y: Tensor, prediction: Prediction, t: float, s: float) -> Tensor:
        """Return y_s, (B, C, H, W), for y = y_t and the network's output for it, s < t."""


class Euler(Solver):
    """Euler-Maruyama steps, the paper's (Eq. 7); for eta = 0 those of the ODE (Song et al. 2021, Eq. 13).

    y_s = y_t + R + (1 + eta^2) / 2 (sigma_t^2 - sigma_s^2) score + eta sqrt(sigma_t^2 - sigma_s^2) z.
    First order; one network call a step.
    """

    def __call__(self, reverse: ReverseProcess, y: Tensor, prediction: Prediction, t: float, s: float) -> Tensor:
        return reverse.diffuse(
            y + reverse.reverse_increment(y, prediction, t, s), reverse.variance_decrement(y, t, s).sqrt()
        )


class Exponential(Solver):
    """Steps that are exact where x_hat is constant.

    y_s = A_s x_hat + decay (y_t - A_t x_hat) + eta sigma_s sqrt(1 - r^2) z, r = sigma_s / sigma_t.
    decay = r sqrt(1 - eta^2 (1 - r^2)) is r^2 for the SDE (ancestral steps, those of DDPM for A = identity) and r for
    the ODE (DDIM). If x_hat were x, y_s would have its exact distribution for every step size; Euler's steps add more
    noise, by sigma_t / sigma_s. First order; one network call a step.
    """

    def __call__(self, reverse: ReverseProcess, y: Tensor, prediction: Prediction, t: float, s: float) -> Tensor:
        before, after = reverse.process.sigma(t, y), reverse.process.sigma(s, y)
        ratio = after / before
        fresh = (1 - ratio**2).clamp(min=0)
        decay = ratio * (1 - reverse.eta**2 * fresh).sqrt()
        # For a score without guidance, (A_t x_hat - y) / sigma_t^2, this is the formula above.
        y = y + reverse.reverse_increment(y, prediction, t, s, (1 - decay) * before**2)
        return reverse.diffuse(y, after * fresh.sqrt())


class Heun(Solver):
    """The mean of the changes of an Euler step with x_hat at (y_t, t) and with x_hat at its end, (y_s, s).

    Second order for the ODE with look-ahead; two network calls a step (Karras et al. 2022, Algorithm 1).
    """

    def check(self, increment: Increment, eta: float) -> None:
        if eta > 0 or type(increment) is not LookAhead:
            raise ValueError(
                "Heun's steps are of second order for the ODE with look-ahead only: use eta=0 and the "
                "increment look_ahead, or Euler's steps"
            )

    def __call__(self, reverse: ReverseProcess, y: Tensor, prediction: Prediction, t: float, s: float) -> Tensor:
        change = reverse.reverse_increment(y, prediction, t, s)
        corrected = reverse.predict(y + change, s)
        return y + (change + reverse.reverse_increment(y + change, corrected, t, s, at=s)) / 2


class Multistep(Exponential):
    """An exponential step with x_hat at its middle, extrapolated through the last two network calls.

    For A_t the identity this is DPM-Solver++(2M) (Lu et al. 2022), and its SDE form for eta > 0. Second order for the
    ODE; the first step is an exponential one. One network call a step.

    Args:
        variable: in which x_hat is taken to be linear and the middle is meant: "time" or "log_sigma".
    """

    def __init__(self, variable: str = "time"):
        check_option(("time", "log_sigma"), variable=variable)
        self.variable = variable

    def __call__(self, reverse: ReverseProcess, y: Tensor, prediction: Prediction, t: float, s: float) -> Tensor:
        if reverse.previous_call is not None:
            earlier, (x_hat, _) = reverse.previous_call
            here, there, before = (self._variable(reverse, y, time) for time in (t, s, earlier))
            weight = (there - here) / (here - before) / 2
            prediction = prediction._replace(x_hat=prediction.x_hat + weight * (prediction.x_hat - x_hat))
        return super().__call__(reverse, y, prediction, t, s)

    def _variable(self, reverse: ReverseProcess, y: Tensor, t: float) -> Tensor:
        return y.new_tensor(t) if self.variable == "time" else reverse.process.sigma(t, y).log()
