"""Solvers of the reverse process. A solver computes one step from y_t to y_s, s < t.

The score is (A_t(x_hat) - y_t) / sigma_t^2 (paper, Eq. 11). R is the estimate of the incremental reconstruction
A_s(x) - A_t(x). eta is 1 for the SDE and 0 for the probability-flow ODE.
"""

from abc import ABC, abstractmethod

from torch import Tensor

from diracdiff.samplers.increment import Increment, LookAhead
from diracdiff.samplers.reverse_process import Prediction, ReverseProcess


class Solver(ABC):
    """Base class of solvers of the reverse process."""

    def check(self, increment: Increment, eta: float) -> None:  # noqa: B027
        """Check that the solver suits the increment and the eta of a sampler.

        Raises:
            ValueError: if it does not.
        """

    @abstractmethod
    def __call__(self, reverse: ReverseProcess, y: Tensor, prediction: Prediction, t: float, s: float) -> Tensor:
        """Return y_s, (B, C, H, W).

        Args:
            reverse: reverse process.
            y: iterate y_t, (B, C, H, W).
            prediction: result of the network call for y_t.
            t: time before the step.
            s: time after the step, below t.
        """


class Euler(Solver):
    """Euler-Maruyama solver (paper, Eq. 7). For eta = 0 it solves the ODE (Song et al. 2021, Eq. 13).

    y_s = y_t + R + (1 + eta^2) / 2 (sigma_t^2 - sigma_s^2) score + eta sqrt(sigma_t^2 - sigma_s^2) z.
    First order, one network call per step.
    """

    def __call__(self, reverse: ReverseProcess, y: Tensor, prediction: Prediction, t: float, s: float) -> Tensor:
        return reverse.diffuse(
            y + reverse.reverse_increment(y, prediction, t, s), reverse.variance_decrement(y, t, s).sqrt()
        )


class Exponential(Solver):
    """Exponential solver, exact for constant x_hat.

    y_s = A_s x_hat + decay (y_t - A_t x_hat) + eta sigma_s sqrt(1 - r^2) z with r = sigma_s / sigma_t and
    decay = r sqrt(1 - eta^2 (1 - r^2)).

    For the SDE, decay = r^2: ancestral steps, those of DDPM if A_t is the identity. For the ODE, decay = r: DDIM. If
    x_hat is the clean image, y_s has the exact distribution for every step size. The noise of Euler-Maruyama steps is
    larger by the factor sigma_t / sigma_s. First order, one network call per step.
    """

    def __call__(self, reverse: ReverseProcess, y: Tensor, prediction: Prediction, t: float, s: float) -> Tensor:
        before, after = reverse.process.sigma(t, y), reverse.process.sigma(s, y)
        ratio = after / before
        complement = (1 - ratio**2).clamp(min=0)
        decay = ratio * (1 - reverse.eta**2 * complement).sqrt()
        # The increment and the score include guidance. Without it, this is the formula of the class.
        y = y + reverse.reverse_increment(y, prediction, t, s, (1 - decay) * before**2)
        return reverse.diffuse(y, after * complement.sqrt())


class Heun(Solver):
    """Heun's solver (Karras et al. 2022, Algorithm 1): mean of the Euler increments at (y_t, t) and (y_s, s).

    Second order for the ODE with look-ahead, two network calls per step.
    """

    def check(self, increment: Increment, eta: float) -> None:
        if eta > 0 or type(increment) is not LookAhead:
            rule = "must have eta=0 and increment=look_ahead, for which it is of second order"
            raise ValueError(f"solver=heun: {rule}. Use them, or solver=euler.")

    def __call__(self, reverse: ReverseProcess, y: Tensor, prediction: Prediction, t: float, s: float) -> Tensor:
        first = reverse.reverse_increment(y, prediction, t, s)
        second = reverse.reverse_increment(y + first, reverse.predict(y + first, s), t, s, at=s)
        return y + (first + second) / 2


class Multistep(Exponential):
    """Multistep solver: exponential step with x_hat at the middle of the step.

    x_hat is extrapolated linearly in time through the last two network calls. If A_t is the identity, this is
    DPM-Solver++(2M) of Lu et al. 2022 with time in place of log SNR, or its SDE form for eta > 0. The first step is an
    exponential step. Second order for the ODE, one network call per step.
    """

    def __call__(self, reverse: ReverseProcess, y: Tensor, prediction: Prediction, t: float, s: float) -> Tensor:
        if reverse.previous_call is not None:
            t_previous, (x_hat, _) = reverse.previous_call
            weight = (s - t) / (t - t_previous) / 2
            prediction = prediction._replace(x_hat=prediction.x_hat + weight * (prediction.x_hat - x_hat))
        return super().__call__(reverse, y, prediction, t, s)
