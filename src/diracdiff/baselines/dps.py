"""DPS: diffusion posterior sampling (Chung et al. 2023)."""

import torch
from torch import Tensor

from diracdiff.baselines.base import Baseline
from diracdiff.baselines.levels import DDPMLevels, Levels, check_steps
from diracdiff.baselines.prior import Prior
from diracdiff.degradations import Operator
from diracdiff.samplers import ImageNoise

GUIDANCES = ("norm", "posterior")


class DPS(Baseline):
    """Diffusion posterior sampling (Chung et al. 2023, Algorithm 1), in the variance-exploding form.

    With x_hat = prior(x_i, sigma_i), i from the highest level down to sigma_0 = 0:
    x_{i-1} = x_hat + (sigma_{i-1} / sigma_i)^2 (x_i - x_hat) + sigma_{i-1} sqrt(1 - (sigma_{i-1} / sigma_i)^2) z + g.

    Guidance "norm", as published: u_{i-1} -= zeta d||y' - A' x_hat'|| / du_i for the chain u = sqrt(abar) (2 x - 1) on
    [-1, 1]. There y' = 2 y - 1 and x_hat' = 2 x_hat - 1, so the residual is twice ours; dx_i = du_i / (2 sqrt(abar_i)),
    so the gradient in u_i is that of ||y - A x_hat|| in x_i over sqrt(abar_i); and x_{i-1} moves by the step of u_{i-1}
    over 2 sqrt(abar_{i-1}). With abar = 1 / (1 + 4 sigma^2), for every image by itself:

        g = -zeta / 2 sqrt((1 + 4 sigma_i^2) (1 + 4 sigma_{i-1}^2)) d||y - A x_hat|| / dx_i

    Guidance "posterior": the step of the score of p(y | x_i) under x | x_i ~ N(x_hat, r_i^2), A of norm 1, no longer
    than a Jacobian of x_hat up to 1 allows:

        g = -zeta min(sigma_i^2 - sigma_{i-1}^2, r_i^2) / (2 (sigma_y^2 + r_i^2)) d||y - A x_hat||^2 / dx_i,
        r_i^2 = sigma_i^2 spread^2 / (sigma_i^2 + spread^2)

    It needs no tuning, zeta = 1; the best zeta of "norm" depends on the number of steps and pixels. The gradient runs
    through the denoiser: a step is a forward and a backward pass.

    Args:
        steps: number of levels, and of denoiser calls; at least 2.
        zeta: step size; not negative. Published for "norm", 1000 steps and 256 px: 0.3 (deblurring), 0.5 (inpainting).
            None: 0.3 for "norm", 1 for "posterior".
        guidance: "norm" or "posterior".
        spread: for "posterior", the standard deviation of the data that is left when its smooth parts are known, in
            units of the [0, 1] range; positive.
        levels: where the levels lie.
    """

    needs_prior = True
    needs_linear = False

    def __init__(
        self,
        steps: int = 1000,
        zeta: float | None = None,
        guidance: str = "norm",
        spread: float = 0.1,
        levels: Levels | None = None,
    ):
        if guidance not in GUIDANCES:
            raise ValueError(f"guidance must be one of {GUIDANCES}, got {guidance!r}")
        zeta = {"norm": 0.3, "posterior": 1.0}[guidance] if zeta is None else zeta
        if not zeta >= 0:
            raise ValueError(f"zeta must not be negative, got {zeta}")
        if not spread > 0:
            raise ValueError(f"spread must be positive, in units of the [0, 1] image range, got {spread}")
        self.steps, self.zeta, self.guidance = check_steps(steps), float(zeta), guidance
        self.spread = float(spread)
        self.levels = levels if levels is not None else DDPMLevels()

    def restore(self, y: Tensor, operator: Operator, sigma: Tensor, prior: Prior | None, noise: ImageNoise) -> Tensor:
        assert prior is not None
        levels = self.levels(self.steps, prior)
        x = 0.5 + levels[0] * noise.normal(y.shape[1:], y.dtype)
        for level, following in zip(levels, [*levels[1:], 0.0], strict=True):
            with torch.enable_grad():
                x = x.detach().requires_grad_()
                x_hat = prior(x, y.new_tensor(level))
                squared = (y - operator(x_hat)).square().flatten(1).sum(1)
                (gradient,) = torch.autograd.grad(squared.sum(), x)
            x, x_hat, squared = x.detach(), x_hat.detach(), squared.detach().reshape(-1, 1, 1, 1)
            ratio = (following / level) ** 2
            after = x_hat + ratio * (x - x_hat)
            if following > 0:
                after = after + following * (1 - ratio) ** 0.5 * noise.normal(y.shape[1:], y.dtype)
            x = after - self._step(level, following, squared, sigma) * gradient
        return x

    def _step(self, level: float, following: float, squared: Tensor, sigma: Tensor) -> Tensor:
        """The factor of the gradient of ||y - A x_hat||^2 = `squared`."""
        if self.guidance == "norm":
            scale: float = ((1 + 4 * level**2) * (1 + 4 * following**2)) ** 0.5
            return self.zeta / 2 * scale / (2 * squared.sqrt().clamp(min=1e-12))
        spread = level**2 * self.spread**2 / (level**2 + self.spread**2)
        return self.zeta * min(level**2 - following**2, spread) / (2 * (sigma**2 + spread))
