"""Restoration with a diffusion prior: DDRM, DiffPIR, DPS and PiGDM.

The methods use the variance-exploding form x_sigma = x + sigma z, and evaluate the denoiser once per noise level. The
seeds of the images determine their randomness.
"""

from itertools import pairwise

import torch
from torch import Tensor

from diracdiff.baselines.base import Baseline, CountingNetwork
from diracdiff.baselines.levels import DDPMLevels
from diracdiff.degradations import Operator
from diracdiff.samplers import ImageNoise
from diracdiff.utils.validate import check_between, check_count, check_option, check_positive


class DiffusionBaseline(Baseline):
    """Base class of methods that denoise at decreasing noise levels.

    Args:
        num_steps: number of noise levels, at least 2.
        levels: schedule of the noise levels; `DDPMLevels()` by default.

    Raises:
        ValueError: if `num_steps` is below 2.
    """

    needs_prior = True

    def __init__(self, num_steps: int, levels: DDPMLevels | None):
        check_count(num_steps, "num_steps", 2)
        self.num_steps, self.levels = num_steps, levels if levels is not None else DDPMLevels()

    def initial_state(self, y: Tensor, prior: CountingNetwork, noise: ImageNoise) -> tuple[list[float], Tensor]:
        """Return the noise levels, and the initial state: mean 0.5 plus noise of the highest level.

        Args:
            y: measurements, (B, C, H, W).
            prior: denoiser.
            noise: random streams of the images.
        """
        levels = self.levels(self.num_steps, prior)
        return levels, 0.5 + levels[0] * noise.normal(y.shape[1:], y.dtype)


class DDRM(DiffusionBaseline):
    """Denoising diffusion restoration models (DDRM, Kawar et al. 2022, Eq. 7 and 8).

    With A = U S V^T, the coefficients of V^T x are sampled independently. Let h be a coefficient of
    V^T prior(x_sigma, sigma), w that of U^T y, s its singular value, and sigma' < sigma the next level. The next
    coefficient is normal:

    s = 0:                 mean h + sqrt(1 - eta^2) sigma' (V^T x_sigma - h) / sigma,  std eta sigma'
    sigma' < sigma_y / s:  mean h + sqrt(1 - eta^2) sigma' (w - s h) / sigma_y,        std eta sigma'
    sigma' >= sigma_y / s: mean (1 - eta_b) h + eta_b w / s,         variance sigma'^2 - eta_b^2 sigma_y^2 / s^2

    At the highest level sigma, the coefficient is N(w / s, sigma^2 - sigma_y^2 / s^2), or N(grey, sigma^2) for
    sigma_y / s > sigma. The result is x_hat of the last level, which is the step of the paper to sigma' = 0.

    DDRM does not sample the posterior. A step of any length replaces the fraction eta of the noise, so more steps lose
    more variance.

    Args:
        num_steps: see `DiffusionBaseline`.
        eta: fraction of new noise for coefficients with sigma' < sigma_y / s, in [0, 1].
        eta_b: weight of the measurement for coefficients with sigma' >= sigma_y / s, in [0, 1].
        levels: see `DiffusionBaseline`.

    Raises:
        ValueError: if an argument is out of range.
    """

    needs_svd = True

    def __init__(self, num_steps: int = 20, eta: float = 0.85, eta_b: float = 1.0, levels: DDPMLevels | None = None):
        super().__init__(num_steps, levels)
        check_between(0, 1, eta=eta, eta_b=eta_b)
        self.eta, self.eta_b = float(eta), float(eta_b)

    def restore(
        self, y: Tensor, operator: Operator, sigma: Tensor, prior: CountingNetwork, noise: ImageNoise
    ) -> Tensor:
        assert operator.svd is not None
        svd, levels = operator.svd, self.levels(self.num_steps, prior)
        s, w = svd.values, svd.ut(y)
        keep = (1 - self.eta**2) ** 0.5

        def measured(level: float) -> tuple[Tensor, Tensor, Tensor]:
            """Return the mask of sigma_y / s <= level, and w / s and sigma_y / s inside the mask, 0 outside."""
            mask = level * s >= sigma
            safe = torch.where(mask, s, 1)
            return mask, torch.where(mask, w / safe, 0), torch.where(mask, sigma / safe, 0)

        mask, target, spread = measured(levels[0])
        start = torch.where(mask, target, svd.vt(torch.full_like(y, 0.5)))
        z = noise.normal(y.shape[1:], y.dtype)
        coefficients = start + (levels[0] ** 2 - spread**2).clamp(min=0).sqrt() * z
        for level, next_level in pairwise(levels):
            h = svd.vt(prior(svd.v(coefficients), y.new_tensor(level)))
            mask, target, spread = measured(next_level)
            direction = torch.where(s > 0, (w - s * h) / sigma, (coefficients - h) / level)
            mean = torch.where(mask, h + self.eta_b * (target - h), h + keep * next_level * direction)
            variance = torch.where(mask, next_level**2 - (self.eta_b * spread) ** 2, (self.eta * next_level) ** 2)
            coefficients = mean + variance.clamp(min=0).sqrt() * noise.normal(y.shape[1:], y.dtype)
        return prior(svd.v(coefficients), y.new_tensor(levels[-1]))


class DiffPIR(DiffusionBaseline):
    """Denoising diffusion models for plug-and-play restoration (DiffPIR, Zhu et al. 2023, Algorithm 1).

    At the level sigma with the next level sigma':
    x_hat = prior(x, sigma)
    x_0 = argmin ||A x_0 - y||^2 + rho ||x_0 - x_hat||^2, rho = weight sigma_y^2 / sigma^2
    x <- x_0 + sigma' (sqrt(1 - zeta) (x - x_0) / sigma + sqrt(zeta) z)

    rho is a ratio of variances, equal for images in [0, 1] and [-1, 1]. The result is x_0 of the last level.

    Args:
        num_steps: see `DiffusionBaseline`.
        weight: lambda of the paper, positive. Published for sigma_y = 0.05: 1.
        zeta: fraction of new noise, in [0, 1]. Published: 0.1 (deblurring), 1 (inpainting).
        levels: see `DiffusionBaseline`.

    Raises:
        ValueError: if an argument is out of range.
    """

    def __init__(self, num_steps: int = 100, weight: float = 1.0, zeta: float = 0.1, levels: DDPMLevels | None = None):
        super().__init__(num_steps, levels)
        check_positive(weight=weight)
        check_between(0, 1, zeta=zeta)
        self.weight, self.zeta = float(weight), float(zeta)

    def restore(
        self, y: Tensor, operator: Operator, sigma: Tensor, prior: CountingNetwork, noise: ImageNoise
    ) -> Tensor:
        levels, x = self.initial_state(y, prior, noise)
        variance = (sigma**2).expand(len(y), 1, 1, 1).flatten()
        for level, next_level in zip(levels, [*levels[1:], None], strict=True):
            x_hat = prior(x, y.new_tensor(level))
            x_0 = operator.prox(x_hat, y, self.weight * variance / level**2)
            if next_level is None:
                break
            kept_noise = (1 - self.zeta) ** 0.5 * (x - x_0) / level
            x = x_0 + next_level * (kept_noise + self.zeta**0.5 * noise.normal(y.shape[1:], y.dtype))
        return x_0


class DPS(DiffusionBaseline):
    """Diffusion posterior sampling (DPS, Chung et al. 2023, Algorithm 1).

    With x_hat = prior(x_i, sigma_i), from the highest level to sigma_0 = 0:
    x_{i-1} = x_hat + (sigma_{i-1} / sigma_i)^2 (x_i - x_hat) + sigma_{i-1} sqrt(1 - (sigma_{i-1} / sigma_i)^2) z + g.

    Guidance "norm" is the published step u_{i-1} -= zeta d||y' - A' x_hat'|| / du_i of the chain
    u = sqrt(abar) (2 x - 1) on [-1, 1]. There, y' = 2 y - 1 and x_hat' = 2 x_hat - 1, which doubles the residual. Since
    dx_i = du_i / (2 sqrt(abar_i)), the gradient with respect to u_i is that of ||y - A x_hat|| with respect to x_i,
    divided by sqrt(abar_i). The step of x_{i-1} is that of u_{i-1} divided by 2 sqrt(abar_{i-1}). With
    abar = 1 / (1 + 4 sigma^2), for each image:

        g = -zeta / 2 sqrt((1 + 4 sigma_i^2) (1 + 4 sigma_{i-1}^2)) d||y - A x_hat|| / dx_i

    Guidance "posterior" is the step of the score of p(y | x_i) for x | x_i ~ N(x_hat, r_i^2) and A of norm 1. The
    length of the step is limited for a Jacobian of x_hat up to 1:

        g = -zeta min(sigma_i^2 - sigma_{i-1}^2, r_i^2) / (2 (sigma_y^2 + r_i^2)) d||y - A x_hat||^2 / dx_i,
        r_i^2 = sigma_i^2 spread^2 / (sigma_i^2 + spread^2)

    It needs no tuning. The best zeta of "norm" depends on the number of steps and pixels. The gradient is taken through
    the denoiser: a step has one forward and one backward pass.

    Args:
        num_steps: see `DiffusionBaseline`.
        zeta: step size, at least 0. Published for "norm", 1000 steps and 256 px: 0.3 (deblurring), 0.5 (inpainting).
            None: 0.3 for "norm", 1 for "posterior".
        guidance: "norm" or "posterior".
        spread: standard deviation of the data without their smooth component, for "posterior", positive, in units of
            the [0, 1] range.
        levels: see `DiffusionBaseline`.

    Raises:
        ValueError: if an argument is out of range.
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

    def restore(
        self, y: Tensor, operator: Operator, sigma: Tensor, prior: CountingNetwork, noise: ImageNoise
    ) -> Tensor:
        levels, x = self.initial_state(y, prior, noise)
        for level, next_level in pairwise([*levels, 0.0]):
            with torch.enable_grad():
                x = x.detach().requires_grad_()
                x_hat = prior(x, y.new_tensor(level))
                squared = (y - operator(x_hat)).square().flatten(1).sum(1)
                (gradient,) = torch.autograd.grad(squared.sum(), x)
            x, x_hat, squared = x.detach(), x_hat.detach(), squared.detach().reshape(-1, 1, 1, 1)
            ratio = (next_level / level) ** 2
            x_next = x_hat + ratio * (x - x_hat)
            if next_level > 0:
                x_next = x_next + next_level * (1 - ratio) ** 0.5 * noise.normal(y.shape[1:], y.dtype)
            x = x_next - self._step(level, next_level, squared, sigma) * gradient
        return x

    def _step(self, level: float, next_level: float, squared: Tensor, sigma: Tensor) -> Tensor:
        """Return the step size for the gradient of `squared` = ||y - A x_hat||^2."""
        if self.guidance == "norm":
            scale: float = ((1 + 4 * level**2) * (1 + 4 * next_level**2)) ** 0.5
            return self.zeta / 2 * scale / (2 * squared.sqrt().clamp(min=1e-12))
        spread = level**2 * self.spread**2 / (level**2 + self.spread**2)
        return self.zeta * min(level**2 - next_level**2, spread) / (2 * (sigma**2 + spread))


class PiGDM(DiffusionBaseline):
    """Pseudoinverse-guided diffusion models (PiGDM, Song et al. 2023).

    For x | x_sigma ~ N(x_hat, r^2), the score of p(y | x_sigma) with the Jacobian J of x_hat = prior(x_sigma, sigma) is

        g = J^T A^T (r^2 A A^T + sigma_y^2)^-1 (y - A x_hat), r^2 = sigma^2 spread^2 / (sigma^2 + spread^2)

    A step is that of DDIM (Song et al. 2021, Eq. 12) to the next level sigma', finally 0, with guidance:
    x <- x_hat + c_2 (x - x_hat) / sigma + c_1 z + w g,
    c_1 = eta sigma' sqrt(1 - (sigma' / sigma)^2), c_2 = sqrt(sigma'^2 - c_1^2).

    The weight is w = min(sigma (sigma - c_2), r^2). The first value uses the guided score instead of that of the prior.
    The second value limits long steps at high noise, which would diverge: J can be up to 1, much larger than the
    assumed r^2 / sigma^2.

    Args:
        num_steps: see `DiffusionBaseline`.
        eta: fraction of new noise, in [0, 1]: 0 is the ODE, 1 the SDE.
        spread: standard deviation of the data in units of the [0, 1] range, positive. 0.5 equals 1 on [-1, 1] as in
            the paper.
        levels: see `DiffusionBaseline`.

    Raises:
        ValueError: if an argument is out of range.
    """

    def __init__(
        self,
        num_steps: int = 100,
        eta: float = 1.0,
        spread: float = 0.5,
        levels: DDPMLevels | None = None,
    ):
        super().__init__(num_steps, levels)
        check_between(0, 1, eta=eta)
        check_positive(spread=spread)
        self.eta, self.spread = float(eta), float(spread)

    def restore(
        self, y: Tensor, operator: Operator, sigma: Tensor, prior: CountingNetwork, noise: ImageNoise
    ) -> Tensor:
        levels, x = self.initial_state(y, prior, noise)
        variance = (sigma**2).expand(len(y), 1, 1, 1).flatten()
        for level, next_level in pairwise([*levels, 0.0]):
            spread = level**2 * self.spread**2 / (level**2 + self.spread**2)
            with torch.enable_grad():
                x = x.detach().requires_grad_()
                x_hat = prior(x, y.new_tensor(level))
                residual = y - operator(x_hat.detach())
                with torch.no_grad():
                    direction = operator.adjoint(operator.whiten(residual, spread, variance))
                (score,) = torch.autograd.grad(x_hat, x, direction)
            x, x_hat = x.detach(), x_hat.detach()
            noise_std = self.eta * next_level * (1 - (next_level / level) ** 2) ** 0.5
            kept_std = (next_level**2 - noise_std**2) ** 0.5
            x = x_hat + kept_std / level * (x - x_hat) + min(level * (level - kept_std), spread) * score
            if noise_std > 0:
                x = x + noise_std * noise.normal(y.shape[1:], y.dtype)
        return x
