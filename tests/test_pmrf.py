"""PMRF: the flow from the image of a regression network, training and comparison."""

import json
from pathlib import Path

import pytest
import torch
from conftest import BRIEF, SMALL, run_here

from diracdiff.baselines import PMRF, PosteriorMeanFlow
from diracdiff.checkpoints.weights import fingerprint
from diracdiff.degradations import Identity, Operator
from diracdiff.models import Denoiser
from diracdiff.noise import LinearNoise
from diracdiff.process import StochasticDegradation
from diracdiff.restorer import load
from diracdiff.samplers import Exponential, ImageNoise, ReverseSampler

LIMITS = [*("tune_images=2", "test_images=3", "batch_size=2", "device=cpu"), "dirac.search=null", "tune_for=psnr"]


class Velocity(torch.nn.Module):
    """Network F(z, t) = z + t, which exposes the formula of the denoiser."""

    image_channels, multiple, conditions = 3, 1, 1

    def forward(self, z, level):
        return z + level.view(-1, 1, 1, 1)


def test_the_denoiser_of_a_flow_extrapolates_its_velocity():
    """x_hat = y + t S F((y - m) / S, t), with S = 1/4 and m = 1/2."""
    denoiser = Denoiser(Velocity(), conditioning="time", preconditioning="flow")
    y, t = torch.rand(2, 3, 8, 8), torch.tensor([0.3, 0.8])
    scale = t.view(-1, 1, 1, 1)
    torch.testing.assert_close(
        denoiser(StochasticDegradation(Identity(), LinearNoise(0.1)), y, t),
        y + scale * 0.25 * ((y - 0.5) / 0.25 + scale),
    )
    with pytest.raises(ValueError, match="must depend on y and sigma alone"):
        denoiser.denoise(y, 0.1)


def test_sampling_steps_are_euler_steps_of_the_flow():
    process = StochasticDegradation(Identity(), LinearNoise(0.1))
    sampler = ReverseSampler(num_steps=5, solver=Exponential(), eta=0.0)
    start = torch.rand(2, 3, 4, 4, dtype=torch.float64)

    def velocity(z, t):
        return torch.sin(3 * z) - t

    z = start
    for k in range(5):
        z = z + velocity(z, 1 - k / 5) / 5
    result = sampler.run(process, lambda z, t: z + t * velocity(z, t), start, ImageNoise([0, 1]))
    torch.testing.assert_close(result, z)


def test_the_exact_flow_restores_the_distribution_of_the_images():
    """x ~ N(0, 1) and y = x + sigma z. f(y) has too little variance, and the flow restores the variance of x."""
    sigma, s = 1.0, 0.1
    process = StochasticDegradation(Identity(), LinearNoise(s))
    generator = torch.Generator().manual_seed(0)
    x, z, eps = torch.randn(3, 1, 1, 200, 200, generator=generator, dtype=torch.float64)
    gain = 1 / (1 + sigma**2)
    mean = gain * (x + sigma * z)
    start = mean + s * eps
    covariance = gain  # Cov(x, f) = Var f = gain

    def denoiser(state, t):
        """Compute E[x | Z_t] for Z_t = (1 - t) x + t (f + s eps)."""
        with_x = (1 - t) + t * covariance
        variance = (1 - t) ** 2 + 2 * t * (1 - t) * covariance + t**2 * (covariance + s**2)
        return with_x / variance * state

    sampler = ReverseSampler(num_steps=200, solver=Exponential(), eta=0.0)
    end = sampler.run(process, denoiser, start, ImageNoise([0]))
    assert mean.var() == pytest.approx(0.5, abs=0.02)
    assert end.var() == pytest.approx(1.0, abs=0.02)
    assert (end - x).square().mean() < 2 * (mean - x).square().mean()


@pytest.fixture(scope="module")
def trained(tmp_path_factory, folder):
    """Checkpoints of a regression network and of its flow, after short training runs."""
    cwd = tmp_path_factory.mktemp("pmrf")
    common = [*folder, *SMALL, *BRIEF, "lpips=null"]
    assert run_here(cwd, "train", *common, "experiment=regression", "task=inpaint", "hydra.run.dir=regression") == 0
    regression = cwd / "regression" / "best.ckpt"
    assert run_here(cwd, "train", *common, "task=pmrf", f"regression={regression}", "hydra.run.dir=flow") == 0
    return {"regression": regression, "flow": cwd / "flow" / "best.ckpt"}


def test_a_flow_stores_the_fingerprint_of_its_regression_network(trained):
    flow, regression = load(trained["flow"]), load(trained["regression"])
    assert flow.training["regression"] == fingerprint(regression.denoiser.state_dict())
    assert flow.training["regression"] != fingerprint(flow.denoiser.state_dict())
    assert flow.stopping_points["psnr"] is not None
    summary = json.loads((trained["flow"].parent / "summary.json").read_text())
    measured = json.loads((trained["regression"].parent / "summary.json").read_text())
    assert summary["measurement"]["psnr"] == pytest.approx(measured["measurement"]["psnr"])


def test_a_flow_starts_at_the_regression_image(trained):
    flow, x = PosteriorMeanFlow(load(trained["regression"])), torch.rand(2, 3, 32, 32)
    measured = flow.regression.measure(x)
    process = measured.process
    mean = flow.mean(process, measured.y)
    torch.testing.assert_close(mean, flow.regression.denoiser(process, measured.y, torch.tensor(1.0)))
    noise, t = torch.randn(x.shape), torch.tensor([0.25, 1.0])
    scale = t.view(-1, 1, 1, 1)
    actual = flow.shift(x + 0.1 * scale * noise, x, mean, t)
    torch.testing.assert_close(actual, (1 - scale) * x + scale * (mean + 0.1 * noise))


def test_nfe_is_one_for_the_regression_and_one_per_step(trained):
    method = PMRF(trained["regression"], trained["flow"], num_steps=3)
    regression = method.regression.restorer
    y = regression.measure(torch.rand(2, 3, 32, 32)).y
    operator = Operator(regression.process.degradation, y)
    both = method(y, operator, 0.05, seeds=[3, 4])
    assert both.nfe == 4
    torch.testing.assert_close(both.images[1:], method(y[1:], operator, 0.05, seeds=[4]).images)


def test_a_comparison_has_a_row_for_pmrf(trained, folder, call):
    networks = [f"checkpoint={trained['regression']}", *(f"{key}={path}" for key, path in trained.items())]
    methods = ["baseline=[regression,pmrf]", "baseline.pmrf.method.num_steps=4"]
    assert call("compare", *networks, *folder[:2], *folder[3:], *LIMITS, "lpips=null", *methods)[0] == 0
    rows = {row["method"]: row for row in json.loads(Path("comparison/comparison.json").read_text())["rows"]}
    assert rows["regression"]["calls"] == 1 and rows["pmrf"]["calls"] == 5
    assert rows["pmrf"]["psnr"] != rows["regression"]["psnr"]
