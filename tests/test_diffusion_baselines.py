"""Posterior samplers with a prior: noise levels, published formulas, and properties of every method."""

import math
from itertools import pairwise

import pytest
import torch
from conftest import DEGRADATIONS

from diracdiff.baselines import DDRM, DPS, DDPMLevels, DiffPIR, PiGDM
from diracdiff.degradations import Operator
from diracdiff.degradations.svd import Mask
from diracdiff.oracles import GaussianPrior
from diracdiff.samplers import ImageNoise

SIZE = 16
METHODS = {
    "DDRM": lambda **k: DDRM(**{"num_steps": 6} | k),
    "DPS": lambda **k: DPS(**{"num_steps": 7, "zeta": 0.05} | k),
    "DPS_posterior": lambda **k: DPS(**{"num_steps": 7, "guidance": "posterior"} | k),
    "DiffPIR": lambda **k: DiffPIR(**{"num_steps": 8} | k),
    "PiGDM": lambda **k: PiGDM(**{"num_steps": 9} | k),
}
OPERATORS = ("blur", "inpainting", "box")


def correlated(size=SIZE, std=0.2, length=4.0):
    position = torch.arange(size, dtype=torch.float64)
    return GaussianPrior(std * torch.exp(-(position - position.unsqueeze(-1)).abs() / length))


class Spy:
    """Prior with a narrow noise range that records the noise levels of its calls."""

    def __init__(self, prior, sigma_min=0.01, sigma_max=30.0):
        self.prior, self.sigma_min, self.sigma_max, self.levels = prior, sigma_min, sigma_max, []

    def __call__(self, y, sigma):
        self.levels.append(float(sigma))
        return self.prior(y, sigma)


@pytest.fixture(params=METHODS)
def method(request):
    return METHODS[request.param]()


@pytest.fixture(params=OPERATORS)
def degradation(request):
    return DEGRADATIONS[request.param](256 if request.param == "blur" else SIZE)


def measurement(degradation, t=1.0, sigma=0.05, count=3):
    prior = correlated()
    x = prior.sample(torch.randn(count, 3, SIZE, SIZE))
    y = degradation(x, t) + torch.as_tensor(sigma).reshape(-1, 1, 1, 1) * torch.randn_like(x)
    return y, prior


@pytest.mark.parametrize("levels", [DDPMLevels(), DDPMLevels(start=1.0)])
@pytest.mark.parametrize("limits", [(0.001, 40.0), (0.03, 5.0)])
@pytest.mark.parametrize("steps", [2, 20, 1000])
def test_levels_fall_between_the_limits_of_the_prior(levels, limits, steps):
    prior = Spy(None, *limits)
    values = levels(steps, prior)
    assert len(values) == steps
    assert all(a > b > 0 for a, b in pairwise(values))
    top = min(limits[1], levels.start)
    assert 0.9 * top < values[0] <= top
    assert limits[0] <= values[-1] < max(1.2 * limits[0], 0.0051)


def test_1000_levels_are_those_of_ddpm():
    prior = Spy(None, 1e-4, 100.0)
    abar, values = 1.0, []
    for k in range(1000):
        abar *= 1 - (1e-4 + k / 999 * (0.02 - 1e-4))
        values.append(math.sqrt((1 - abar) / abar) / 2)
    assert DDPMLevels()(1000, prior) == pytest.approx(values[::-1], rel=1e-9)
    assert DDPMLevels()(2, prior) == pytest.approx([values[-1], values[0]], rel=1e-9)


def test_dps_is_the_published_chain_on_minus_one_to_one():
    """Chung et al. 2023, Algorithm 1, for images in [-1, 1] and a variance-preserving chain."""
    steps, zeta = 20, 0.05
    levels = DDPMLevels(beta_max=0.35, training_steps=steps)
    y, prior = measurement(DEGRADATIONS["inpainting"](SIZE), count=2)
    y = y.double()
    operator = Operator(DEGRADATIONS["inpainting"](SIZE), y)
    result = DPS(num_steps=steps, zeta=zeta, levels=levels)(y, operator, 0.05, prior).images

    beta = torch.linspace(1e-4, 0.35, steps, dtype=torch.float64)
    abar = torch.cat([torch.ones(1, dtype=torch.float64), (1 - beta).cumprod(0)])
    noise = ImageNoise(range(2))
    u = (1 - abar[-1]).sqrt() * noise.normal(y.shape[1:], y.dtype)
    for i in range(steps, 0, -1):
        b, current, before = beta[i - 1], abar[i], abar[i - 1]
        u = u.detach().requires_grad_()
        x_hat = 2 * prior((u / current.sqrt() + 1) / 2, ((1 - current) / current).sqrt() / 2) - 1
        # hidden values of the mask are -1 in the range [-1, 1], so that y' = 2 y - 1
        norm = ((2 * y - 1) - (2 * operator((x_hat + 1) / 2) - 1)).flatten(1).norm(dim=1)
        (gradient,) = torch.autograd.grad(norm.sum(), u)
        mean = (1 - b).sqrt() * (1 - before) / (1 - current) * u + before.sqrt() * b / (1 - current) * x_hat
        u = mean - zeta * gradient
        if i > 1:
            u = u + ((1 - before) / (1 - current) * b).sqrt() * noise.normal(y.shape[1:], y.dtype)
    assert (result - (u.detach() + 1) / 2).abs().max() < 1e-6


def test_ddrm_is_the_published_rule_for_every_coefficient():
    """Kawar et al. 2022, Eq. 7 and 8, for each coefficient."""
    eta, eta_b, sigma = 0.7, 0.9, 0.05
    y, prior = measurement(DEGRADATIONS["inpainting"](SIZE), count=1)
    y = y.double()
    mask = torch.rand(SIZE, SIZE, dtype=torch.float64)
    mask[:4], mask[4], mask[5] = 0.0, 1e-3, 1e-30
    operator = Operator(DEGRADATIONS["inpainting"](SIZE), y)
    operator.svd = Mask(mask)
    method = DDRM(num_steps=5, eta=eta, eta_b=eta_b)
    result = method(y, operator, sigma, prior).images

    levels = [*method.levels(5, prior), 0.0]
    noise, s = ImageNoise([0]), mask.expand_as(y).flatten().tolist()
    w = y.flatten().tolist()

    def rule(i, level, following, x, h, z):
        if level is None:
            visible = s[i] > 0 and following >= sigma / s[i]
            return w[i] / s[i] + math.sqrt(following**2 - (sigma / s[i]) ** 2) * z if visible else 0.5 + following * z
        if s[i] == 0:
            return h + math.sqrt(1 - eta**2) * following * (x - h) / level + eta * following * z
        if following < sigma / s[i]:
            return h + math.sqrt(1 - eta**2) * following * (w[i] - s[i] * h) / sigma + eta * following * z
        spread = math.sqrt(following**2 - (eta_b * sigma / s[i]) ** 2)
        return (1 - eta_b) * h + eta_b * w[i] / s[i] + spread * z

    x, h, level = [0.0] * len(s), [0.0] * len(s), None
    for following in levels:
        if following == 0:
            break
        z = noise.normal(y.shape[1:], y.dtype).flatten().tolist()
        x = [rule(i, level, following, x[i], h[i], z[i]) for i in range(len(s))]
        h = prior(torch.tensor(x, dtype=y.dtype).reshape(y.shape), torch.tensor(following).double()).flatten().tolist()
        level = following
    assert (result.flatten() - torch.tensor(h, dtype=y.dtype)).abs().max() < 1e-6


def test_diffpir_and_pigdm_return_a_noiseless_measurement():
    """For the identity and almost no noise, the posterior concentrates at y."""
    y, prior = measurement(DEGRADATIONS["identity"](SIZE), sigma=1e-3)
    operator = Operator(DEGRADATIONS["identity"](SIZE), y)
    for method in (DiffPIR(num_steps=20), PiGDM(num_steps=20)):
        assert (method(y, operator, 1e-3, prior).images - y).abs().max() < 0.01


def test_a_batch_with_per_image_operators_and_noise_equals_single_images(method, degradation):
    t, sigma = torch.tensor([0.3, 0.7, 1.0]), torch.tensor([0.02, 0.05, 0.1])
    y, prior = measurement(degradation, t, sigma)
    batch = method(y, Operator(degradation, y, t), sigma, prior, seeds=[5, 6, 7]).images
    assert torch.isfinite(batch).all()
    for i in range(3):
        one = y[i : i + 1]
        single = method(one, Operator(degradation, one, t[i]), sigma[i], prior, seeds=[5 + i]).images
        assert (single - batch[i : i + 1]).abs().max() < 1e-4


def test_the_seeds_determine_the_results(method):
    degradation = DEGRADATIONS["inpainting"](SIZE)
    y, prior = measurement(degradation)
    first, same, other = (
        method(y, Operator(degradation, y), 0.05, prior, seeds=s).images for s in ([1, 2, 3], [1, 2, 3], [4, 5, 6])
    )
    assert torch.equal(first, same)
    assert not torch.allclose(first, other, atol=1e-2)


def test_the_prior_is_evaluated_within_its_limits_and_the_measurement_is_not_changed(method, degradation):
    y, prior = measurement(degradation)
    spy, before = Spy(prior), y.clone()
    restored = method(y, Operator(degradation, y), 0.05, spy)
    assert restored.nfe == len(spy.levels) == method.num_steps and torch.equal(y, before)
    assert all(spy.sigma_min * (1 - 1e-6) <= sigma <= spy.sigma_max * (1 + 1e-6) for sigma in spy.levels)
    with pytest.raises(ValueError, match=f"{type(method).__name__}: needs a prior"):
        method(y, Operator(degradation, y), 0.05)


@pytest.mark.parametrize("name", METHODS)
def test_operators_without_a_decomposition(name):
    degradation, method = DEGRADATIONS["motion_blur"](SIZE), METHODS[name](num_steps=2)
    y, prior = measurement(degradation)
    if method.needs_svd:
        with pytest.raises(ValueError, match=r"DDRM: needs a closed-form SVD, and MotionBlur"):
            method(y, Operator(degradation, y), 0.05, prior)
        return
    assert name != "DDRM"
    assert torch.isfinite(method(y, Operator(degradation, y), 0.05, prior).images).all()


@pytest.mark.parametrize("name", METHODS)
def test_nonlinear_operators(name):
    degradation, method = DEGRADATIONS["quantisation"](SIZE), METHODS[name]()
    y, prior = measurement(degradation, 0.3)
    operator = Operator(degradation, y, 0.3)
    if method.needs_linear:
        with pytest.raises(ValueError, match=f"{type(method).__name__}: needs a linear degradation, and ColourQuant"):
            method(y, operator, 0.05, prior)
        return
    assert name.startswith("DPS")
    guided = METHODS[name](num_steps=200, zeta=0.3 if name == "DPS" else 1.0)
    unguided = METHODS[name](num_steps=200, zeta=0.0)
    error, error_0 = ((y - operator(m(y, operator, 0.05, prior).images)).norm() for m in (guided, unguided))
    assert error < 0.4 * error_0


@pytest.mark.parametrize(
    "build",
    [
        lambda: DDRM(num_steps=1),
        lambda: DDRM(eta=1.1),
        lambda: DPS(guidance="mean"),
        lambda: DiffPIR(weight=0),
        lambda: DDPMLevels(beta_min=0.5, beta_max=0.1),
        lambda: DDPMLevels(start=0.005)(5, Spy(None)),
    ],
)
def test_arguments_are_checked(build):
    with pytest.raises(ValueError, match="must"):
        build()
