"""PiGDM: pseudoinverse-guided diffusion (Song et al. 2023)."""

import torch
from torch import Tensor

from diracdiff.baselines.base import Baseline
from diracdiff.baselines.levels import DDPMLevels, Levels, check_steps
from diracdiff.baselines.prior import Prior
from diracdiff.degradations import Operator
from diracdiff.samplers import ImageNoise

WEIGHTS = ("score", "adaptive")


class PiGDM(Baseline):
    """Pseudoinverse-guided diffusion models (Song et al. 2023), in the variance-exploding form.

    Under x | x_sigma ~ N(x_hat, r^2) the score of p(y | x_sigma) is, J the Jacobian of x_hat = prior(x_sigma, sigma),

        g = J^T A^T (r^2 A A^T + sigma_y^2)^-1 (y - A x_hat), r^2 = sigma^2 spread^2 / (sigma^2 + spread^2)

    A step of DDIM follows (Song et al. 2021, Eq. 12), down to the next level sigma', at last 0:
    x <- x_hat + c_2 (x - x_hat) / sigma + c_1 z + w g,
    c_1 = eta sigma' sqrt(1 - (sigma' / sigma)^2), c_2 = sqrt(sigma'^2 - c_1^2).

    Weight "score": w = min(sigma (sigma - c_2), r^2), the first of which is the same step with the guided score in
    place of the prior's. J may be much larger than the r^2 / sigma^2 of the assumption, up to 1: where there is much
    noise, long steps with that weight would diverge. Those with r^2 cannot. Weight "adaptive": w = r^2 always.

    Args:
        steps: number of levels, and of denoiser calls; at least 2.
        eta: share of fresh noise, in [0, 1]: 0 is the ODE, 1 the SDE.
        spread: standard deviation of the data in units of the [0, 1] range; positive. 0.5 is the paper's 1 on [-1, 1].
        weight: "score" or "adaptive".
        levels: where the levels lie.
    """

    needs_prior = True

    def __init__(
        self,
        steps: int = 100,
        eta: float = 1.0,
        spread: float = 0.5,
        weight: str = "score",
        levels: Levels | None = None,
    ):
        if not 0 <= eta <= 1:
            raise ValueError(f"eta must lie in [0, 1], got {eta}")
        if not spread > 0:
            raise ValueError(f"spread must be positive, in units of the [0, 1] image range, got {spread}")
        if weight not in WEIGHTS:
            raise ValueError(f"weight must be one of {WEIGHTS}, got {weight!r}")
        self.steps, self.eta, self.spread = check_steps(steps), float(eta), float(spread)
        self.weight = weight
        self.levels = levels if levels is not None else DDPMLevels()

    def restore(self, y: Tensor, operator: Operator, sigma: Tensor, prior: Prior | None, noise: ImageNoise) -> Tensor:
        assert prior is not None
        levels, variance = self.levels(self.steps, prior), (sigma**2).expand(len(y), 1, 1, 1).flatten()
        x = 0.5 + levels[0] * noise.normal(y.shape[1:], y.dtype)
        for level, following in zip(levels, [*levels[1:], 0.0], strict=True):
            spread = level**2 * self.spread**2 / (level**2 + self.spread**2)
            with torch.enable_grad():
                x = x.detach().requires_grad_()
                x_hat = prior(x, y.new_tensor(level))
                residual = y - operator(x_hat.detach())
                with torch.no_grad():
                    direction = operator.adjoint(operator.whiten(residual, spread, variance))
                (score,) = torch.autograd.grad(x_hat, x, direction)
            x, x_hat = x.detach(), x_hat.detach()
            fresh = self.eta * following * (1 - (following / level) ** 2) ** 0.5
            old = (following**2 - fresh**2) ** 0.5
            weight = min(level * (level - old), spread) if self.weight == "score" else spread
            x = x_hat + old / level * (x - x_hat) + weight * score
            if fresh > 0:
                x = x + fresh * noise.normal(y.shape[1:], y.dtype)
        return x
