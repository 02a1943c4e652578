"""Alternating direction method of multipliers (Boyd et al. 2011): total variation, and plug-and-play."""

import math

import torch
from torch import Tensor

from diracdiff.baselines.base import Baseline, Counted
from diracdiff.baselines.prior import Prior
from diracdiff.degradations import Operator
from diracdiff.degradations.super_resolution import dct_matrix
from diracdiff.samplers import ImageNoise
from diracdiff.utils.validate import check_count, check_positive

RELAXATION = 1.8
SPREAD = 10.0


class ADMMTV(Baseline):
    """argmin_x 1/2 ||A x - y||^2 + weight TV(x), TV isotropic (Rudin et al. 1992).

    TV(x) is the sum over pixels of |Dx|, D the forward differences in both directions, 0 at the last row and column.
    If `coupled`, |Dx| is the norm over the directions and the colour channels together (Bresson & Chan 2008), which
    puts the edges of all channels in one place.

    With u = x for the data and v = D x for the TV, over-relaxed (Boyd et al. 2011, Section 3.4.3):
    x = argmin penalty ||x - u + p||^2 + weight / threshold ||D x - v + q||^2 is diagonal in the DCT-II, u is
    `Operator.prox` and v a shrinkage of D x + q by `threshold`. The problem is convex: penalty and threshold change
    the speed, not the limit. It starts from A^T y, filled from its surroundings where A^T A removes light.

    Args:
        weight: of TV, positive; for images in [0, 1].
        num_steps: iterations. The defaults come within 1e-3 of the least objective in 15 to 75 of them.
        penalty: of u = x, positive.
        threshold: below which differences of neighbours become 0 in v, positive, in units of the [0, 1] range.
        coupled: the channels share their edges.
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
        """Return 1/2 ||A x - y||^2 + weight TV(x), (B,), for x and y (B, C, H, W)."""
        misfit = (operator(x) - y).square().flatten(1).sum(1) / 2
        return misfit + self.weight * self._size(gradient(x)).flatten(1).sum(1)

    def restore(self, y: Tensor, operator: Operator, sigma: Tensor, prior: Counted, noise: ImageNoise) -> Tensor:
        coupling = self.weight / self.threshold
        solve = _Cosine(y)
        x = u = _filled(y, operator, solve)
        v = gradient(x)
        p, q = torch.zeros_like(u), torch.zeros_like(v)
        for _ in range(self.num_steps):
            x = solve(self.penalty * (u - p) + coupling * transposed_gradient(v - q), self.penalty, coupling)
            p = torch.lerp(u, x, RELAXATION) + p
            u = operator.prox(p, y, self.penalty)
            p = p - u
            q = torch.lerp(v, gradient(x), RELAXATION) + q
            v = q * (1 - self.threshold / self._size(q).clamp(min=self.threshold))
            q = q - v
        return x

    def _size(self, gradients: Tensor) -> Tensor:
        """Return |Dx|, (B, 1, C or 1, H, W)."""
        return gradients.square().sum((1, 2) if self.coupled else 1, keepdim=True).sqrt()


def gradient(x: Tensor) -> Tensor:
    """Return D x, (B, 2, C, H, W): differences to the next row and to the next column, 0 at the border."""
    differences = x.new_zeros(len(x), 2, *x.shape[1:])
    differences[:, 0, :, :-1] = x[:, :, 1:] - x[:, :, :-1]
    differences[:, 1, ..., :-1] = x[..., 1:] - x[..., :-1]
    return differences


def transposed_gradient(differences: Tensor) -> Tensor:
    """Return D^T of differences, (B, C, H, W)."""
    rows, columns = differences[:, 0, :, :-1], differences[:, 1, ..., :-1]
    x = torch.zeros_like(differences[:, 0])
    x[:, :, :-1] -= rows
    x[:, :, 1:] += rows
    x[..., :-1] -= columns
    x[..., 1:] += columns
    return x


class _Cosine:
    """Solves (a + b D^T D) x = right: D^T D is diagonal in the DCT-II."""

    def __init__(self, like: Tensor):
        self.rows, self.columns = (dct_matrix(n, like) for n in like.shape[-2:])
        rows, columns = (
            4 * torch.sin(torch.arange(n, dtype=like.dtype, device=like.device) * (math.pi / (2 * n))) ** 2
            for n in like.shape[-2:]
        )
        self.eigenvalues = rows.unsqueeze(-1) + columns

    def __call__(self, right: Tensor, a: float, b: float) -> Tensor:
        coefficients = self.rows @ right @ self.columns.mT
        return self.rows.mT @ (coefficients / (a + b * self.eigenvalues)) @ self.columns


def _filled(y: Tensor, operator: Operator, solve: _Cosine) -> Tensor:
    """Return A^T y, with a local average where A^T A 1 is below 1: an empty region would take long to fill."""
    back = operator.adjoint(y)
    weight = operator.adjoint(operator(torch.ones_like(y))).clamp(0, 1)
    average = solve(back, 1, SPREAD) / solve(weight, 1, SPREAD).clamp(min=1e-6)
    return back + (1 - weight) * average


class PnPADMM(Baseline):
    """Plug-and-play ADMM (Venkatakrishnan et al. 2013; Chan et al. 2016, Section II) with a constant penalty.

    From z = A^T y and u = 0: x = argmin ||A x - y||^2 + penalty ||x - z + u||^2, z = x_hat(x + u, level),
    u = u + x - z; the result is z. Where x_hat is the proximal map of level^2 R, the fixed point is
    argmin 1/2 ||A x - y||^2 + penalty level^2 R(x): the posterior's mode for penalty = sigma^2 / level^2.

    Args:
        penalty: positive.
        num_steps: iterations, one call of the denoiser each.
        level: noise level that the denoiser removes, in units of the [0, 1] range; None for a denoiser of one level.
        denoiser: used in place of the common prior, such as a `NetworkPrior` of a DnCNN.
    """

    denoiser: Prior | None

    def __init__(
        self, penalty: float = 0.25, num_steps: int = 20, level: float | None = 0.1, denoiser: Prior | None = None
    ):
        check_positive(penalty=penalty, **({} if level is None else {"level": level}))
        check_count(num_steps, "num_steps")
        if level is None and denoiser is not None:
            _only_level(denoiser)
        self.penalty, self.num_steps = float(penalty), num_steps
        self.level = None if level is None else float(level)
        self.denoiser, self.needs_prior = denoiser, denoiser is None

    def check(self, operator: Operator, prior: Prior | None) -> None:
        super().check(operator, prior)
        if self.level is None and self.denoiser is None and prior is not None:
            _only_level(prior)

    def restore(self, y: Tensor, operator: Operator, sigma: Tensor, prior: Counted, noise: ImageNoise) -> Tensor:
        level = _only_level(prior) if self.level is None else self.level
        z = operator.adjoint(y)
        u = torch.zeros_like(z)
        for _ in range(self.num_steps):
            x = operator.prox(z - u, y, self.penalty)
            z = prior(x + u, level)
            u = u + x - z
        return z


def _only_level(denoiser: Prior) -> float:
    if denoiser.sigma_min != denoiser.sigma_max:
        levels = f"from {denoiser.sigma_min:g} to {denoiser.sigma_max:g}"
        raise ValueError(f"PnPADMM needs a level, since its denoiser knows more than one, {levels}: give level=0.1")
    return denoiser.sigma_min
