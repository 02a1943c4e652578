"""Restoration with a diffusion prior: DDRM, DiffPIR, DPS and PiGDM.

They have the form x_sigma = x + sigma z, and call the denoiser once at every noise level of `levels`.
Randomness follows from the images' seeds.
"""

from itertools import pairwise

import torch
from torch import Tensor

from diracdiff.baselines.base import Baseline, Counted
from diracdiff.baselines.levels import DDPMLevels
from diracdiff.degradations import Operator
from diracdiff.samplers import ImageNoise
from diracdiff.utils.validate import check_between, check_count, check_option, check_positive


class DiffusionBaseline(Baseline):
    """A method that denoises along decreasing noise levels.

    Args:
        num_steps: number of levels, at least 2.
        levels: their placement; those of DDPM by default.
    """

    needs_prior = True

    def __init__(self, num_steps: int, levels: DDPMLevels | None):
        check_count(num_steps, "num_steps", 2)
        self.num_steps, self.levels = num_steps, levels if levels is not None else DDPMLevels()

    def begin(self, y: Tensor, prior: Counted, noise: ImageNoise) -> tuple[list[float], Tensor]:
        """Return the levels, and x at the highest one: noise around grey."""
        levels = self.levels(self.num_steps, prior)
        return levels, 0.5 + levels[0] * noise.normal(y.shape[1:], y.dtype)


class DDRM(DiffusionBaseline):
    """Denoising diffusion restoration models (Kawar et al. 2022, Eq. 7 and 8).

    With A = U S V^T, every coefficient of V^T x is sampled separately. Let h be that of x_hat = prior(x_sigma, sigma),
    w that of U^T y, s its singular value, sigma' < sigma the next level. The next coefficient is normal:

    s = 0:                 mean h + sqrt(1 - eta^2) sigma' (V^T x_sigma - h) / sigma,  std eta sigma'
    sigma' < sigma_y / s:  mean h + sqrt(1 - eta^2) sigma' (w - s h) / sigma_y,        std eta sigma'
    sigma' >= sigma_y / s: mean (1 - eta_b) h + eta_b w / s,         variance sigma'^2 - eta_b^2 sigma_y^2 / s^2

    and the first one, at the highest level, is N(w / s, sigma^2 - sigma_y^2 / s^2); N(grey, sigma^2) where
    sigma_y / s exceeds even that level. The result is x_hat of the last level: the paper's step to sigma' = 0.

    It is no posterior sampler: eta is the fraction of fresh noise in *every* step, however short, so more steps lose
    more variance.

    Args:
        num_steps: see `DiffusionBaseline`.
        eta: fraction of fresh noise where y is less informative than x_sigma, in [0, 1].
        eta_b: weight of y where it is more informative, in [0, 1].
        levels: see `DiffusionBaseline`.
    """

    needs_svd = True

    def __init__(self, num_steps: int = 20, eta: float = 0.85, eta_b: float = 1.0, levels: DDPMLevels | None = None):
        super().__init__(num_steps, levels)
        check_between(0, 1, eta=eta, eta_b=eta_b)
        self.eta, self.eta_b = float(eta), float(eta_b)

    def restore(self, y: Tensor, operator: Operator, sigma: Tensor, prior: Counted, noise: ImageNoise) -> Tensor:
        assert operator.svd is not None
        svd, levels = operator.svd, self.levels(self.num_steps, prior)
        s, w = svd.values, svd.ut(y)
        keep = (1 - self.eta**2) ** 0.5

        def informed(level: float) -> tuple[Tensor, Tensor, Tensor]:
            """Return where sigma_y / s <= level; and w / s and sigma_y / s there, 0 elsewhere."""
            where = level * s >= sigma
            safe = torch.where(where, s, 1)
            return where, torch.where(where, w / safe, 0), torch.where(where, sigma / safe, 0)

        where, target, spread = informed(levels[0])
        start = torch.where(where, target, svd.vt(torch.full_like(y, 0.5)))
        z = noise.normal(y.shape[1:], y.dtype)
        coefficients = start + (levels[0] ** 2 - spread**2).clamp(min=0).sqrt() * z
        for level, following in pairwise(levels):
            h = svd.vt(prior(svd.v(coefficients), y.new_tensor(level)))
            where, target, spread = informed(following)
            direction = torch.where(s > 0, (w - s * h) / sigma, (coefficients - h) / level)
            mean = torch.where(where, h + self.eta_b * (target - h), h + keep * following * direction)
            variance = torch.where(where, following**2 - (self.eta_b * spread) ** 2, (self.eta * following) ** 2)
            coefficients = mean + variance.clamp(min=0).sqrt() * noise.normal(y.shape[1:], y.dtype)
        return prior(svd.v(coefficients), y.new_tensor(levels[-1]))


class DiffPIR(DiffusionBaseline):
    """Denoising diffusion models for plug-and-play restoration (Zhu et al. 2023, Algorithm 1).

    At a level sigma, with the next one sigma':
    x_hat = prior(x, sigma)
    x_0 = argmin ||A x_0 - y||^2 + rho ||x_0 - x_hat||^2, rho = weight sigma_y^2 / sigma^2
    x <- x_0 + sigma' (sqrt(1 - zeta) (x - x_0) / sigma + sqrt(zeta) z)

    rho is a ratio of variances, the same on [0, 1] and [-1, 1]. The result is x_0 of the last level, whose sigma' is 0.

    Args:
        num_steps: see `DiffusionBaseline`.
        weight: the paper's lambda; positive. Published with sigma_y = 0.05: 1.
        zeta: fraction of fresh noise, in [0, 1]. Published: 0.1 (deblurring), 1 (inpainting).
        levels: see `DiffusionBaseline`.
    """

    def __init__(self, num_steps: int = 100, weight: float = 1.0, zeta: float = 0.1, levels: DDPMLevels | None = None):
        super().__init__(num_steps, levels)
        check_positive(weight=weight)
        check_between(0, 1, zeta=zeta)
        self.weight, self.zeta = float(weight), float(zeta)

    def restore(self, y: Tensor, operator: Operator, sigma: Tensor, prior: Counted, noise: ImageNoise) -> Tensor:
        levels, x = self.begin(y, prior, noise)
        variance = (sigma**2).expand(len(y), 1, 1, 1).flatten()
        for level, following in zip(levels, [*levels[1:], None], strict=True):
            x_hat = prior(x, y.new_tensor(level))
            x_0 = operator.prox(x_hat, y, self.weight * variance / level**2)
            if following is None:
                break
            old = (1 - self.zeta) ** 0.5 * (x - x_0) / level
            x = x_0 + following * (old + self.zeta**0.5 * noise.normal(y.shape[1:], y.dtype))
        return x_0


class DPS(DiffusionBaseline):
    """Diffusion posterior sampling (Chung et al. 2023, Algorithm 1).

    With x_hat = prior(x_i, sigma_i), i from the highest level down to sigma_0 = 0:
    x_{i-1} = x_hat + (sigma_{i-1} / sigma_i)^2 (x_i - x_hat) + sigma_{i-1} sqrt(1 - (sigma_{i-1} / sigma_i)^2) z + g.

    Guidance "norm", as published: u_{i-1} -= zeta d||y' - A' x_hat'|| / du_i for the chain u = sqrt(abar) (2 x - 1) on
    [-1, 1]. There y' = 2 y - 1 and x_hat' = 2 x_hat - 1, so the residual is twice ours; dx_i = du_i / (2 sqrt(abar_i)),
    so the gradient in u_i is that of ||y - A x_hat|| in x_i over sqrt(abar_i); and x_{i-1} moves by the step of u_{i-1}
    over 2 sqrt(abar_{i-1}). With abar = 1 / (1 + 4 sigma^2), for every image separately:

        g = -zeta / 2 sqrt((1 + 4 sigma_i^2) (1 + 4 sigma_{i-1}^2)) d||y - A x_hat|| / dx_i

    Guidance "posterior": the step of the score of p(y | x_i) under x | x_i ~ N(x_hat, r_i^2), A of norm 1, no longer
    than a Jacobian of x_hat up to 1 allows:

        g = -zeta min(sigma_i^2 - sigma_{i-1}^2, r_i^2) / (2 (sigma_y^2 + r_i^2)) d||y - A x_hat||^2 / dx_i,
        r_i^2 = sigma_i^2 spread^2 / (sigma_i^2 + spread^2)

    It needs no tuning; the best zeta of "norm" depends on the number of steps and pixels. The gradient runs through the
    denoiser: a step is a forward and a backward pass.

    Args:
        num_steps: see `DiffusionBaseline`.
        zeta: step size, at least 0. Published for "norm", 1000 steps and 256 px: 0.3 (deblurring), 0.5 (inpainting).
            None: 0.3 for "norm", 1 for "posterior".
        guidance: "norm" or "posterior".
        spread: for "posterior", the standard deviation of the data that is left when its smooth parts are known, in
            units of the [0, 1] range; positive.
        levels: see `DiffusionBaseline`.
    """

    needs_linear = False

    def __init__(
        self,
        num_steps: int = 1000,
        zeta: float | None = None,
        guidance: str = "norm",
        spread: float = 0.1,
        levels: DDPMLevels | None = None,
    ):
        super().__init__(num_steps, levels)
        check_option(("norm", "posterior"), guidance=guidance)
        zeta = {"norm": 0.3, "posterior": 1.0}[guidance] if zeta is None else zeta
        check_between(0, float("inf"), zeta=zeta)
        check_positive(spread=spread)
        self.zeta, self.guidance, self.spread = float(zeta), guidance, float(spread)

    def restore(self, y: Tensor, operator: Operator, sigma: Tensor, prior: Counted, noise: ImageNoise) -> Tensor:
        levels, x = self.begin(y, prior, noise)
        for level, following in pairwise([*levels, 0.0]):
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
        """Return the factor of the gradient of ||y - A x_hat||^2 = `squared`."""
        if self.guidance == "norm":
            scale: float = ((1 + 4 * level**2) * (1 + 4 * following**2)) ** 0.5
            return self.zeta / 2 * scale / (2 * squared.sqrt().clamp(min=1e-12))
        spread = level**2 * self.spread**2 / (level**2 + self.spread**2)
        return self.zeta * min(level**2 - following**2, spread) / (2 * (sigma**2 + spread))


class PiGDM(DiffusionBaseline):
    """Pseudoinverse-guided diffusion models (Song et al. 2023).

    Under x | x_sigma ~ N(x_hat, r^2) the score of p(y | x_sigma) is, J the Jacobian of x_hat = prior(x_sigma, sigma),

        g = J^T A^T (r^2 A A^T + sigma_y^2)^-1 (y - A x_hat), r^2 = sigma^2 spread^2 / (sigma^2 + spread^2)

    A step of DDIM follows (Song et al. 2021, Eq. 12), down to the next level sigma', at last 0:
    x <- x_hat + c_2 (x - x_hat) / sigma + c_1 z + w g,
    c_1 = eta sigma' sqrt(1 - (sigma' / sigma)^2), c_2 = sqrt(sigma'^2 - c_1^2).

    w = min(sigma (sigma - c_2), r^2), the first of which is this step with the guided score in place of the prior's. J
    may be much larger than the r^2 / sigma^2 of the assumption, up to 1: with much noise, long steps with that weight
    would diverge.

    Args:
        num_steps: see `DiffusionBaseline`.
        eta: fraction of fresh noise, in [0, 1]: 0 is the ODE, 1 the SDE.
        spread: standard deviation of the data in units of the [0, 1] range; positive. 0.5 is the paper's 1 on [-1, 1].
        levels: see `DiffusionBaseline`.
    """

    def __init__(
        self,
        num_steps: int = 100,
        eta: float = 1.0,
        spread: float = 0.5,
        weight: str = "score",
        levels: DDPMLevels | None = None,
    ):
        super().__init__(num_steps, levels)
        check_between(0, 1, eta=eta)
        check_positive(spread=spread)
        self.eta, self.spread = float(eta), float(spread)

    def restore(self, y: Tensor, operator: Operator, sigma: Tensor, prior: Counted, noise: ImageNoise) -> Tensor:
        levels, x = self.begin(y, prior, noise)
        variance = (sigma**2).expand(len(y), 1, 1, 1).flatten()
        for level, following in pairwise([*levels, 0.0]):
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
            x = x_hat + old / level * (x - x_hat) + min(level * (level - old), spread) * score
            if fresh > 0:
                x = x + fresh * noise.normal(y.shape[1:], y.dtype)
        return x
