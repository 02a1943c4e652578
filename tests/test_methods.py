"""Options of the method: samplers, targets, custom operators and generation."""

import json
import math
import re
import sys

import numpy as np
import pytest
import torch
from conftest import BRIEF, ROOT, SMALL, refused, run_here
from hydra import compose, initialize_config_dir
from PIL import Image

from diracdiff.commands.build import load_restorer
from diracdiff.degradations import Identity
from diracdiff.evaluation import StoppingPoint, interval
from diracdiff.losses import IncrementalReconstructionLoss
from diracdiff.metrics import Consistency, Reference
from diracdiff.models import Denoiser, NCSNpp
from diracdiff.models.denoiser import DATA_MEAN, DATA_STD
from diracdiff.noise import GeometricNoise
from diracdiff.process import StochasticDegradation
from diracdiff.restorer import load
from diracdiff.utils.files import read_rows

OPERATOR = """
import torch
from diracdiff.degradations import Degradation


class Fade(Degradation):
    in_pixels = False

    def apply(self, x, severity):
        return x * (1 - severity.reshape(-1, 1, 1, 1))


class Shrinking(Fade):
    def apply(self, x, severity):
        return x[..., ::2, ::2]
"""


# samplers


def restorer_with(checkpoint, *overrides):
    """Return the restorer of a checkpoint, configured as by the command evaluate."""
    with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
        return load_restorer(compose("evaluate", [f"checkpoint={checkpoint}", *overrides]))


def sampled(restorer):
    """Return the states of the reverse process of one image."""
    measured = restorer.measure(torch.full((1, 3, 32, 32), 0.4))
    return list(restorer.sampler.states(measured.process, restorer.denoiser, measured.y, measured.noise))


@pytest.mark.parametrize(
    ("overrides", "calls"),
    [
        (["sampler/increment=small_look_ahead"], 4),
        (["sampler/increment=look_back"], 4),
        (["sampler/increment=exact_look_back"], 4),
        (["sampler/guidance=error", "sampler.eta=1"], 4),
        (["sampler/grid=power", "sampler.grid.exponent=1.5"], 4),
        (["sampler/solver=heun", "sampler.eta=0"], 8),
        (["sampler.t_start=0.5", "sampler.sigma=0.01", "sampler.num_steps=2"], 2),
        (["sampler.noise_scale=0.5", "sampler.eta=1"], 4),
        (["sampler.t_restart=0.5"], 4),
    ],
)
def test_every_part_of_the_sampler_can_be_configured(paper, overrides, calls):
    last = sampled(restorer_with(paper, *overrides))[-1]
    assert (last.t, last.nfe) == (0, calls) and last.y.isfinite().all()


def test_scheduled_times_define_an_adaptive_grid(paper, folder, tmp_path, call):
    options = [f"checkpoint={paper}", *folder, "images=2", "dissimilarity=mse", "budget=5", "candidates=20"]
    assert call("schedule", *options, "output=times.csv") == (0, [])
    times = [float(row["value"]) for row in read_rows(tmp_path / "times.csv")]
    assert len(times) == 7 and (times[0], times[-1]) == (0, 1) and times == sorted(set(times))
    grid = ["sampler/grid=adaptive", f"sampler.grid.path={tmp_path}/times.csv", "sampler.num_steps=6"]
    assert restorer_with(paper, *grid).sampler.times() == pytest.approx(times[::-1])


# reports


@pytest.fixture
def evaluated(paper, folder, tmp_path, call):
    """Return a function that evaluates the paper's method and returns the folder of the results."""

    def evaluate(*overrides):
        data = [*folder[:2], *folder[3:], "data.test_images=3", "trainer=cpu", "lpips=null"]
        assert call("evaluate", f"checkpoint={paper}", *data, "output=out", *overrides) == (0, [])
        return tmp_path / "out"

    return evaluate


def test_an_evaluation_writes_tables_and_pictures(evaluated):
    out = evaluated("target=t:0.5")
    tables = {"evaluation.json", "images.csv", "curve.csv", "table.md", "table.tex"}
    assert {path.name for path in out.iterdir()} == tables | {"tradeoff.png", "samples.png", "report.html"}
    summary = json.loads((out / "evaluation.json").read_text())
    assert summary["target"]["t"] == 0.5 and summary["target"]["nfe"] == 3
    table, psnr = (out / "table.md").read_text().splitlines(), summary["target"]["psnr"]
    assert table[0].startswith("| stopping point | t | output | NFE | s/image | psnr | ssim |")
    assert "| target | 0.50 |" in table[-3] and f"| {psnr:.2f} [" in table[-3]
    tex = (out / "table.tex").read_text()
    assert tex.count(r"\\") == 7 and "s/image" in tex and not re.search(r"(?<!\\)_", tex.split("\n", 1)[1])
    per_image = [row for row in read_rows(out / "images.csv") if row["t"] == "0.5" and row["output"] == "x_hat"]
    assert len(per_image) == 3 and np.mean([float(r["psnr"]) for r in per_image]) == pytest.approx(psnr)
    seconds = [float(row["seconds"]) for row in read_rows(out / "curve.csv") if row["output"] == "x_hat"]
    assert seconds == sorted(seconds) and seconds[0] > 0 and summary["measurement"]["seconds"] == 0


def test_consistency_is_the_residual_in_units_of_the_noise():
    from test_checkpoints import restorer

    module = restorer()
    x = torch.rand(2, 3, 16, 16)
    z = torch.randn_like(x)
    y = module.process.measure(x, z)
    length = z.square().flatten(1).mean(1).sqrt()
    assert torch.allclose(Consistency()(x, module.reference(x, y)), length, rtol=1e-3)
    module.sampler = module.sampler.replace(t_start=0.5, sigma=0.02)
    z = 0.02 * torch.randn_like(x)
    y = module.process.mean(x, 0.5) + z
    length = z.square().flatten(1).mean(1).sqrt() / 0.02
    assert torch.allclose(Consistency()(x, module.reference(x, y)), length, rtol=1e-3)
    with pytest.raises(ValueError, match="consistency: needs the measurement"):
        Consistency()(x, Reference(x))


def test_save_tuned_writes_the_stopping_times_of_another_sampler(evaluated, paper, tmp_path):
    out = evaluated("split=val", "save_tuned=tuned.ckpt", "sampler.num_steps=8", "sampler.eta=1")
    tuned = load(tmp_path / "tuned.ckpt")
    assert (tuned.sampler.num_steps, tuned.sampler.eta, len(tuned.curve)) == (8, 1.0, 17)
    best = max(read_rows(out / "curve.csv"), key=lambda row: float(row["psnr"]))
    assert tuned.stopping_points["psnr"] == StoppingPoint(float(best["t"]), best["output"])
    assert tuned.stopping_points["lpips"] is None
    networks = load(paper).denoiser.parameters(), tuned.denoiser.parameters()
    assert all(torch.equal(a, b) for a, b in zip(*networks, strict=True))


def test_the_interval_is_bias_corrected_and_reproducible():
    values = np.random.default_rng(0).normal(30, 2, 400).tolist()
    half = 1.96 * np.std(values) / np.sqrt(400)
    assert interval(values) == pytest.approx((np.mean(values) - half, np.mean(values) + half), abs=0.03)
    assert interval([1.0] * 8) == (1.0, 1.0)
    assert all(math.isnan(end) for end in interval([1.0] * 7 + [math.nan]))
    values = np.random.default_rng(1).exponential(1.0, 30).tolist()
    low, high = interval(values)
    assert np.mean(values) - low < high - np.mean(values)  # skewed sample, for which percentile intervals are symmetric
    assert interval(values) == (low, high) != interval(values, seed=1)
    pairs = np.random.default_rng(2).normal(30, 5, 50)
    narrow = interval((pairs + 0.1 + 0.01 * np.random.default_rng(3).normal(size=50) - pairs).tolist())
    assert 0 < narrow[1] - narrow[0] < 0.02


# uncertainty


def test_samples_differ_and_do_not_depend_on_the_batch():
    from test_checkpoints import restorer

    module = restorer()
    y = torch.rand(2, 3, 16, 16)
    samples = module.sample(y, 3, "t=0", names=["a", "b"]).images
    assert samples.shape == (3, 2, 3, 16, 16) and samples.std(0).min() >= 0 and samples.std(0).mean() > 1e-4
    assert torch.allclose(samples[:, 1:], module.sample(y[1:], 3, "t=0", names=["b"]).images, atol=1e-5)
    assert torch.allclose(samples[0], module.restore(y, "t=0", names=["a", "b"]), atol=1e-6)


# the incremental reconstruction network


@pytest.mark.parametrize("preconditioning", ["none", "edm"])
def test_an_incremental_network_predicts_every_severity(preconditioning):
    network = NCSNpp(8, [1, 2], 1, [1], 0.0, conditions=2)
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    denoiser = Denoiser(network, preconditioning=preconditioning)
    y, t = torch.rand(2, 3, 16, 16), torch.tensor([0.5, 0.8])
    process = StochasticDegradation(Identity(), GeometricNoise())
    x_hat = denoiser(process, y, t)
    assert torch.equal(x_hat, denoiser(process, y, t, torch.zeros(2)))
    assert (x_hat - denoiser(process, y, t, t / 2)).abs().max() > 1e-4
    with pytest.raises(ValueError, match="s: must be None"):
        Denoiser(NCSNpp(8, [1, 2], 1, [1], 0.0))(process, y, t, t)


def test_loss_of_an_increment_is_zero_for_the_true_image(process):
    x, t = torch.rand(3, 3, 32, 32), torch.tensor([0.2, 0.5, 1.0])
    s, loss = t / 2, IncrementalReconstructionLoss()
    assert loss.increment_loss(process, process.mean(x, s), x, t, s) == 0
    loss_value = loss.increment_loss(process, process.mean(x, s) + 0.1, x, t, s)
    assert loss_value.item() == pytest.approx((0.01 / process.noise(t) ** 2).mean().item(), rel=1e-4)


def test_an_incremental_network_is_trained_and_used(tmp_path, folder, paper):
    options = ["task=inpaint", "method=paper", "task.predict=increment", *folder, *SMALL, *BRIEF, "lpips=null"]
    assert run_here(tmp_path, "train", *options) == 0
    trained = tmp_path / "runs" / "latest" / "best.ckpt"
    assert load(trained).denoiser.incremental and load(trained).curve
    with_network = restorer_with(paper, "sampler/increment=network", f"sampler.increment.checkpoint={trained}")
    assert not torch.equal(sampled(with_network)[-1].y, sampled(restorer_with(paper))[-1].y)


# pure noise


def test_edm_preconditioning_is_table_1():
    class Probe(torch.nn.Module):
        image_channels, multiple, conditions = 3, 1, 1

        def forward(self, y, level):
            self.seen = y, level
            return torch.ones_like(y)

    probe, y = Probe(), torch.rand(2, 3, 8, 8)
    denoiser = Denoiser(probe, "log_sigma", preconditioning="edm")
    t, process = torch.tensor([0.5, 1.0]), StochasticDegradation(Identity(), GeometricNoise(0.01, 10))
    x_hat, sigma = denoiser(process, y, t), process.noise(t)
    total = sigma**2 + DATA_STD**2
    shape = (2, 1, 1, 1)
    assert torch.allclose(probe.seen[0], (y - DATA_MEAN) / total.sqrt().reshape(shape))
    assert torch.allclose(probe.seen[1], sigma.log() / 4)
    skip, scale_out = (DATA_STD**2 / total).reshape(shape), (sigma * DATA_STD / total.sqrt()).reshape(shape)
    assert torch.allclose(x_hat, DATA_MEAN + skip * (y - DATA_MEAN) + scale_out, atol=1e-6)


def test_loss_weights_of_edm(process):
    x, t = torch.zeros(1, 3, 32, 32), torch.tensor([0.7])
    sigma = process.noise(t).item()
    loss = IncrementalReconstructionLoss(1.0, data_std=0.25)(process, torch.ones_like(x), x, t)
    assert loss.item() == pytest.approx(1 / sigma**2 + 16, rel=1e-4)
    with pytest.raises(ValueError, match="data_std=0: must be positive"):
        IncrementalReconstructionLoss(0.0, data_std=0)


def test_denoise_trains_and_generates(tmp_path, folder, run, call):
    assert call("train", "task=denoise", *folder, *SMALL, *BRIEF, "lpips=null") == (0, [])
    images = (restorer := load("runs/latest/best.ckpt")).generate(["a", "b", "c"])
    assert images.shape == (3, 3, 32, 32) and (images[0] - images[1]).abs().mean() > 1 / 255
    assert torch.allclose(restorer.generate(["b"])[0], images[1], atol=1 / 255)
    with pytest.raises(ValueError, match=r"sigma: must be at least 2\.5 .* got 0\.05.*task=denoise"):
        load(run[1] / "best.ckpt").generate(["a"])


# custom operators


def test_a_custom_operator(tmp_path, folder, image_folder, call, monkeypatch, make_importable):
    (tmp_path / "my_module.py").write_text(OPERATOR)
    options = ["task=custom", "task.severity=[0,0.8]", *folder, *SMALL, *BRIEF, "lpips=null"]
    with monkeypatch.context() as context:
        context.syspath_prepend(tmp_path)
        fade = "task.degradation._target_=my_module.Fade"
        assert call("train", *options, fade, "hydra.run.dir=faded", "trainer.max_epochs=1") == (0, [])
        del sys.modules["my_module"]
    with pytest.raises(ValueError, match="needs the module my_module"):
        load(tmp_path / "faded/best.ckpt", trusted_modules=["my_module"])
    make_importable()
    refused(call("train", *options, "task.degradation._target_=my_module.Shrinking"), "Shrinking.* shape")
    restore = ["restore", "checkpoint=faded/best.ckpt", f"input={image_folder}/05.png", "sigma=auto"]
    refused(call(*restore), r"add trusted_modules=\[my_module\]")
    assert call(*restore, "trusted_modules=[my_module]") == (0, [])
    assert Image.open(tmp_path / "restored/05.png").size == (40, 40)
    networks = ["checkpoint=faded/best.ckpt", "regression=faded/best.ckpt", "baseline=[regression]"]
    limits = ["tune_images=1", "test_images=2", "dirac.search=null", "device=cpu", "lpips=null", "tune_for=psnr"]
    assert call("compare", *networks, *folder, *limits, "trusted_modules=[my_module]", "output=compared") == (0, [])
    assert "| regression |" in (tmp_path / "compared/table.md").read_text()
