"""Recipes and checkpoints: what is written is read, torn and killed writes, and restoration with PyTorch alone."""

import json
import pickle
import subprocess
import sys

import pytest
import torch
from conftest import ROOT, clean_environment

import diracdiff
from diracdiff.checkpoints import Checkpoint, to_recipe
from diracdiff.checkpoints.checkpoint import KIND, VERSION
from diracdiff.checkpoints.weights import Damaged
from diracdiff.degradations import GaussianBlur, LinearSeverity, TabulatedSeverity
from diracdiff.evaluation import StoppingPoint
from diracdiff.models import Denoiser, NCSNpp
from diracdiff.noise import GeometricNoise
from diracdiff.process import StochasticDegradation
from diracdiff.restorer import Restorer, load
from diracdiff.samplers import Guidance, NetworkIncrement, ReverseSampler


def restorer():
    blur = GaussianBlur(TabulatedSeverity([0, 0.5, 1], [0.3, 1, 3]), 16)
    process = StochasticDegradation(blur, GeometricNoise(0.02, 0.1))
    denoiser = Denoiser(NCSNpp(8, [1, 2], 1, [1], 0.1)).eval()
    return Restorer(process, denoiser, ReverseSampler(7, guidance=Guidance("error", 0.3)), seed=3, take="iterate")


def saved(path, change=lambda content: None):
    """A checkpoint whose content is changed."""
    restorer().save(path)
    content = torch.load(path, weights_only=True)
    change(content)
    torch.save(content, path)
    return path


# recipes


def test_a_recipe_builds_the_same_object():
    recipe = to_recipe(restorer())
    assert to_recipe(Restorer.from_recipe(recipe)) == recipe
    assert recipe["process"]["degradation"]["severity"]["values"] == [0.3, 1, 3]
    assert recipe["sampler"]["guidance"]["step"] == 0.3
    pickle.dumps(recipe)


def test_recipes_name_classes_by_their_subpackage():
    def targets(recipe):
        if isinstance(recipe, dict):
            yield from (recipe[key] for key in recipe if key == "_target_")
            for value in recipe.values():
                yield from targets(value)

    for target in targets(restorer().checkpoint().recipe):
        assert target.count(".") == 2, target


def test_an_argument_that_is_not_kept_has_no_recipe():
    class Forgetful:
        def __init__(self, width):
            pass

    with pytest.raises(TypeError, match="must keep its arguments"):
        to_recipe(Forgetful(3))


# files


def test_a_checkpoint_needs_nothing_else(tmp_path):
    module = restorer()
    module.stops = {"psnr": StoppingPoint(6 / 7), "lpips": None, "swd": None, "fid": None}
    module.save(tmp_path / "a.ckpt")
    loaded = load(tmp_path / "a.ckpt")
    y = torch.rand(2, 3, 16, 16)
    assert loaded.stops == module.stops
    assert torch.equal(loaded.restore(y), module.restore(y))


def test_a_checkpoint_carries_its_incremental_network(tmp_path):
    module = restorer()
    network = NCSNpp(8, [1, 2], 1, [1], 0.0, conditions=2)
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    module.sampler = module.sampler.replace(increment=NetworkIncrement(Denoiser(network)))
    module.save(tmp_path / "a.ckpt")
    loaded = load(tmp_path / "a.ckpt")
    y = torch.rand(2, 3, 16, 16)
    assert torch.equal(module.restore(y, "t=0"), loaded.restore(y, "t=0"))
    module.sampler = module.sampler.replace(increment=None)
    assert not torch.equal(module.restore(y, "t=0"), loaded.restore(y, "t=0"))


def test_a_tuned_checkpoint_keeps_all_but_sampler_stops_and_curve():
    module, other = restorer(), restorer()
    module.dataset = {"_target_": "diracdiff.data.Photos"}
    other.sampler, other.stops = other.sampler.replace(steps=3, guidance=None), {"psnr": StoppingPoint(0.5)}
    tuned = module.checkpoint().tuned(other.checkpoint())
    built = Restorer.from_recipe(tuned.recipe)
    assert built.sampler.steps == 3 and built.sampler.guidance is None and tuned.dataset == module.dataset
    assert tuned.stops == {"psnr": {"t": 0.5, "output": "mean"}}
    weights = module.denoiser.state_dict()
    assert tuned.weights.keys() == weights.keys()
    assert all(torch.equal(tuned.weights[key], weights[key]) for key in weights)


@pytest.mark.parametrize("version", ["99.0", "0.1", None, [["0.2"]]])
def test_another_version_is_refused(tmp_path, version):
    assert diracdiff.__version__.startswith(f"{VERSION}.")
    path = saved(tmp_path / "a.ckpt", lambda content: content[KIND].update(version=version))
    name = f"diracdiff '{version}'" if isinstance(version, str) else "an unknown version"
    with pytest.raises(ValueError, match=rf"a.ckpt was written by {name}, and this is 0.2: install that version, or"):
        load(path)


@pytest.mark.parametrize("key", ["recipe", "stopping", "curve", "dataset", "training", "calibrations"])
def test_a_header_with_a_missing_entry_is_damaged(tmp_path, key):
    with pytest.raises(Damaged, match=f"a.ckpt is damaged: .*{key}"):
        load(saved(tmp_path / "a.ckpt", lambda content: content[KIND].pop(key)))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda header: header["recipe"]["denoiser"]["network"].update(channels=12), "weights do not fit"),
        (lambda header: header["recipe"]["sampler"].update(future=1), "has no argument .future"),
        (lambda header: header.update(recipe=to_recipe(LinearSeverity(0, 1))), "does not describe a restorer"),
    ],
)
def test_a_recipe_that_does_not_fit_is_refused(tmp_path, change, message):
    with pytest.raises(ValueError, match=message):
        load(saved(tmp_path / "a.ckpt", lambda content: change(content[KIND])))


def test_weights_that_are_not_finite_are_refused(tmp_path):
    with pytest.raises(ValueError, match="holds weights that are not finite"):
        load(saved(tmp_path / "a.ckpt", lambda content: next(iter(content["state_dict"].values())).fill_(torch.nan)))


def test_ten_kills_while_writing_leave_ten_whole_checkpoints(tmp_path):
    command = [sys.executable, str(ROOT / "tests" / "killed_writer.py"), str(tmp_path)]
    done = subprocess.run(command, env=clean_environment() | {"OMP_NUM_THREADS": "1"}, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert len(found) == 10 and all(row["whole"] for row in found)
    assert any(row["during"] for row in found)


def test_a_torn_file_is_refused_in_one_line(tmp_path):
    data = saved(tmp_path / "a.ckpt").read_bytes()
    for torn in (data[: len(data) // 2], data[:-1], data[:-100_000] + bytes(100_000), b""):
        (tmp_path / "a.ckpt").write_bytes(torn)
        with pytest.raises(Damaged, match=r"^checkpoint=.*a.ckpt is not a checkpoint, or is damaged: give one that"):
            Checkpoint.read(tmp_path / "a.ckpt")


def test_restoration_depends_neither_on_size_nor_on_batch():
    module, names = restorer(), ["a", "b", "c"]
    y = torch.rand(3, 3, 19, 26)
    module.denoiser.train()
    together = module.restore(y, "t=0", names=names)
    singles = torch.cat([module.restore(y[i : i + 1], "t=0", names=[names[i]]) for i in range(3)])
    assert together.shape == y.shape and together.min() >= 0 and together.max() <= 1
    assert torch.allclose(together, singles, atol=1e-5)
    assert module.denoiser.training


def test_restoration_needs_neither_lightning_nor_hydra_nor_wandb(tmp_path):
    saved(tmp_path / "a.ckpt")
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
    assert done.stdout.strip() == "[]"
