"""Recipes and checkpoints: round trips, interrupted writes, and restoration with PyTorch alone."""

import os
import pickle
import random
import signal
import sys
import time
from dataclasses import replace

import pytest
import torch

import diracdiff
from diracdiff.checkpoints import Checkpoint, to_recipe
from diracdiff.checkpoints.checkpoint import KIND, VERSION
from diracdiff.checkpoints.weights import DamagedFileError
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
    return Restorer(
        process, denoiser, ReverseSampler(7, guidance=Guidance("error", 0.3)), seed=3, output_type="iterate"
    )


def saved(path, change=lambda content: None):
    """Write a checkpoint with changed content and return its path."""
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


def test_an_argument_that_is_not_an_attribute_has_no_recipe():
    class Forgetful:
        def __init__(self, width):
            pass

    with pytest.raises(TypeError, match="must keep its arguments"):
        to_recipe(Forgetful(3))


# files


def test_a_checkpoint_needs_nothing_else(tmp_path):
    module = restorer()
    module.stopping_points = {"psnr": StoppingPoint(6 / 7), "lpips": None, "swd": None, "fid": None}
    module.save(tmp_path / "a.ckpt")
    loaded = load(tmp_path / "a.ckpt")
    y = torch.rand(2, 3, 16, 16)
    assert loaded.stopping_points == module.stopping_points
    assert torch.equal(loaded.restore(y), module.restore(y))


def test_a_checkpoint_contains_its_incremental_network(tmp_path):
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


def test_tuning_replaces_sampler_stopping_times_and_curve_only():
    module, other = restorer(), restorer()
    module.dataset = {"_target_": "diracdiff.data.Photos"}
    other.sampler = other.sampler.replace(num_steps=3, guidance=None)
    other.stopping_points = {"psnr": StoppingPoint(0.5)}
    tuned = module.checkpoint().with_sampler_of(other.checkpoint())
    built = Restorer.from_recipe(tuned.recipe)
    assert built.sampler.num_steps == 3 and built.sampler.guidance is None and tuned.dataset == module.dataset
    assert tuned.stopping_points == {"psnr": {"t": 0.5, "output": "x_hat"}}
    assert all(torch.equal(tuned.weights[key], weight) for key, weight in module.denoiser.state_dict().items())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda content: content[KIND].update(version="99.0"), "was written by diracdiff '99.0', and this is 0.3"),
        (lambda content: content[KIND].update(version=[["0.2"]]), "was written by an unknown version"),
        *(
            (lambda content, key=key: content[KIND].pop(key), f"a.ckpt: is damaged, {key}")
            for key in ("recipe", "stopping_points", "curve", "dataset", "training", "calibrations")
        ),
        (
            lambda content: content[KIND]["recipe"]["denoiser"]["network"].update(channels=12),
            "weights do not match its recipe",
        ),
        (lambda content: content[KIND]["recipe"]["sampler"].update(future=1), "unexpected keyword argument 'future'"),
        (lambda content: content[KIND].update(recipe=to_recipe(LinearSeverity(0, 1))), "must describe a restorer"),
        (lambda content: next(iter(content["state_dict"].values())).fill_(torch.nan), "weights that are not finite"),
    ],
)
def test_invalid_content_is_refused(tmp_path, change, message):
    assert diracdiff.__version__.startswith(f"{VERSION}.")
    with pytest.raises(ValueError, match=message):
        load(saved(tmp_path / "a.ckpt", change))


def write_forever(path, checkpoint):
    for step in range(1, sys.maxsize):
        weights = {name: torch.full_like(weight, step) for name, weight in checkpoint.weights.items()}
        replace(checkpoint, weights=weights, trainer_state={"global_step": step, "state": torch.zeros(500_000)}).write(
            path
        )


@pytest.mark.filterwarnings("ignore:.*fork")
def test_a_killed_writer_leaves_a_complete_checkpoint(tmp_path):
    checkpoint, rng, interrupted = restorer().checkpoint(), random.Random(0), 0
    for number in range(10):
        path = tmp_path / str(number) / "last.ckpt"
        checkpoint.write(path)
        if not (child := os.fork()):
            write_forever(path, checkpoint)
        time.sleep(rng.uniform(0.05, 0.2))
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        loaded = Checkpoint.read(path)
        values = {value for weight in loaded.weights.values() for value in (weight.min().item(), weight.max().item())}
        assert not loaded.trainer_state or values == {float(loaded.trainer_state["global_step"])}
        interrupted += len(list(path.parent.iterdir())) > 1
    assert interrupted


def test_a_truncated_file_is_refused_in_one_line(tmp_path):
    data = saved(tmp_path / "a.ckpt").read_bytes()
    for damaged in (data[: len(data) // 2], data[:-1], data[:-100_000] + bytes(100_000), b""):
        (tmp_path / "a.ckpt").write_bytes(damaged)
        with pytest.raises(DamagedFileError, match=r"^checkpoint=.*a.ckpt: is not a checkpoint, or is damaged. Give"):
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
