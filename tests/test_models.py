"""NCSN++, denoisers and oracles."""

import pytest
import torch
from conftest import ROOT
from hydra import compose, initialize_config_dir
from hydra.utils import instantiate

from diracdiff.degradations import GaussianInpainting, Identity, LinearSeverity
from diracdiff.models import Denoiser, NCSNpp
from diracdiff.noise import GeometricNoise
from diracdiff.oracles import FiniteDataOracle, GaussianOracle
from diracdiff.process import StochasticDegradation

TINY = dict(channels=8, multipliers=[1, 2], blocks=1, attention_levels=[1], dropout=0.0)


def network_of(model):
    with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
        return instantiate(compose("train", [f"model={model}"]).model.network, _convert_="all")


@pytest.mark.parametrize(
    ("model", "parameters"),
    [("base", 67_745_027), ("large", 126_357_251), ("xlarge", 520_915_459)],
)
def test_published_parameter_counts(model, parameters):
    with torch.device("meta"):
        network = network_of(model)
    assert sum(p.numel() for p in network.parameters()) == parameters


@pytest.mark.parametrize("patch", [1, 2, 4])
def test_shapes_and_gradients(patch):
    network = NCSNpp(**TINY, patch=patch)
    y = torch.rand(2, 3, 16, 24)
    output = network(y, torch.tensor([0.01, 0.05]))
    assert output.shape == y.shape
    output.square().sum().backward()
    assert all(p.grad is not None for p in network.parameters())


def test_every_input_pixel_and_the_level_matter():
    network = NCSNpp(**TINY)
    with torch.no_grad():
        for p in network.parameters():
            p.add_(0.05 * torch.randn_like(p))
    y = torch.rand(1, 3, 16, 16, requires_grad=True)
    network(y, torch.tensor([0.02])).square().sum().backward()
    assert (y.grad != 0).all()
    assert not torch.allclose(network(y, torch.tensor([0.02])), network(y, torch.tensor([0.04])))


@pytest.mark.parametrize("local", [True, False])
def test_a_local_network_has_a_limited_receptive_field(local):
    network = NCSNpp(**TINY | {"local": local, "attention_levels": [] if local else [1]})
    with torch.no_grad():
        for p in network.parameters():
            p.add_(0.05 * torch.randn_like(p))
        y, level = torch.rand(1, 3, 16, 128), torch.tensor([0.02])
        other = y.clone()
        other[..., 96:] = torch.rand(1, 3, 16, 32)
        change = (network(other, level) - network(y, level)).abs().amax((0, 1, 2))
    assert (change[96:] > 0).all() and change[:48].any() != local


def test_images_of_a_batch_are_independent():
    network = NCSNpp(**TINY).eval()
    y, level = torch.rand(3, 3, 16, 16), torch.tensor([0.01, 0.02, 0.05])
    singles = torch.cat([network(y[i : i + 1], level[i : i + 1]) for i in range(3)])
    assert torch.allclose(network(y, level), singles, atol=1e-5)


def test_invalid_shapes_are_refused():
    network = NCSNpp(8, [1, 1, 1], 1, [2], 0.0, patch=2)
    with pytest.raises(ValueError, match="multiples of 8, got 20x16"):
        network(torch.rand(1, 3, 20, 16), torch.tensor([0.1]))
    with pytest.raises(ValueError, match=r"\(B, 3, H, W\), got \(1, 1, 16, 16\)"):
        network(torch.rand(1, 1, 16, 16), torch.tensor([0.1]))


@pytest.mark.parametrize(
    "bad",
    [
        {"channels": 30},
        {"multipliers": []},
        {"blocks": 0},
        {"attention_levels": [2]},
        {"dropout": 1.0},
        {"patch": 0},
        {"local": True},
    ],
)
def test_invalid_networks_are_refused(bad):
    with pytest.raises(ValueError, match=next(iter(bad))):
        NCSNpp(**TINY | bad)


def denoising(sigma_max=0.05):
    return StochasticDegradation(Identity(), GeometricNoise(0.01, sigma_max))


def test_denoiser_predicts_the_residual_from_the_noise_level():
    seen = []

    class Network(torch.nn.Module):
        image_channels, multiple, conditions = 3, 1, 1

        def forward(self, y, level):
            seen.append(level)
            return torch.full_like(y, 0.25)

    y, t = torch.rand(3, 3, 8, 8), torch.tensor([0.0, 0.5, 1.0])
    process = denoising()
    assert torch.equal(Denoiser(Network())(process, y, t), y + 0.25)
    assert torch.equal(Denoiser(Network(), residual=False)(process, y, t), torch.full_like(y, 0.25))
    Denoiser(Network(), conditioning="time")(process, y, torch.tensor(0.5))
    assert torch.equal(seen[0], process.noise(t)) and torch.equal(seen[2], torch.full((3,), 0.5))
    with pytest.raises(ValueError, match="conditioning=class: must be one of"):
        Denoiser(Network(), conditioning="class")


@pytest.mark.parametrize("preconditioning", ["none", "edm"])
@pytest.mark.parametrize("conditioning", ["sigma", "log_sigma"])
def test_a_denoiser_accepts_noise_levels_and_times(conditioning, preconditioning):
    process = denoising(10)
    denoiser = Denoiser(NCSNpp(8, [1, 2], 1, [1], 0.0), conditioning, preconditioning=preconditioning).eval()
    y, t = torch.randn(3, 3, 16, 16), torch.tensor([0.1, 0.5, 1.0])
    assert torch.allclose(denoiser.denoise(y, process.noise(t)), denoiser(process, y, t), atol=1e-6)
    assert torch.allclose(
        denoiser.denoise(y, 0.3), torch.cat([denoiser.denoise(image[None], 0.3) for image in y]), atol=1e-5
    )
    with pytest.raises(ValueError, match="must depend on y and sigma alone"):
        Denoiser(denoiser.network, "time").denoise(y, 0.1)


@pytest.mark.parametrize("shape", [(16, 16), (13, 21), (3, 40)])
def test_a_denoiser_accepts_any_size(shape):
    class NeedsEight(torch.nn.Module):
        image_channels, multiple, conditions = 3, 8, 1

        def forward(self, y, level):
            assert y.shape[-1] % 8 == y.shape[-2] % 8 == 0
            return 2 * y

    y, process = torch.rand(2, 3, *shape), denoising()
    assert torch.equal(Denoiser(NeedsEight(), residual=False)(process, y, torch.tensor(0.5)), 2 * y)
    assert torch.equal(Denoiser(NeedsEight())(process, y, torch.tensor([0.5, 0.1])), 3 * y)
    assert torch.equal(Denoiser(NeedsEight(), residual=False).denoise(y, 0.05), 2 * y)


def test_finite_data_oracle_is_the_posterior_mean(process):
    images = torch.rand(1, 3, 32, 32, dtype=torch.float64) + 5e-4 * torch.randn(3, 3, 32, 32, dtype=torch.float64)
    y = process.sample(images[:2], 0.8, torch.randn(2, 3, 32, 32, dtype=torch.float64))
    oracle = FiniteDataOracle(process, images)(y, torch.tensor([0.8, 0.8], dtype=torch.float64))
    for b in range(2):
        density = torch.distributions.Normal(process.mean(images, 0.8), process.sigma(0.8, images))
        weight = density.log_prob(y[b]).flatten(1).sum(1).softmax(0)
        assert weight.max() < 0.99
        assert torch.allclose(oracle[b], (weight.reshape(3, 1, 1, 1) * images).sum(0))


def test_gaussian_oracle_is_the_regression_of_x_on_y():
    process = StochasticDegradation(GaussianInpainting(LinearSeverity(0.1, 60), 8), GeometricNoise(0.02, 0.3))
    x = 0.5 + 0.2 * torch.randn(100_000, 1, 8, 8)
    y = process.sample(x, 0.7, torch.randn_like(x))
    slope = ((x - x.mean(0)) * (y - y.mean(0))).mean(0) / y.var(0)
    oracle = GaussianOracle(process, 0.5, 0.2)
    change_of_x_hat = oracle(y[:1] + 1, torch.tensor(0.7)) - oracle(y[:1], torch.tensor(0.7))
    assert torch.allclose(change_of_x_hat[0], slope, atol=0.02)
    assert torch.allclose(oracle(y.mean(0, keepdim=True), torch.tensor(0.7)), x.mean(0), atol=0.01)
