"""Training, restoring, evaluating and comparing with a walk that is given its measurement, as a user types it."""

import numpy as np
import pytest
import torch
from conftest import BRIEF, SMALL, run_here
from PIL import Image

from diracdiff.restorer import load
from diracdiff.samplers import Multistep

GIVEN = [
    "model.condition_on_measurement=true",
    "model.preconditioning=operator",
    "model.conditioning=log_sigma",
    "loss=matched",
]
WIDE = ["schedule.noise.sigma_max=0.2", "task.measurement_sigma=0.05"]


@pytest.fixture(scope="module")
def given(tmp_path_factory, folder):
    """A training with more noise at t = 1 than the measurement has: (working directory, checkpoint)."""
    cwd = tmp_path_factory.mktemp("given")
    asked = ["task=inpaint", *GIVEN, *WIDE, *folder, *SMALL, *BRIEF, "lpips=null", "sampler/solver=multistep"]
    assert run_here(cwd, "train", *asked, "hydra.run.dir=run") == 0
    return cwd, cwd / "run" / "best.ckpt"


def test_a_checkpoint_says_what_its_network_is_given(given):
    restorer = load(given[1])
    assert restorer.denoiser.condition_on_measurement and restorer.denoiser.network.images == 4
    assert restorer.process.measurement_sigma == 0.05 and restorer.process.sigma_y == 0.05
    assert isinstance(restorer.sampler.solver, Multistep) and restorer.training["loss"]["condition_on_measurement"]
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
    assert restorer.sampler.eta == 0
    y = torch.rand(1, 3, 32, 32)
    one, other = restorer.sample(y, 2, "t=0.25").images
    assert (one - other).abs().mean() > 1e-3
    assert torch.equal(one, restorer.restore(y, "t=0.25"))
