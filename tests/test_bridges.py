"""I2SB, InDI and Palette: distributions, steps, training targets and comparison."""

import json
from itertools import pairwise
from pathlib import Path

import pytest
import torch
from conftest import BRIEF, SMALL, refused, run_here

from diracdiff.baselines import BridgeMethod
from diracdiff.checkpoints import to_recipe
from diracdiff.checkpoints.registry import from_recipe
from diracdiff.degradations import Identity, Operator
from diracdiff.losses import IncrementalReconstructionLoss, MeanSquaredError
from diracdiff.models import Denoiser
from diracdiff.noise import GeometricNoise, LogLogisticNoise
from diracdiff.process import StochasticDegradation
from diracdiff.restorer import load
from diracdiff.samplers import I2SB, BridgeSampler, ImageNoise, InDI, Palette, PowerGrid, ReverseSampler

NAMES = ["i2sb", "indi", "palette"]
BRIDGES = [I2SB(), I2SB(0.3), I2SB(ot_ode=True), InDI(0.1), Palette()]
IDS = ["i2sb", "i2sb_sr", "i2sb_ot_ode", "indi", "palette"]
DEGRADED = StochasticDegradation(Identity(), GeometricNoise())  # bridge samplers ignore the process


def double(value):
    return torch.tensor(value, dtype=torch.float64)


# distributions and steps


@pytest.mark.parametrize("bridge", BRIDGES, ids=IDS)
@pytest.mark.parametrize("eta", [1.0, 0.5, 0.0])
def test_steps_with_the_true_image_keep_the_distribution_of_x_t(bridge, eta):
    """x_t = x + w_t (y - x) + s_t z. Composed steps have the exact weight w_t and variance s_t^2."""
    if eta < 1 and isinstance(bridge, I2SB) and not bridge.ot_ode:
        pytest.skip("less noise than the bridge: another distribution, see the OT-ODE below")
    times = [1.0, 0.93, 0.5, 0.31, 0.3, 0.02, 0.001]
    weight, variance = bridge.weight(double(1.0)), bridge.std(double(1.0)) ** 2
    for t, s in pairwise(times):
        decay, std = bridge.step_coefficients(t, s, eta)
        weight, variance = decay * weight, decay**2 * variance + (eta * std) ** 2
        torch.testing.assert_close(weight, bridge.weight(double(s)), rtol=1e-9, atol=1e-12)
        torch.testing.assert_close(variance, bridge.std(double(s)) ** 2, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("bridge", BRIDGES, ids=IDS)
def test_iterates_of_the_sampler_have_the_distribution_of_x_t(bridge):
    generator = torch.Generator().manual_seed(0)
    x, y = 0.2, 0.9
    measurement = torch.full((1, 1, 200, 200), y, dtype=torch.float64)
    sampler = BridgeSampler(bridge, 6, grid=PowerGrid(2.0))
    states = sampler.states(DEGRADED, lambda y, t: torch.full_like(y, x), measurement, ImageNoise([0]))
    for state in states:
        expected = bridge.sample(torch.full_like(measurement, x), measurement, state.t, torch.zeros_like(measurement))
        std = bridge.std(double(state.t)).item()
        if state.t == 1:
            assert torch.equal(state.y, measurement)
            continue
        assert state.y.mean().item() == pytest.approx(expected.mean().item(), abs=4 * std / 200 + 1e-6)
        assert state.y.std().item() == pytest.approx(std, rel=0.02, abs=1e-6)
    assert (state.t, state.nfe) == (0.0, 6)
    samples = bridge.sample(
        torch.full_like(measurement, x), measurement, 0.4, torch.randn(1, 1, 200, 200, generator=generator)
    )
    assert samples.std().item() == pytest.approx(bridge.std(double(0.4)).item(), rel=0.02, abs=1e-6)


def test_i2sb_matches_the_published_bridge():
    """Symmetric schedule of 1000 betas for images in [-1, 1]; distributions of x_t and x_s (Eq. 4 and 11)."""
    half = torch.linspace(1e-4**0.5, 1e-3**0.5, 1000, dtype=torch.float64)[:500] ** 2
    betas = torch.cat([half, half.flip(0)])
    forward = betas.cumsum(0)
    bridge, t = I2SB(beta_max=1.0), torch.arange(1, 1001, dtype=torch.float64) / 1000
    torch.testing.assert_close(4 * bridge.sigma(t) ** 2, forward, rtol=3e-3, atol=0)
    variance = bridge.sigma(t) ** 2
    backward = variance[-1] - variance
    torch.testing.assert_close(bridge.weight(t), variance / (variance + backward))
    torch.testing.assert_close(bridge.std(t) ** 2, variance * backward / (variance + backward))
    t, s = 0.7, 0.2
    before, after = (bridge.sigma(double(value)).item() ** 2 for value in (t, s))
    decay, std = bridge.step_coefficients(t, s, 1.0)
    assert decay == pytest.approx(after / (before - after + after))
    assert std**2 == pytest.approx(after * (before - after) / before)


def test_the_ot_ode_with_the_true_image_ends_at_the_image():
    generator = torch.Generator().manual_seed(0)
    x, y = torch.rand(2, 2, 3, 4, 4, generator=generator, dtype=torch.float64)
    noiseless = I2SB(ot_ode=True)
    for sampler in (BridgeSampler(I2SB(), 5, 0.0), BridgeSampler(noiseless, 5)):
        assert not sampler.is_stochastic(DEGRADED)
        for state in sampler.states(DEGRADED, lambda y, t: x, y, ImageNoise([0, 1])):
            torch.testing.assert_close(state.y, noiseless.sample(x, y, state.t, torch.zeros_like(x)))
    assert torch.equal(state.y, x)
    assert BridgeSampler(I2SB(), 5).is_stochastic(DEGRADED)


def test_indi_follows_a_straight_line_from_one_draw_of_noise():
    generator = torch.Generator().manual_seed(0)
    x, y = torch.rand(2, 2, 3, 4, 4, generator=generator, dtype=torch.float64)
    bridge, z = InDI(0.1), ImageNoise([3, 4]).normal((3, 4, 4), torch.float64)
    _, *states = BridgeSampler(bridge, 7).states(DEGRADED, lambda y, t: x, y, ImageNoise([3, 4]))
    for state in states:
        line = (1 - state.t) * x + state.t * (y + 0.1 * z)
        torch.testing.assert_close(state.y, line)
        torch.testing.assert_close(bridge.sample(x, y, state.t, z), line)
    assert BridgeSampler(bridge).is_stochastic(DEGRADED) and not BridgeSampler(InDI(0.0)).is_stochastic(DEGRADED)


@pytest.mark.parametrize("eta", [0.0, 1.0])
def test_palette_with_the_exact_posterior_mean_samples_a_gaussian(eta):
    """For x | y ~ N(m, 0.2^2), DDIM and ancestral steps give this mean and variance at t = 0."""
    mean, std, bridge = 0.3, 0.2, Palette()

    def posterior_mean(x_t, t):
        gain = std**2 / (std**2 + bridge.sigma(t) ** 2)
        return mean + gain * (x_t - mean)

    sampler = BridgeSampler(bridge, 400, eta)
    y = torch.zeros(1, 1, 150, 150, dtype=torch.float64)
    end = sampler.run(DEGRADED, posterior_mean, y, ImageNoise([0]), output="iterate")
    assert end.mean().item() == pytest.approx(mean, abs=0.01)
    assert end.std().item() == pytest.approx(std, rel=0.03)


def test_palette_steps_are_those_of_ddim():
    """x_s = x_hat + sqrt(sigma_s^2 - c^2) (x_t - x_hat) / sigma_t + c z (Song et al. 2021, Eq. 12)."""
    bridge = Palette()
    before, after = bridge.sigma(double([0.6, 0.4])).tolist()
    for eta in (0.0, 0.3, 1.0):
        decay, std = bridge.step_coefficients(0.6, 0.4, eta)
        added = eta * after * (1 - (after / before) ** 2) ** 0.5
        assert eta * std == pytest.approx(added)
        assert decay == pytest.approx((after**2 - added**2) ** 0.5 / before)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: I2SB(beta_max=0.0), "beta_max=0"),
        (lambda: InDI(2.0), "epsilon=2"),
        (lambda: Palette(LogLogisticNoise(sigma_max=1.0)), "sigma at t = 1"),
        (lambda: BridgeSampler(InDI(), 0), "num_steps=0"),
        (lambda: BridgeMethod("dirac", None), "method=dirac"),
    ],
)
def test_arguments_are_checked(make, message):
    with pytest.raises(ValueError, match=message):
        make()


# networks


class Probe(torch.nn.Module):
    """Network that records its input and returns the first image plus the noise level."""

    image_channels, multiple, conditions = 3, 1, 1

    def __init__(self, images=1):
        super().__init__()
        self.images, self.seen = images, None

    def forward(self, y, level):
        self.seen = y
        return y[:, :3] + level.view(-1, 1, 1, 1)


def test_the_network_of_a_bridge_regresses_the_scaled_difference():
    """x_hat = x_t - sigma_t F. The loss with weight 1 / sigma_t^2 is ||F - (x_t - x) / sigma_t||^2 (Eq. 12)."""
    bridge, network = I2SB(), Probe(images=2)
    denoiser = Denoiser(network, "time", preconditioning="bridge")
    x, y, z = torch.rand(3, 2, 3, 8, 8)
    t = torch.tensor([0.2, 0.9])
    x_t = bridge.sample(x, y, t, z)
    x_hat = denoiser(bridge.process, x_t, t, measurement=y)
    torch.testing.assert_close(network.seen, torch.cat([x_t - 0.5, y - 0.5], 1) / 0.25)
    sigma = bridge.sigma(t).view(-1, 1, 1, 1)
    output = (x_t - 0.5) / 0.25 + t.view(-1, 1, 1, 1)
    torch.testing.assert_close(x_hat, x_t - sigma * output)
    expected = (output - (x_t - x) / sigma).square().mean()
    torch.testing.assert_close(IncrementalReconstructionLoss()(bridge.process, x_hat, x, t), expected)
    torch.testing.assert_close(MeanSquaredError()(bridge.process, x_hat, x, t), (x_hat - x).square().mean())


@pytest.mark.parametrize("bridge", BRIDGES, ids=IDS)
def test_a_sampler_with_a_bridge_has_a_recipe(bridge):
    sampler = BridgeSampler(bridge, 7, 0.5, PowerGrid(2.0))
    built = from_recipe(to_recipe(sampler))
    assert to_recipe(built) == to_recipe(sampler)
    torch.testing.assert_close(built.bridge.std(double(0.3)), bridge.std(double(0.3)))
    assert built.replace(num_steps=3).num_steps == 3 and isinstance(built, ReverseSampler)


# training and comparison

DATA = ["task=inpaint", *BRIEF, "lpips=null"]


@pytest.fixture(scope="module")
def trained(tmp_path_factory, folder):
    """Checkpoints of the three methods after a few training steps."""
    cwd = tmp_path_factory.mktemp("bridges")
    for name in NAMES:
        assert run_here(cwd, "train", *folder, *SMALL, *DATA, f"experiment={name}", f"hydra.run.dir={name}") == 0
    return {name: cwd / name / "best.ckpt" for name in NAMES}


@pytest.mark.parametrize("name", NAMES)
def test_a_checkpoint_stores_its_task_and_bridge(trained, name):
    restorer = load(trained[name])
    assert restorer.training["bridge"] == to_recipe(restorer.sampler.bridge)
    assert restorer.name == "inpaint" and restorer.process.sigma_y == pytest.approx(0.05)
    assert restorer.denoiser.condition_on_measurement == (name == "palette")
    assert restorer.stopping_points["psnr"] is not None
    summary = json.loads((trained[name].parent / "summary.json").read_text())
    assert summary["measurement"]["nfe"] == 0 and summary["one_shot"]["nfe"] == 1
    x = torch.rand(2, 3, 32, 32)
    both = restorer.sample(restorer.measure(x, ["a", "b"]).y, 2, "t:0", names=["a", "b"])
    assert both.nfe == 4 and both.images.isfinite().all() and not torch.equal(*both.images)


@pytest.mark.parametrize("name", NAMES)
def test_results_do_not_depend_on_the_batch(trained, name):
    method = BridgeMethod(name, trained[name], num_steps=3)
    restorer = method.restorer
    y = restorer.measure(torch.rand(3, 3, 32, 32)).y
    operator = Operator(restorer.process.degradation, y)
    together = method(y, operator, 0.05, seeds=[3, 4, 5])
    assert together.nfe == 3
    torch.testing.assert_close(together.images[1:2], method(y[1:2], operator, 0.05, seeds=[4]).images)
    assert not torch.equal(together.images, method(y, operator, 0.05, seeds=[6, 7, 8]).images)


def test_a_comparison_has_a_row_for_each_method(trained, run, folder, call):
    options = [*("tune_images=2", "test_images=3", "batch_size=2", "device=cpu"), "dirac.search=null", "tune_for=psnr"]
    options += ["lpips=null", "trials=2", *folder[:2], *folder[3:]]
    dirac, keys = f"checkpoint={run[1] / 'best.ckpt'}", {n: f"baseline.{n}.method.checkpoint" for n in NAMES}
    checkpoints = [f"{keys[name]}={trained[name]}" for name in NAMES]
    steps = [
        "baseline.i2sb.search.num_steps=[3]",
        "baseline.indi.search.num_steps=[2]",
        "baseline.palette.search.num_steps=[4]",
    ]
    status, errors = call("compare", dirac, *options, "baseline=[i2sb,indi,palette]", *checkpoints, *steps)
    assert status == 0, errors
    rows = {row["method"]: row for row in json.loads(Path("comparison/comparison.json").read_text())["rows"]}
    assert {name: rows[name]["calls"] for name in NAMES} == {"i2sb": 3, "indi": 2, "palette": 4}
    assert len({row["psnr"] for row in rows.values()}) == len(rows) == 4

    single = ["baseline=[i2sb]", "output=other"]
    refused(call("compare", dirac, *options, *single), f"{keys['i2sb']}=null: must be a checkpoint", "experiment=i2sb")
    refused(call("compare", dirac, *options, *single, f"{keys['i2sb']}={trained['indi']}"), "must be of i2sb")
    refused(call("compare", dirac, *options, *single, f"{keys['i2sb']}={run[1] / 'best.ckpt'}"), "must be of i2sb")
    refused(call("compare", f"checkpoint={trained['i2sb']}", *options), "must not be of I2SB, a comparison method")
    training = [*folder, *SMALL, "task=deblur", "lpips=null", "hydra.run.dir=deblur", "method=paper"]
    assert call("train", *training, "trainer.max_epochs=1", "trainer.check_val_every_n_epoch=1")[0] == 0
    blur = ["checkpoint=deblur/best.ckpt", *options, *single, f"{keys['i2sb']}={trained['i2sb']}"]
    refused(call("compare", *blur), "undoes another degradation", keys["i2sb"])
    assert not Path("other").exists()


def test_a_sampler_must_fit_the_network(trained, run, folder, call):
    paths = ["input=x", "output=out"]
    refused(call("restore", f"checkpoint={trained['indi']}", *paths, "sampler=ode"), "^error: sampler: does not fit")
    refused(call("restore", f"checkpoint={run[1] / 'best.ckpt'}", *paths, "sampler=i2sb"), "sampler: does not fit")
    refused(call("train", *folder, *SMALL, *DATA, "sampler=i2sb", "hydra.run.dir=a"), "experiment=i2sb")
