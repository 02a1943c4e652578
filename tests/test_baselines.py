"""Operators of the comparison methods: adjoint, SVD, proximal point and whitening."""

import pytest
import torch
from conftest import DEGRADATIONS

from diracdiff.degradations import Operator

LINEAR = [name for name, build in DEGRADATIONS.items() if build(32).linear]
TIMES = [torch.tensor(1.0), torch.tensor([0.3, 0.7, 1.0])]


@pytest.fixture(params=LINEAR)
def operator(request):
    return request.param


@pytest.fixture(params=TIMES, ids=["one", "per_image"])
def problem(request, operator):
    """An operator, an image and a noise image, in single precision."""
    x, v = torch.rand(3, 3, 32, 32), torch.randn(3, 3, 32, 32)
    return Operator(DEGRADATIONS[operator](32), x, request.param), x, v


def test_adjoints_are_exact(problem):
    operator, x, v = problem
    error = (operator(x) * v).sum() - (x * operator.adjoint(v)).sum()
    assert error.abs() < 1e-5 * operator(x).norm() * v.norm()


def test_svd_reproduces_the_operator(problem):
    operator, x, _ = problem
    svd = operator.svd
    if svd is None:
        assert operator.name == "MotionBlur"
        return
    assert (svd.u(svd.values * svd.vt(x)) - operator(x)).abs().max() < 2e-6
    assert (svd.values >= 0).all()
    for forward, inverse in ((svd.u, svd.ut), (svd.v, svd.vt)):
        assert (inverse(forward(x)) - x).abs().max() < 5e-6


def test_the_proximal_point_has_no_gradient(problem):
    operator, x, v = problem
    weight = torch.tensor([0.1, 1.0, 0.02])
    z = operator.prox(v, x, weight)
    gradient = operator.adjoint(operator(z) - x) + weight.reshape(-1, 1, 1, 1) * (z - v)
    assert gradient.abs().max() < 2e-5


def test_whitening_solves_its_equation(problem):
    operator, _, v = problem
    signal, noise = torch.tensor([0.3, 0.0, 2.0]), torch.tensor([0.01, 0.0025, 0.1])
    w = operator.whiten(v, signal, noise)
    image = signal.reshape(-1, 1, 1, 1) * operator(operator.adjoint(w)) + noise.reshape(-1, 1, 1, 1) * w
    assert (image - v).abs().max() < 1e-4


def test_batched_operators_equal_single_operators(problem):
    operator, x, v = problem
    for i in range(len(x)):
        t = operator.t if operator.t.ndim == 0 else operator.t[i]
        single = Operator(operator.degradation, x[i : i + 1], t)
        assert torch.allclose(single.adjoint(v[i : i + 1]), operator.adjoint(v)[i : i + 1], atol=1e-5)
        assert torch.allclose(
            single.prox(v[i : i + 1], x[i : i + 1], 0.1), operator.prox(v, x, 0.1)[i : i + 1], atol=1e-4
        )
