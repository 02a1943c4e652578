"""The layout of checkpoints, torn and killed writes, and restoration with PyTorch alone."""

import json
import re
import subprocess
import sys

import pytest
import torch
from conftest import ROOT, clean_environment
from test_recipe import restorer, save

import diracdiff
from diracdiff.checkpoints import Checkpoint
from diracdiff.checkpoints.checkpoint import KIND, VERSION
from diracdiff.checkpoints.registry import from_recipe
from diracdiff.checkpoints.weights import Damaged
from diracdiff.evaluation import StoppingPoint
from diracdiff.models import Denoiser, NCSNpp
from diracdiff.restorer import load
from diracdiff.samplers import NetworkIncrement


def test_recipes_name_classes_by_their_subpackage():
    def targets(recipe):
        if isinstance(recipe, dict):
            yield from (recipe[key] for key in recipe if key == "_target_")
            for value in recipe.values():
                yield from targets(value)

    for target in targets(restorer().checkpoint().recipe):
        assert target.count(".") == 2, target


def test_the_layout_has_the_version_of_the_program():
    assert diracdiff.__version__.startswith(f"{VERSION}.")


@pytest.mark.parametrize(
    ("version", "message"),
    [
        ("99.0", r"a.ckpt was written by diracdiff '99.0', and this is 0.2: install that version, or train again"),
        ("0.1", r"written by diracdiff '0.1', and this is 0.2"),
        (None, r"written by an unknown version"),
        ([["0.2"]], r"written by an unknown version"),
    ],
)
def test_another_version_is_refused(tmp_path, version, message):
    path = save(tmp_path / "a.ckpt", restorer())
    content = torch.load(path, weights_only=True)
    content[KIND]["version"] = version
    torch.save(content, path)
    with pytest.raises(ValueError, match=message) as error:
        load(path)
    assert "\n" not in str(error.value)


def test_a_header_that_lacks_something_is_damaged(tmp_path):
    path = save(tmp_path / "a.ckpt", restorer())
    for key in ("recipe", "stopping", "curve", "dataset", "training", "calibrations"):
        content = torch.load(path, weights_only=True)
        del content[KIND][key]
        torch.save(content, tmp_path / "b.ckpt")
        with pytest.raises(ValueError, match=f"b.ckpt is damaged: .*{key}"):
            load(tmp_path / "b.ckpt")


def test_a_checkpoint_carries_its_incremental_network(tmp_path):
    module = restorer()
    network = NCSNpp(8, [1, 2], 1, [1], 0.0, conditions=2)
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    module.sampler = module.sampler.replace(increment=NetworkIncrement(Denoiser(network, module.process.noise)))
    loaded = load(save(tmp_path / "a.ckpt", module))
    y = torch.rand(2, 3, 16, 16)
    assert torch.equal(module.restore(y, "t=0"), loaded.restore(y, "t=0"))
    module.sampler = module.sampler.replace(increment=None)
    assert not torch.equal(module.restore(y, "t=0"), loaded.restore(y, "t=0"))


def test_a_tuned_checkpoint_keeps_all_but_sampler_stops_and_curve(tmp_path):
    module, other = restorer(), restorer()
    module.dataset = {"_target_": "diracdiff.data.Photos"}
    other.sampler, other.stops = other.sampler.replace(steps=3, guidance=None), {"psnr": StoppingPoint(0.5)}
    tuned = module.checkpoint().tuned(other.checkpoint())
    built = from_recipe(tuned.recipe)
    assert built.sampler.steps == 3 and built.sampler.guidance is None and tuned.dataset == module.dataset
    assert tuned.stops == {"psnr": {"t": 0.5, "output": "mean"}}
    weights = module.denoiser.state_dict()
    assert tuned.weights.keys() == weights.keys()
    assert all(torch.equal(tuned.weights[key], weights[key]) for key in weights)


def test_restoration_does_not_leave_a_network_in_another_mode():
    module = restorer()
    module.denoiser.train()
    module.restore(torch.rand(1, 3, 16, 16), "t=0.5")
    assert module.denoiser.training


def test_ten_kills_while_writing_leave_ten_whole_checkpoints(tmp_path):
    command = [sys.executable, str(ROOT / "tests" / "killed_writer.py"), str(tmp_path)]
    done = subprocess.run(command, env=clean_environment() | {"OMP_NUM_THREADS": "1"}, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert len(found) == 10 and all(row["whole"] for row in found)
    assert any(row["during"] for row in found)


def test_a_torn_file_is_refused_in_one_line(tmp_path):
    restorer().save(tmp_path / "a.ckpt")
    data = (tmp_path / "a.ckpt").read_bytes()
    for torn in (data[: len(data) // 2], data[:-1], data[:-100_000] + bytes(100_000), b""):
        (tmp_path / "a.ckpt").write_bytes(torn)
        with pytest.raises(Damaged, match=r"^checkpoint=.*a.ckpt is not a checkpoint, or is damaged: give one that"):
            Checkpoint.read(tmp_path / "a.ckpt")


def test_restoration_needs_neither_lightning_nor_hydra_nor_wandb(tmp_path):
    save(tmp_path / "a.ckpt", restorer())
    code = (
        "import sys, torch, diracdiff\n"
        "restored = diracdiff.load('a.ckpt').restore(torch.rand(1, 3, 19, 26), 't=0.5')\n"
        "assert restored.shape == (1, 3, 19, 26)\n"
        "print([name for name in sys.modules if name.split('.')[0] in "
        "('pytorch_lightning', 'lightning', 'hydra', 'omegaconf', 'wandb', 'torchmetrics', 'kornia', 'matplotlib')])\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, env=clean_environment(), capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert re.fullmatch(r"\[\]\s*", done.stdout), done.stdout
