"""Plug-and-play ADMM with a known solution, and denoisers of one noise level."""

import pytest
import torch
import torch.nn.functional as F
from conftest import DEGRADATIONS

from diracdiff.baselines import NetworkPrior, PnPADMM
from diracdiff.degradations import Operator
from diracdiff.models import Denoiser, DnCNN
from diracdiff.oracles import GaussianPrior

SIZE, SIGMA = 12, 0.05


def gaussian(dtype=torch.float64):
    """Prior of smooth images with the pixel variance 0.05."""
    position = torch.arange(SIZE, dtype=dtype)
    return GaussianPrior(0.05**0.5 * torch.exp(-(position - position[:, None]).abs() / 6))


def measured(task, prior, count=3):
    degradation = DEGRADATIONS[task](SIZE)
    x = prior.sample(torch.randn(count, 3, SIZE, SIZE, dtype=torch.float64))
    y = degradation(x, 1.0) + SIGMA * torch.randn_like(x)
    return y, Operator(degradation, y)


def mode(y, operator, prior, variance):
    """Compute the mode of p(x | y), argmin ||A x - y||^2 / variance + (x - mean)^T C^-1 (x - mean), with matrices."""
    n = SIZE * SIZE
    one = torch.eye(n, dtype=torch.float64).reshape(n, 1, SIZE, SIZE)
    a = operator.degradation(one, 1.0).reshape(n, n).mT
    precision = torch.linalg.inv(torch.kron(prior.matrix, prior.matrix))
    rhs = (y - operator(torch.full_like(y, prior.mean))).flatten(2) @ a / variance
    return prior.mean + torch.linalg.solve(a.mT @ a / variance + precision, rhs.mT).mT.reshape(y.shape)


@pytest.mark.parametrize("level", [0.1, 0.05])
@pytest.mark.parametrize("task", ["blur", "inpainting", "box", "super_resolution"])
def test_pnp_admm_converges_to_the_posterior_mode(task, level):
    prior = gaussian()
    y, operator = measured(task, prior)
    restored = PnPADMM(SIGMA**2 / level**2, num_steps=2000, level=level)(y, operator, SIGMA, prior)
    assert restored.nfe == 2000
    exact = mode(y, operator, prior, SIGMA**2)
    assert (restored.images - exact).abs().max() < 1e-4
    assert (mode(y, operator, prior, 2 * SIGMA**2) - exact).abs().max() > 3e-3


def test_the_penalty_weights_prior_and_data():
    prior = gaussian()
    y, operator = measured("blur", prior)
    restored = PnPADMM(1.5, num_steps=600, level=0.1)(y, operator, SIGMA, prior)
    assert (restored.images - mode(y, operator, prior, 1.5 * 0.1**2)).abs().max() < 1e-4


class Shift:
    """Denoiser that adds a constant and records the noise levels of its calls."""

    def __init__(self, shift, sigma_min, sigma_max):
        self.shift, self.sigma_min, self.sigma_max, self.levels = shift, sigma_min, sigma_max, []

    def __call__(self, y, sigma):
        self.levels.append(sigma)
        return y + self.shift


def test_a_denoiser_replaces_the_prior_and_its_calls_are_counted():
    y, operator = measured("blur", gaussian())
    single, wide = Shift(0.01, 0.1, 0.1), Shift(0.5, 0.01, 1.0)
    method = PnPADMM(num_steps=7, level=None, denoiser=single)
    assert not method.needs_prior and PnPADMM().needs_prior
    restored = method(y, operator, SIGMA)
    assert restored.nfe == 7 and single.levels == [0.1] * 7
    assert torch.equal(method(y, operator, SIGMA, wide).images, restored.images) and wide.levels == []
    explicit = PnPADMM(num_steps=7, level=None)(y, operator, SIGMA, Shift(0.01, 0.1, 0.1))
    assert explicit.nfe == 7 and torch.equal(explicit.images, restored.images)
    PnPADMM(num_steps=3, level=0.07)(y, operator, SIGMA, wide)
    assert wide.levels == [0.07] * 3
    with pytest.raises(ValueError, match="needs a prior"):
        PnPADMM()(y, operator, SIGMA)
    with pytest.raises(ValueError, match=r"has levels from 0\.01 to 1\. Set level"):
        PnPADMM(level=None)(y, operator, SIGMA, wide)


# DnCNN


def test_dncnn_has_17_layers_and_processes_channels_independently():
    network = DnCNN().eval()
    convolutions = [module for module in network.modules() if isinstance(module, torch.nn.Conv2d)]
    assert len(convolutions) == 17 and len(network.norms) == 15
    assert convolutions[0].in_channels == convolutions[-1].out_channels == 1
    y, level = torch.rand(2, 3, 15, 18), torch.full((2,), 0.1)
    noise = network(y, level)
    assert noise.shape == y.shape
    order = [2, 0, 1]
    assert torch.allclose(network(y[:, order], level), noise[:, order], atol=1e-5)
    assert torch.equal(network(y, 2 * level), noise)
    other = y.clone()
    other[:, 1] += 0.3
    change = (network(other, level) - noise).abs().amax((0, 2, 3))
    assert change[1] > 1e-3 and change[[0, 2]].max() < 1e-5


def test_a_trained_dncnn_denoises_and_works_in_pnp_admm():
    network = Denoiser(DnCNN(depth=5, channels=16))
    optimizer = torch.optim.Adam(network.parameters(), lr=5e-3)

    def batch(count=8):
        x = F.interpolate(torch.rand(count, 3, 4, 4), size=(24, 24), mode="bicubic")
        return x, x + 0.1 * torch.randn_like(x)

    for _ in range(50):
        x, y = batch()
        loss = (network.denoise(y, 0.1) - x).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    prior = NetworkPrior(network, 0.1, 0.1)
    with torch.no_grad():
        x, y = batch(16)
        assert (prior(y, 0.1) - x).square().mean() < 0.5 * (y - x).square().mean()
    method = PnPADMM(penalty=1.0, num_steps=5, level=None, denoiser=prior)
    restored = method(y, Operator(DEGRADATIONS["identity"](24), y), 0.1)
    assert restored.nfe == 5
    assert (restored.images - x).square().mean() < 0.6 * (y - x).square().mean()
