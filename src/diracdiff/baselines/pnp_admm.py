"""Plug-and-play: ADMM with a denoiser in the place of a proximal map."""

import math

import torch
from torch import Tensor

from diracdiff.baselines.base import Baseline
from diracdiff.baselines.prior import Prior
from diracdiff.degradations import Operator
from diracdiff.samplers import ImageNoise
from diracdiff.utils.errors import UserError


class PnPADMM(Baseline):
    """Plug-and-play ADMM (Venkatakrishnan et al. 2013; Chan et al. 2016, Section II) with a constant penalty.

    From z = A^T y and u = 0: x = argmin ||A x - y||^2 + penalty ||x - z + u||^2, z = x_hat(x + u, level),
    u = u + x - z; the result is z. Where x_hat is the proximal map of level^2 R, the fixed point is
    argmin 1/2 ||A x - y||^2 + penalty level^2 R(x): the posterior's mode for penalty = sigma^2 / level^2.

    Args:
        penalty: positive.
        steps: iterations, one call of the denoiser each.
        level: of the noise that the denoiser removes, in units of the [0, 1] range; None for the level of a denoiser
            that knows one only.
        denoiser: takes the place of the common prior, such as a `NetworkPrior` of a DnCNN; None: the prior that is
            given with the measurements.
    """

    denoiser: Prior | None

    def __init__(
        self, penalty: float = 0.25, steps: int = 20, level: float | None = 0.1, denoiser: Prior | None = None
    ):
        if not 0 < penalty < math.inf:
            raise ValueError(f"penalty must be positive, got {penalty}")
        if int(steps) != steps or steps < 1:
            raise ValueError(f"steps must be an integer of at least 1, got {steps}")
        if level is not None and not 0 < level < math.inf:
            raise ValueError(f"level must be positive, in units of the [0, 1] range, got {level}")
        if level is None and denoiser is not None:
            _only_level(denoiser)
        self.penalty, self.steps = float(penalty), int(steps)
        self.level = None if level is None else float(level)
        self.denoiser = denoiser
        self.needs_prior = denoiser is None

    def check(self, operator: Operator, prior: Prior | None) -> None:
        super().check(operator, prior)
        network = self.denoiser if self.denoiser is not None else prior
        if self.level is None and network is not None:
            _only_level(network)

    def restore(self, y: Tensor, operator: Operator, sigma: Tensor, prior: Prior | None, noise: ImageNoise) -> Tensor:
        assert prior is not None
        level = _only_level(prior) if self.level is None else self.level
        z = operator.adjoint(y)
        u = torch.zeros_like(z)
        for _ in range(self.steps):
            x = operator.prox(z - u, y, self.penalty)
            z = prior(x + u, level)
            u = u + x - z
        return z


def _only_level(denoiser: Prior) -> float:
    if denoiser.sigma_min != denoiser.sigma_max:
        raise UserError(
            f"PnPADMM needs a level, since its denoiser knows more than one, from {denoiser.sigma_min:g} to "
            f"{denoiser.sigma_max:g}: give level=0.1"
        )
    return denoiser.sigma_min
