"""Alternating direction method of multipliers (ADMM, Boyd et al. 2011): total variation and plug-and-play prior."""

import math

import torch
from torch import Tensor

from diracdiff.baselines.base import Baseline, CountingNetwork
from diracdiff.baselines.prior import Prior
from diracdiff.degradations import Operator
from diracdiff.degradations.super_resolution import dct_matrix
from diracdiff.samplers import ImageNoise
from diracdiff.utils.validate import check_count, check_positive

RELAXATION = 1.8
FILL_SPREAD = 10.0


class ADMMTV(Baseline):
    """ADMM with isotropic total variation (Rudin et al. 1992): argmin_x 1/2 ||A x - y||^2 + weight TV(x).

    TV(x) is the sum over pixels of |D x|. D computes forward differences in both directions, 0 at the last row and
    column. If `coupled`, |D x| is the norm over directions and colour channels (Bresson & Chan 2008), which aligns the
    edges of the channels.

    The splitting is u = x for the data term and v = D x for TV, with over-relaxation (Boyd et al. 2011, Section 3.4.3).
    The update x = argmin penalty ||x - u + p||^2 + weight / threshold ||D x - v + q||^2 is diagonal in the DCT-II. The
    update of u is `Operator.prox`, and v shrinks D x + q by `threshold`. The problem is convex: `penalty` and
    `threshold` affect the speed, not the limit. The iteration starts from A^T y with masked regions filled by local
    averages.

    Args:
        weight: weight of TV, positive, for images in [0, 1].
        num_steps: number of iterations, at least 1. With the defaults, 15 to 75 iterations reach the minimum of the
            objective within 1e-3.
        penalty: penalty of the constraint u = x, positive.
        threshold: threshold of the shrinkage, positive, in units of the [0, 1] range.
        coupled: couple the colour channels.

    Raises:
        ValueError: if an argument is out of range.
    """

    def __init__(
        self,
        weight: float = 0.02,
        num_steps: int = 100,
        penalty: float = 0.1,
        threshold: float = 0.05,
        coupled: bool = True,
    ):
        check_positive(weight=weight, penalty=penalty, threshold=threshold)
        check_count(num_steps, "num_steps")
        if not isinstance(coupled, bool):
            raise ValueError(f"coupled={coupled}: must be true or false.")
        self.weight, self.num_steps = float(weight), num_steps
        self.penalty, self.threshold, self.coupled = float(penalty), float(threshold), coupled

    def objective(self, x: Tensor, y: Tensor, operator: Operator) -> Tensor:
        """Compute the objective 1/2 ||A x - y||^2 + weight TV(x) of each image.

        Args:
            x: images, (B, C, H, W).
            y: measurements, (B, C, H, W).
            operator: degradation operator A.

        Returns:
            Objective, (B,).
        """
        data_term = (operator(x) - y).square().flatten(1).sum(1) / 2
        return data_term + self.weight * self._gradient_norm(gradient(x)).flatten(1).sum(1)

    def restore(
        self, y: Tensor, operator: Operator, sigma: Tensor, prior: CountingNetwork, noise: ImageNoise
    ) -> Tensor:
        gradient_weight = self.weight / self.threshold
        solve = _CosineSolver(y)
        x = u = _fill_masked(y, operator, solve)
        v = gradient(x)
        p, q = torch.zeros_like(u), torch.zeros_like(v)
        for _ in range(self.num_steps):
            x = solve(
                self.penalty * (u - p) + gradient_weight * transposed_gradient(v - q), self.penalty, gradient_weight
            )
            p = torch.lerp(u, x, RELAXATION) + p
            u = operator.prox(p, y, self.penalty)
            p = p - u
            q = torch.lerp(v, gradient(x), RELAXATION) + q
            v = q * (1 - self.threshold / self._gradient_norm(q).clamp(min=self.threshold))
            q = q - v
        return x

    def _gradient_norm(self, gradients: Tensor) -> Tensor:
        """Return |D x|, (B, 1, C or 1, H, W)."""
        return gradients.square().sum((1, 2) if self.coupled else 1, keepdim=True).sqrt()


def gradient(x: Tensor) -> Tensor:
    """Compute forward differences D x to the next row and the next column, 0 at the border.

    Args:
        x: images, (B, C, H, W).

    Returns:
        Differences, (B, 2, C, H, W).
    """
    differences = x.new_zeros(len(x), 2, *x.shape[1:])
    differences[:, 0, :, :-1] = x[:, :, 1:] - x[:, :, :-1]
    differences[:, 1, ..., :-1] = x[..., 1:] - x[..., :-1]
    return differences


def transposed_gradient(differences: Tensor) -> Tensor:
    """Apply the transpose of `gradient`.

    Args:
        differences: (B, 2, C, H, W).

    Returns:
        Images, (B, C, H, W).
    """
    rows, columns = differences[:, 0, :, :-1], differences[:, 1, ..., :-1]
    x = torch.zeros_like(differences[:, 0])
    x[:, :, :-1] -= rows
    x[:, :, 1:] += rows
    x[..., :-1] -= columns
    x[..., 1:] += columns
    return x


class _CosineSolver:
    """Solver of (a + b D^T D) x = rhs in the DCT-II, which diagonalises D^T D."""

    def __init__(self, like: Tensor):
        self.rows, self.columns = (dct_matrix(n, like) for n in like.shape[-2:])
        rows, columns = (
            4 * torch.sin(torch.arange(n, dtype=like.dtype, device=like.device) * (math.pi / (2 * n))) ** 2
            for n in like.shape[-2:]
        )
        self.eigenvalues = rows.unsqueeze(-1) + columns

    def __call__(self, rhs: Tensor, a: float, b: float) -> Tensor:
        coefficients = self.rows @ rhs @ self.columns.mT
        return self.rows.mT @ (coefficients / (a + b * self.eigenvalues)) @ self.columns


def _fill_masked(y: Tensor, operator: Operator, solve: _CosineSolver) -> Tensor:
    """Return A^T y with local averages where A^T A 1 is below 1, because empty regions converge slowly."""
    back = operator.adjoint(y)
    weight = operator.adjoint(operator(torch.ones_like(y))).clamp(0, 1)
    average = solve(back, 1, FILL_SPREAD) / solve(weight, 1, FILL_SPREAD).clamp(min=1e-6)
    return back + (1 - weight) * average


class PnPADMM(Baseline):
    """Plug-and-play ADMM (Venkatakrishnan et al. 2013; Chan et al. 2016, Section II) with a constant penalty.

    Starting from z = A^T y and u = 0, an iteration computes x = argmin ||A x - y||^2 + penalty ||x - z + u||^2,
    z = x_hat(x + u, level) and u = u + x - z. The result is z. If x_hat is the proximal map of level^2 R, the fixed
    point is argmin 1/2 ||A x - y||^2 + penalty level^2 R(x). It is the mode of the posterior for
    penalty = sigma^2 / level^2.

    Args:
        penalty: penalty of the constraint, positive.
        num_steps: number of iterations with one denoiser call each, at least 1.
        level: noise level of the denoiser, positive, in units of the [0, 1] range; None for a denoiser with a single
            level.
        denoiser: denoiser to use instead of the common prior, such as a `NetworkPrior` with a DnCNN.

    Raises:
        ValueError: if an argument is out of range, or `level` is None and the denoiser has several levels.
    """

    denoiser: Prior | None

    def __init__(
        self, penalty: float = 0.25, num_steps: int = 20, level: float | None = 0.1, denoiser: Prior | None = None
    ):
        check_positive(penalty=penalty, **({} if level is None else {"level": level}))
        check_count(num_steps, "num_steps")
        if level is None and denoiser is not None:
            _single_level(denoiser)
        self.penalty, self.num_steps = float(penalty), num_steps
        self.level = None if level is None else float(level)
        self.denoiser, self.needs_prior = denoiser, denoiser is None

    def check(self, operator: Operator, prior: Prior | None) -> None:
        super().check(operator, prior)
        if self.level is None and self.denoiser is None and prior is not None:
            _single_level(prior)

    def restore(
        self, y: Tensor, operator: Operator, sigma: Tensor, prior: CountingNetwork, noise: ImageNoise
    ) -> Tensor:
        level = _single_level(prior) if self.level is None else self.level
        z = operator.adjoint(y)
        u = torch.zeros_like(z)
        for _ in range(self.num_steps):
            x = operator.prox(z - u, y, self.penalty)
            z = prior(x + u, level)
            u = u + x - z
        return z


def _single_level(denoiser: Prior) -> float:
    if denoiser.sigma_min != denoiser.sigma_max:
        levels = f"the denoiser has levels from {denoiser.sigma_min:g} to {denoiser.sigma_max:g}"
        raise ValueError(f"level=null: PnPADMM needs a level, since {levels}. Set level=0.1.")
    return denoiser.sigma_min
