"""The prior with the DiffUNet of deepinv: units, noise range and warnings."""

import pytest
import torch

from diracdiff.baselines import DiffUNetPrior


@pytest.fixture(scope="module")
def network():
    """A DiffUNet with random weights, including the last layer."""
    models = pytest.importorskip("deepinv").models
    torch.manual_seed(0)
    network = models.DiffUNet(pretrained=None).eval().half().float()
    network.sqrt_alphas_cumprod, network.sqrt_1m_alphas_cumprod = network.get_alpha_prod()[:-3:-1]
    last = network.out[-1]
    last.weight.data.normal_(std=0.02)
    last.weight.data = last.weight.data.half().float()
    return network.requires_grad_(False)


@pytest.fixture(scope="module")
def file(network, tmp_path_factory):
    path = tmp_path_factory.mktemp("weights") / "diffunet.pt"
    torch.save({name: value.half() for name, value in network.state_dict().items()}, path)
    yield path
    path.unlink()


@pytest.fixture
def prior(file):
    return DiffUNetPrior(file)


def schedule():
    """Cumulative products a_t of the noise schedule, in double precision."""
    return torch.cumprod(1 - torch.linspace(1e-4, 0.02, 1000, dtype=torch.float64), 0)


def test_noise_range_covers_the_1000_times(prior):
    a = schedule()
    levels = ((1 - a) / a).sqrt() / 2
    assert prior.sigma_min == pytest.approx(levels[0].item(), rel=1e-3) == pytest.approx(0.005, rel=1e-3)
    assert prior.sigma_max == pytest.approx(levels[-1].item(), rel=1e-3) == pytest.approx(78.7, rel=1e-2)


def test_sigma_is_in_units_of_the_image_range(network, prior):
    x, times = torch.rand(2, 3, 32, 32), torch.tensor([30, 900])
    a = schedule()[times].float().reshape(-1, 1, 1, 1)
    sigma = ((1 - a) / a).sqrt() / 2
    y = x + sigma * torch.randn_like(x)
    scaled = a.sqrt() * (2 * y - 1)
    noise = network.forward_diffusion(scaled, times)[:, :3]
    clean = (scaled - (1 - a).sqrt() * noise) / a.sqrt()
    expected = (clean.clamp(-1, 1) + 1) / 2
    assert (prior(y, sigma.flatten()) - expected).abs().max() < 1e-3
    assert (prior(y, 2 * sigma.flatten()) - expected).abs().max() > 0.05


def test_the_prior_equals_the_denoiser_of_deepinv(network, prior, capsys):
    """Images of other sizes are padded by reflection, with a single warning."""
    y, sigma = torch.rand(2, 3, 32, 32), torch.tensor([0.03, 0.4])
    together = prior(y, sigma)
    assert torch.equal(together, network(y, sigma))
    assert (prior(y[1:].double(), 0.4) - together[1:]).abs().max() < 1e-4
    (line,) = capsys.readouterr().err.splitlines()
    assert "256 x 256" in line and "32 x 32" in line
    padded = torch.nn.functional.pad(y[:1, :, :30, :25], (0, 7, 0, 2), mode="reflect")
    assert torch.equal(prior(y[:1, :, :30, :25], 0.1), network(padded, torch.tensor([0.1]))[..., :30, :25])
    assert not capsys.readouterr().err and prior(y[:1].double(), 0.1).dtype == torch.float64
