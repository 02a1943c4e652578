"""DDRM: denoising diffusion in the singular basis of A (Kawar et al. 2022)."""

import torch
from torch import Tensor

from diracdiff.baselines.base import Baseline
from diracdiff.baselines.levels import DDPMLevels, Levels, check_steps
from diracdiff.baselines.prior import Prior
from diracdiff.degradations import Operator
from diracdiff.samplers import ImageNoise


class DDRM(Baseline):
    """Denoising diffusion restoration models (Kawar et al. 2022, Eq. 7 and 8), in the variance-exploding form.

    With A = U S V^T, every coefficient of V^T x is walked by itself. Let h be that of x_hat = prior(x_sigma, sigma), w
    that of U^T y, s its singular value, sigma' < sigma the next level. The next coefficient is normal:

    s = 0:                 mean h + sqrt(1 - eta^2) sigma' (V^T x_sigma - h) / sigma,  std eta sigma'
    sigma' < sigma_y / s:  mean h + sqrt(1 - eta^2) sigma' (w - s h) / sigma_y,        std eta sigma'
    sigma' >= sigma_y / s: mean (1 - eta_b) h + eta_b w / s,         variance sigma'^2 - eta_b^2 sigma_y^2 / s^2

    and the first one, at the highest level, is N(w / s, sigma^2 - sigma_y^2 / s^2); N(grey, sigma^2) where
    sigma_y / s exceeds even that level. The result is x_hat of the last level: the paper's step to sigma' = 0.

    A restoration in few steps, no posterior sampler: eta is the share of fresh noise in *every* step, however short,
    and x_hat has less variance than x; so more steps lose more variance (see `tests/test_exact_posterior.py`).

    Args:
        steps: number of levels, and of denoiser calls; at least 2.
        eta: share of fresh noise where y says less than x_sigma, in [0, 1].
        eta_b: weight of y where it says more, in [0, 1].
        levels: where the levels lie.
    """

    needs_prior = True
    needs_svd = True

    def __init__(self, steps: int = 20, eta: float = 0.85, eta_b: float = 1.0, levels: Levels | None = None):
        for name, value in (("eta", eta), ("eta_b", eta_b)):
            if not 0 <= value <= 1:
                raise ValueError(f"{name} must lie in [0, 1], got {value}")
        self.steps, self.eta, self.eta_b = check_steps(steps), float(eta), float(eta_b)
        self.levels = levels if levels is not None else DDPMLevels()

    def restore(self, y: Tensor, operator: Operator, sigma: Tensor, prior: Prior | None, noise: ImageNoise) -> Tensor:
        assert prior is not None and operator.svd is not None
        svd, levels = operator.svd, self.levels(self.steps, prior)
        s, w = svd.values, svd.ut(y)
        keep = (1 - self.eta**2) ** 0.5

        def normal() -> Tensor:
            return noise.normal(y.shape[1:], y.dtype)

        def informed(level: float) -> tuple[Tensor, Tensor, Tensor]:
            """Where sigma_y / s <= level; and w / s and sigma_y / s there, 0 elsewhere."""
            where = level * s >= sigma
            safe = torch.where(where, s, 1)
            return where, torch.where(where, w / safe, 0), torch.where(where, sigma / safe, 0)

        top = levels[0]
        where, target, spread = informed(top)
        start = torch.where(where, target, svd.vt(torch.full_like(y, 0.5)))
        coefficients = start + (top**2 - spread**2).clamp(min=0).sqrt() * normal()
        for level, following in zip(levels, [*levels[1:], None], strict=True):
            x_hat = prior(svd.v(coefficients), y.new_tensor(level))
            if following is None:
                break
            h = svd.vt(x_hat)
            where, target, spread = informed(following)
            direction = torch.where(s > 0, (w - s * h) / sigma, (coefficients - h) / level)
            mean = torch.where(where, h + self.eta_b * (target - h), h + keep * following * direction)
            variance = torch.where(where, following**2 - (self.eta_b * spread) ** 2, (self.eta * following) ** 2)
            coefficients = mean + variance.clamp(min=0).sqrt() * normal()
        return x_hat
