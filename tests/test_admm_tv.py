"""ADMM-TV against independent solvers of the same problem."""

import math

import pytest
import torch
from conftest import DEGRADATIONS

from diracdiff.baselines import ADMMTV
from diracdiff.baselines.admm import _CosineSolver, gradient, transposed_gradient
from diracdiff.degradations import Operator

TASKS = ["blur", "inpainting", "box", "super_resolution"]
SIGMA = 0.05


def blocks(count, size, dtype=torch.float64):
    """Images of constant blocks, with an additional edge in one channel."""
    coarse = torch.rand(count, 3, 4, 4, dtype=dtype)
    x = coarse.repeat_interleave(size // 4, -1).repeat_interleave(size // 4, -2)
    x[:, 0, : size // 3] += 0.2
    return x


def measured(task, count=2, size=32, dtype=torch.float64):
    degradation = DEGRADATIONS[task](size)
    x = blocks(count, size, dtype)
    y = degradation(x, 1.0) + SIGMA * torch.randn_like(x)
    return y, Operator(degradation, y)


def dense(function, shape):
    """Matrix of a linear map of one-channel images."""
    n = math.prod(shape)
    columns = function(torch.eye(n, dtype=torch.float64).reshape(n, 1, *shape))
    return columns.reshape(n, -1).mT


def primal_dual(y, operator, weight, coupled, steps=3000):
    """Return the objective (B,) at the solution of Chambolle & Pock (2011, Algorithm 1), computed with matrices."""
    size = y.shape[-1]
    n = size * size
    a = dense(lambda x: operator.degradation(x, 1.0), (size, size))
    step = torch.diff(torch.eye(size, dtype=torch.float64), dim=0, append=torch.zeros(0, size, dtype=torch.float64))
    step = torch.cat([step, torch.zeros(1, size, dtype=torch.float64)])
    one = torch.eye(size, dtype=torch.float64)
    d = torch.cat([torch.kron(step, one), torch.kron(one, step)])
    tau, dual_step = 1.0, 0.124
    inverse = torch.linalg.inv(a.mT @ a + torch.eye(n, dtype=torch.float64) / tau)

    def length(u):
        u = u.reshape(*u.shape[:-1], 2, n).square().sum(-2)
        return (u.sum(-2, keepdim=True) if coupled else u).sqrt()

    target = y.flatten(2)
    x = extrapolated = target
    u = torch.zeros(*x.shape[:-1], 2 * n, dtype=x.dtype)
    for _ in range(steps):
        u = u + dual_step * extrapolated @ d.mT
        u = u / (length(u) / weight).clamp(min=1).repeat(1, 1, 2)
        new = (target @ a + (x - tau * u @ d) / tau) @ inverse
        x, extrapolated = new, 2 * new - x
    misfit = (x @ a.mT - target).square().sum((1, 2)) / 2
    return misfit + weight * length(x @ d.mT).sum((1, 2))


@pytest.mark.parametrize(("task", "coupled"), [*((task, True) for task in TASKS), ("blur", False)])
def test_objective_is_minimal(task, coupled):
    y, operator = measured(task, size=12)
    minimum = primal_dual(y, operator, weight := 0.05, coupled)
    for steps, gap in ((100, 1e-3), (400, 1e-5)):
        method = ADMMTV(weight, steps, coupled=coupled)
        reached = method.objective(method(y, operator, SIGMA).images, y, operator)
        assert (reached <= (1 + gap) * minimum).all(), (steps, reached / minimum - 1)


def test_objective_is_minimal_with_conjugate_gradients():
    y, operator = measured("motion_blur", count=1, size=12)
    minimum = primal_dual(y, operator, 0.05, coupled=True)
    method = ADMMTV(0.05, 40)
    assert operator.svd is None
    assert (method.objective(method(y, operator, SIGMA).images, y, operator) <= (1 + 1e-3) * minimum).all()


@pytest.mark.parametrize("task", ["blur", "box"])
def test_penalty_and_threshold_do_not_change_the_solution(task):
    y, operator = measured(task, size=12)
    reference = ADMMTV(0.05, 1000)(y, operator, SIGMA).images
    other = ADMMTV(0.05, 2000, penalty=0.03, threshold=0.1)(y, operator, SIGMA).images
    assert (other - reference).abs().max() < 1e-3


@pytest.mark.parametrize("task", ["blur", "inpainting", "super_resolution"])
def test_single_precision_is_enough(task):
    y, operator = measured(task)
    single = Operator(operator.degradation, y.float())
    method = ADMMTV(0.02)
    assert (method(y.float(), single, SIGMA).images - method(y, operator, SIGMA).images).abs().max() < 1e-4


def test_total_variation_of_a_plane():
    n, method = 8, ADMMTV(weight=2.0)
    y = torch.zeros(1, 3, n, n, dtype=torch.float64)
    row, column = torch.meshgrid(torch.arange(n), torch.arange(n), indexing="ij")
    x = (3.0 * row + 4.0 * column).double().expand(2, 3, n, n).clone()
    x[1, 1:] = 0
    operator = Operator(DEGRADATIONS["identity"](n), y)
    one = 5 * (n - 1) ** 2 + 3 * (n - 1) + 4 * (n - 1)
    misfit = x.square().flatten(1).sum(1) / 2
    for coupled, factors in ((True, [math.sqrt(3), 1]), (False, [3, 1])):
        expected = misfit + 2.0 * one * torch.tensor(factors, dtype=torch.float64)
        method = ADMMTV(weight=2.0, coupled=coupled)
        assert torch.allclose(method.objective(x, y, operator), expected)


@pytest.mark.parametrize("shape", [(16, 16), (7, 12)])
def test_gradient_transpose_and_solve_are_consistent(shape):
    x, u = torch.randn(2, 3, *shape).double(), torch.randn(2, 2, 3, *shape).double()
    assert torch.allclose((gradient(x) * u).sum(), (x * transposed_gradient(u)).sum())
    solution = _CosineSolver(x)(x, 0.3, 2.0)
    assert torch.allclose(0.3 * solution + 2.0 * transposed_gradient(gradient(solution)), x)
