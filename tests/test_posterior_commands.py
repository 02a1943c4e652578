"""Commands with networks that are conditioned on the measurement."""

import numpy as np
import pytest
import torch
from conftest import BRIEF, SMALL, run_here
from PIL import Image

from diracdiff.restorer import load
from diracdiff.samplers import Multistep

CONDITIONED = [
    "model.condition_on_measurement=true",
    "model.preconditioning=operator",
    "model.conditioning=log_sigma",
    "loss=matched",
]
WIDE = ["schedule.noise.sigma_max=0.2", "task.measurement_sigma=0.05"]


@pytest.fixture(scope="module")
def trained(tmp_path_factory, folder):
    """A training run with more noise at t = 1 than the measurement: (working directory, checkpoint)."""
    cwd = tmp_path_factory.mktemp("given")
    options = ["task=inpaint", *CONDITIONED, *WIDE, *folder, *SMALL, *BRIEF, "lpips=null", "sampler/solver=multistep"]
    assert run_here(cwd, "train", *options, "hydra.run.dir=run") == 0
    return cwd, cwd / "run" / "best.ckpt"


def test_a_checkpoint_stores_the_conditioning(trained):
    restorer = load(trained[1])
    assert restorer.denoiser.condition_on_measurement and restorer.denoiser.network.images == 4
    assert restorer.process.measurement_sigma == 0.05 and restorer.process.sigma_y == 0.05
    assert isinstance(restorer.sampler.solver, Multistep) and restorer.training["loss"]["condition_on_measurement"]
    measured = restorer.measure(torch.full((8, 3, 32, 32), 0.5))
    noise = measured.y - restorer.process.mean(torch.full((8, 3, 32, 32), 0.5), 1.0)
    assert noise.std().item() == pytest.approx(0.05, rel=0.02)


def test_restoration_does_not_depend_on_other_images(trained, image_folder, tmp_path, call):
    options = [f"checkpoint={trained[1]}", "target=t:0"]
    assert call("restore", *options, f"input={image_folder}", "output=all")[0] == 0
    assert call("restore", *options, f"input={image_folder}/05.png", "output=one", "batch_size=1")[0] == 0
    together, alone = (np.asarray(Image.open(tmp_path / f / "05.png"), dtype=int) for f in ("all", "one"))
    assert together.shape == (40, 40, 3) and abs(together - alone).max() <= 1


def test_samples_of_the_ode_differ_by_the_added_noise(trained):
    restorer = load(trained[1])
    assert restorer.sampler.eta == 0
    y = torch.rand(1, 3, 32, 32)
    one, other = restorer.sample(y, 2, "t=0.25").images
    assert (one - other).abs().mean() > 1e-3
    assert torch.equal(one, restorer.restore(y, "t=0.25"))
