"""Properties of every comparison method, tested for methods without diffusion."""

import pytest
import torch
from conftest import DEGRADATIONS

from diracdiff.baselines import ADMMTV, Baseline, Measurement, PnPADMM
from diracdiff.degradations import Operator
from diracdiff.oracles import GaussianPrior

SIZE = 24
TASKS = ["blur", "inpainting", "box", "super_resolution"]


def prior():
    position = torch.arange(SIZE, dtype=torch.float64)
    return GaussianPrior(0.2 * torch.exp(-(position - position[:, None]).abs() / 8))


METHODS = {
    "measurement": Measurement,
    "admm_tv": lambda: ADMMTV(0.03, num_steps=30),
    "admm_tv_per_channel": lambda: ADMMTV(0.03, num_steps=30, coupled=False),
    "pnp_admm": lambda: PnPADMM(num_steps=15),
    "pnp_admm_own_denoiser": lambda: PnPADMM(num_steps=15, denoiser=prior()),
}


@pytest.fixture(params=METHODS)
def method(request) -> Baseline:
    return METHODS[request.param]()


def measured(task, t=1.0, sigma=0.05):
    """Three measurements with contrasts 1, 0.1 and 0.01, which expose norms over the batch."""
    degradation, t = DEGRADATIONS[task](SIZE), torch.as_tensor(t)
    x = prior().sample(torch.randn(3, 3, SIZE, SIZE))
    x = 0.5 + torch.tensor([1.0, 0.1, 0.01]).reshape(3, 1, 1, 1) * (x - 0.5)
    y = degradation(x, t) + torch.as_tensor(sigma).reshape(-1, 1, 1, 1) * torch.randn_like(x)
    return y, Operator(degradation, y, t)


@pytest.mark.parametrize("task", TASKS)
def test_the_measurement_is_not_modified(method, task):
    y, operator = measured(task)
    before = y.clone()
    first = method(y, operator, 0.05, prior()).images
    assert torch.equal(y, before)
    assert first.shape == y.shape and torch.isfinite(first).all()
    first.zero_()
    assert torch.equal(y, before)
    again = method(y, operator, 0.05, prior()).images
    assert torch.equal(again, method(y, operator, 0.05, prior()).images) and not torch.equal(again, first)


@pytest.mark.parametrize(
    ("t", "sigma"),
    [(1.0, 0.05), ([0.2, 0.6, 1.0], 0.05), (1.0, [0.01, 0.05, 0.2]), ([1.0, 0.6, 0.2], [0.01, 0.05, 0.2])],
    ids=["plain", "operator_per_image", "sigma_per_image", "both_per_image"],
)
@pytest.mark.parametrize("task", TASKS)
def test_a_batch_equals_single_runs(method, task, t, sigma):
    y, operator = measured(task, t, sigma)
    sigma = torch.tensor(sigma)
    together = method(y, operator, sigma, prior(), seeds=[3, 1, 2])
    for i, seed in enumerate([3, 1, 2]):
        index = slice(i, i + 1)
        single = Operator(operator.degradation, y[index], operator.t[index] if operator.t.ndim else operator.t)
        alone = method(y[index], single, sigma[i] if sigma.ndim else sigma, prior(), seeds=[seed])
        assert alone.nfe == together.nfe == (15 if isinstance(method, PnPADMM) else 0)
        assert (alone.images - together.images[index]).abs().max() < 1e-5


@pytest.mark.parametrize("task", TASKS)
def test_methods_reduce_the_error_of_the_measurement(method, task):
    """The tests above do not detect a wrong sign or a missing solve."""
    degradation = DEGRADATIONS[task](SIZE)
    x = prior().sample(torch.randn(4, 3, SIZE, SIZE))
    y = degradation(x, 1.0) + 0.1 * torch.randn_like(x)
    method.weight = 0.08
    restored = method(y, Operator(degradation, y), 0.1, prior()).images
    before, after = (y - x).square().mean(), (restored - x).square().mean()
    assert torch.equal(restored, y) if isinstance(method, Measurement) else after < 0.7 * before


def test_nonlinear_degradations_are_refused(method):
    y, operator = measured("quantisation")
    if isinstance(method, Measurement):
        assert torch.equal(method(y, operator, 0.05).images, y)
        return
    with pytest.raises(ValueError, match="needs a linear degradation, and ColourQuantisation is not linear"):
        method(y, operator, 0.05, prior())
