"""Training, restoring, evaluating and comparing with a walk that is given its measurement, as a user types it."""

import csv
import json

import numpy as np
import pytest
import torch
from conftest import BRIEF, SMALL, refused, run_here
from PIL import Image

from diracdiff.restorer import load
from diracdiff.samplers import Multistep

GIVEN = ["walk=posterior", "model.preconditioning=operator", "model.conditioning=log_sigma", "loss=matched"]
WIDE = ["schedule.noise.sigma_max=0.2", "walk.measurement_sigma=0.05"]


@pytest.fixture(scope="module")
def given(tmp_path_factory, folder):
    """A training with more noise at t = 1 than the measurement has: (working directory, checkpoint)."""
    cwd = tmp_path_factory.mktemp("given")
    asked = ["task=inpaint", *GIVEN, *WIDE, *folder, *SMALL, *BRIEF, "lpips=null", "sampler/step=multistep"]
    assert run_here(cwd, "train", *asked, "hydra.run.dir=run") == 0
    return cwd, cwd / "run" / "best.ckpt"


def rows(path):
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


def test_a_checkpoint_says_what_its_network_is_given(given):
    restorer = load(given[1])
    assert restorer.denoiser.given_measurement and restorer.denoiser.network.images == 2
    assert restorer.process.measurement_sigma == 0.05 and restorer.process.sigma_y == 0.05
    assert isinstance(restorer.sampler.step, Multistep) and restorer.training["loss"]["given_measurement"]
    measured = restorer.measure(torch.full((8, 3, 32, 32), 0.5))
    noise = measured.y - restorer.process.mean(torch.full((8, 3, 32, 32), 0.5), 1.0)
    assert noise.std().item() == pytest.approx(0.05, rel=0.02)


def test_restoring_does_not_depend_on_company_and_takes_any_size(given, image_folder, tmp_path, call):
    asked = [f"checkpoint={given[1]}", "target=t:0"]
    assert call("restore", *asked, f"input={image_folder}", "output=all")[0] == 0
    assert call("restore", *asked, f"input={image_folder}/05.png", "output=one", "batch_size=1")[0] == 0
    together, alone = (np.asarray(Image.open(tmp_path / f / "05.png"), dtype=int) for f in ("all", "one"))
    assert together.shape == (40, 40, 3) and abs(together - alone).max() <= 1


def test_samples_of_the_ode_differ_by_the_noise_that_is_added(given):
    restorer = load(given[1])
    assert restorer.sampler.stochasticity == 0
    y = torch.rand(1, 3, 32, 32)
    one, other = restorer.sample(y, 2, "t=0.25").images
    assert (one - other).abs().mean() > 1e-3
    assert torch.equal(one, restorer.restore(y, "t=0.25"))


def test_evaluation_and_its_batches(given, folder, tmp_path, call):
    asked = [f"checkpoint={given[1]}", *folder[:2], *folder[3:], "loader.test_images=3", "trainer=cpu", "lpips=null"]
    for size in (1, 7):
        assert call("evaluate", *asked, f"loader.eval_batch_size={size}", f"output=out{size}")[0] == 0
    one, seven = (rows(tmp_path / f"out{size}" / "curve.csv") for size in (1, 7))
    assert len(one) == len(seven) == 2 * 4 + 1
    for a, b in zip(one, seven, strict=True):
        assert float(a["psnr"]) == pytest.approx(float(b["psnr"]), abs=1e-3)
    summary, expected = (
        json.loads(p.read_text()) for p in (tmp_path / "out1/evaluation.json", given[1].parent / "summary.json")
    )
    assert summary["do"]["psnr"] == pytest.approx(expected["do"]["psnr"], abs=1e-3)
    assert summary["measurement"]["consistency"] == pytest.approx(expected["measurement"]["consistency"], abs=1e-3)


def test_a_training_goes_on(given, folder, call):
    cwd, checkpoint = given
    last = checkpoint.with_name("last.ckpt")
    asked = ["task=inpaint", *GIVEN, *folder, *SMALL, *BRIEF, "lpips=null", "sampler/step=multistep"]
    more = ["trainer.max_epochs=3", f"checkpoint={last}"]
    assert run_here(cwd, "train", *asked, *WIDE, *more, "hydra.run.dir=more") == 0
    assert load(cwd / "more" / "best.ckpt").denoiser.given_measurement
    refused(call("train", *asked, *more), "was trained with another process")


def test_it_is_compared_at_the_measurement_s_noise(given, folder, tmp_path, call):
    """A regression network of the same measurements fits, although the walk begins with more noise."""
    regression = ["task=inpaint", "experiment=regression", *folder, *SMALL, *BRIEF, "lpips=null"]
    assert call("train", *regression, "hydra.run.dir=regression")[0] == 0
    few = ["tune_images=1", "test_images=2", "device=cpu", "lpips=null", "tune_for=psnr", "dirac.search=null"]
    asked = [f"checkpoint={given[1]}", "regression=regression/best.ckpt", "baseline=[measurement,regression]"]
    assert call("compare", *asked, *folder[:2], *folder[3:], *few, "output=compared") == (0, [])
    content = json.loads((tmp_path / "compared/comparison.json").read_text())
    assert content["conditions"]["sigma"] == 0.05
    assert [row["method"] for row in content["rows"]] == ["measurement", "regression", "dirac_do"]
    refused(call("compare", *asked, *folder[:2], *few, "sigma=0.2", "output=x"), r"sigma=0.2 differs .* 0.05")


def test_times_of_its_walk_are_placed(given, folder, tmp_path, call):
    asked = [f"checkpoint={given[1]}", *folder, "images=2", "output=times.csv", "dissimilarity=mse"]
    assert call("schedule", *asked, "budget=4", "candidates=9")[0] == 0
    grid = ["sampler/grid=adaptive", f"sampler.grid.path={tmp_path}/times.csv"]
    evaluated = [
        f"checkpoint={given[1]}",
        *folder[:2],
        *folder[3:],
        "loader.test_images=2",
        "trainer=cpu",
        "lpips=null",
    ]
    assert call("evaluate", *evaluated, *grid)[0] == 0


@pytest.mark.parametrize("task", ["deblur", "super_resolution", "mri", "dequantise", "motion_deblur"])
def test_every_task_has_the_walk(task, folder, tmp_path, call):
    diagonal = task not in ("dequantise", "motion_deblur")
    asked = [part for part in GIVEN if diagonal or "preconditioning" not in part]
    brief = [
        *BRIEF,
        "trainer.max_epochs=1",
        "trainer.limit_train_batches=2",
        "loader.val_images=1",
        "loader.test_images=1",
    ]
    assert call("train", f"task={task}", *asked, *folder, *SMALL, *brief, "lpips=null") == (0, [])
    assert load(tmp_path / "runs/latest/best.ckpt").denoiser.given_measurement


def test_mistakes(call, folder, tmp_path):
    good = ["task=inpaint", *folder, *SMALL, *BRIEF, "lpips=null"]
    refused(call("train", *good, "walk=posterior", "task.predict=increment"), "add method=paper")
    refused(
        call("train", *good, "walk=posterior", "walk.measurement_sigma=0.1"),
        "walk.measurement_sigma=0.1: must be above 0 and at most 0.05",
    )
    refused(call("train", *good, "walk.given_measurement=yes"), "walk.given_measurement must be true or false, got yes")
    refused(call("train", *good, "walk=exact"), "exact", "posterior")
    motion = [part for part in good if not part.startswith("task=")]
    refused(call("train", "task=motion_deblur", *motion, "model.preconditioning=operator"), "MotionBlur does not have")
    refused(call("train", *good, "model.preconditioning=karras"), "preconditioning must be one of")
    plain = [part for part in good if not part.startswith("model.")]
    refused(call("train", *plain, "walk=posterior", "model=dncnn"), "images")
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]
