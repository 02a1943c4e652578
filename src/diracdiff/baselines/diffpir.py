"""DiffPIR: plug-and-play restoration along a diffusion (Zhu et al. 2023)."""

from torch import Tensor

from diracdiff.baselines.base import Baseline
from diracdiff.baselines.levels import DDPMLevels, Levels, check_steps
from diracdiff.baselines.prior import Prior
from diracdiff.degradations import Operator
from diracdiff.samplers import ImageNoise


class DiffPIR(Baseline):
    """Denoising diffusion models for plug-and-play restoration (Zhu et al. 2023, Algorithm 1), variance exploding.

    At a level sigma, with the next one sigma':
    x_hat = prior(x, sigma)
    x_0 = argmin ||A x_0 - y||^2 + rho ||x_0 - x_hat||^2, rho = weight sigma_y^2 / sigma^2
    x <- x_0 + sigma' (sqrt(1 - zeta) (x - x_0) / sigma + sqrt(zeta) z)

    rho is a ratio of variances, the same on [0, 1] and [-1, 1]. The result is x_0 of the last level, which is what the
    algorithm returns (its last sigma' is 0): it explains y where x_hat alone need not.

    Args:
        steps: number of levels, and of denoiser calls; at least 2.
        weight: the paper's lambda; positive. Published with sigma_y = 0.05: 1.
        zeta: share of fresh noise, in [0, 1]. Published: 0.1 (deblurring), 1 (inpainting).
        levels: where the levels lie.
    """

    needs_prior = True

    def __init__(self, steps: int = 100, weight: float = 1.0, zeta: float = 0.1, levels: Levels | None = None):
        if not weight > 0:
            raise ValueError(f"weight must be positive, got {weight}")
        if not 0 <= zeta <= 1:
            raise ValueError(f"zeta must lie in [0, 1], got {zeta}")
        self.steps, self.weight, self.zeta = check_steps(steps), float(weight), float(zeta)
        self.levels = levels if levels is not None else DDPMLevels()

    def restore(self, y: Tensor, operator: Operator, sigma: Tensor, prior: Prior | None, noise: ImageNoise) -> Tensor:
        assert prior is not None
        levels, variance = self.levels(self.steps, prior), (sigma**2).expand(len(y), 1, 1, 1).flatten()
        x = 0.5 + levels[0] * noise.normal(y.shape[1:], y.dtype)
        for level, following in zip(levels, [*levels[1:], None], strict=True):
            x_hat = prior(x, y.new_tensor(level))
            x_0 = operator.prox(x_hat, y, self.weight * variance / level**2)
            if following is None:
                break
            old = (1 - self.zeta) ** 0.5 * (x - x_0) / level
            x = x_0 + following * (old + self.zeta**0.5 * noise.normal(y.shape[1:], y.dtype))
        return x_0
