"""Checkpoints of every version so far load for ever, and restoring needs PyTorch alone."""

import gzip
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import clean_environment, refused
from test_recipe import restorer, save

import diracdiff
from diracdiff.errors import UserError
from diracdiff.evaluation import Stop
from diracdiff.models import Denoiser, NCSNpp
from diracdiff.restorer import load
from diracdiff.samplers import Heun, NetworkIncrement
from diracdiff.storage import Checkpoint, from_recipe
from diracdiff.storage.checkpoint import KIND, VERSION
from diracdiff.storage.names import OLD_NAMES

FIXTURES = Path(__file__).with_name("fixtures")
"""Written by version 0.1.0: three steps of tiny networks for 24 px, and what they restored from `measurements`."""


@pytest.fixture
def old(tmp_path, monkeypatch):
    """The checkpoints of version 0.1.0, unpacked into the working folder."""
    monkeypatch.chdir(tmp_path)
    for path in FIXTURES.glob("*.gz"):
        Path(f"{path.name.split('-')[0]}.ckpt").write_bytes(gzip.decompress(path.read_bytes()))
    return np.load(FIXTURES / "restored-0.1.0.npz")


def measurements():
    return torch.rand(2, 3, 24, 24, generator=torch.Generator().manual_seed(0))


def test_a_checkpoint_of_version_0_1_restores_the_same_images(old):
    loaded = load("training.ckpt")
    assert (loaded.name, loaded.take, loaded.seed, loaded.image_size) == ("inpaint", "iterate", 0, 24)
    assert loaded.stops["psnr"] == Stop(**Checkpoint.read("training.ckpt").stops["psnr"])
    assert loaded.dataset["_target_"] == "diracdiff.data.Photos" and loaded.training["loss"]["look_ahead"] == 1.0
    assert type(loaded.sampler.step).__name__ == "Euler" and loaded.sampler.guidance.scaling == "error"
    for target, expected in (("t=0.5", old["training"]), ("psnr", old["training_psnr"])):
        restored = loaded.restore(measurements(), target, names=["a", "b"])[0].numpy()
        assert np.abs(restored - expected).max() < 1e-5


def test_an_incremental_network_that_was_named_by_its_path_is_carried_from_then_on(old):
    loaded = load("increment.ckpt")
    loaded.save("new.ckpt")
    Path("incremental.ckpt").unlink()
    with pytest.raises(UserError, match=r"incremental.ckpt does not exist"):
        load("increment.ckpt")
    for one in (loaded, load("new.ckpt")):
        restored = one.restore(measurements(), "t=0", names=["a", "b"])[0].numpy()
        assert np.abs(restored - old["increment"]).max() < 1e-5


def test_an_old_training_goes_on(old, call, torch_home):
    options = [
        "task=inpaint",
        "method=paper",
        "optimizer=adam_cosine",
        "dataset.crops_per_epoch=2048",
        "dataset.image_size=24",
        "model.network.channels=4",
        "model.network.multipliers=[1,1]",
    ]
    options += ["model.network.attention_levels=[]", "loader.batch_size=2", "loader.val_images=2", "sampler.steps=4"]
    options += ["trainer=cpu", "trainer.limit_train_batches=3", "trainer.check_val_every_n_epoch=1", "lpips=null"]
    options += ["loader.test_images=2", "trainer.max_epochs=2", "checkpoint=training.ckpt"]
    assert call("train", *options, "hydra.run.dir=on") == (0, [])
    content = torch.load("on/last.ckpt", weights_only=True)
    assert content["global_step"] == 6 and content[KIND]["version"] == ".".join(map(str, VERSION))
    refused(call("train", *options, "model.preconditioning=edm", "hydra.run.dir=no"), "with another preconditioning")
    refused(
        call("train", *options, "method=posterior", "hydra.run.dir=no"), "with another .*earlier.* add method=paper"
    )


def test_old_names_lead_to_classes():
    for name in OLD_NAMES.values():
        room, _, cls = name.rpartition(".")
        assert isinstance(getattr(__import__(room, fromlist=[cls]), cls), type), name


def test_recipes_name_rooms_alone():
    def targets(recipe):
        if isinstance(recipe, dict):
            yield from (recipe[key] for key in recipe if key == "_target_")
            for value in recipe.values():
                yield from targets(value)

    for target in targets(restorer().checkpoint().recipe):
        assert target.count(".") == 2, target


def test_the_version_of_the_layout_is_the_program_s():
    assert diracdiff.__version__.startswith(".".join(map(str, VERSION)) + ".")


@pytest.mark.parametrize(
    ("version", "message"),
    [
        ("99.0", r"a.ckpt was written by diracdiff 99.0, which is newer than this one, 0.2: install"),
        ("0.3.1", r"written by diracdiff 0.3.1, which is newer"),
        ("soon", r"unknown version 'soon'"),
        (None, r"unknown version None"),
    ],
)
def test_a_newer_or_unknown_version_is_refused(tmp_path, version, message):
    path = save(tmp_path / "a.ckpt", restorer())
    content = torch.load(path, weights_only=True)
    content[KIND]["version"] = version
    torch.save(content, path)
    with pytest.raises(UserError, match=message) as error:
        load(path)
    assert "\n" not in str(error.value)


def test_a_header_that_lacks_something_is_damaged(tmp_path):
    path = save(tmp_path / "a.ckpt", restorer())
    for key in ("recipe", "stopping", "curve"):
        content = torch.load(path, weights_only=True)
        del content[KIND][key]
        torch.save(content, tmp_path / "b.ckpt")
        with pytest.raises(UserError, match=f"b.ckpt is damaged: .*{key}"):
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
    other.sampler, other.stops = other.sampler.replace(steps=3, guidance=None), {"psnr": Stop(0.5)}
    tuned = module.checkpoint().tuned(other.checkpoint())
    built = from_recipe(tuned.recipe)
    assert built.sampler.steps == 3 and built.sampler.guidance is None and tuned.dataset == module.dataset
    assert tuned.stops == {"psnr": {"t": 0.5, "output": "mean"}}
    weights = module.denoiser.state_dict()
    assert tuned.weights.keys() == weights.keys()
    assert all(torch.equal(tuned.weights[key], weights[key]) for key in weights)


def test_a_sampler_keeps_its_class_when_a_part_is_replaced():
    class Mine(type(restorer().sampler)):
        pass

    changed = Mine(4, Heun(), stochasticity=0.0).replace(steps=5)
    assert type(changed) is Mine and changed.steps == 5 and type(changed.step) is Heun


def test_restoring_does_not_leave_a_network_in_another_mode():
    module = restorer()
    module.denoiser.train()
    module.restore(torch.rand(1, 3, 16, 16), "t=0.5")
    assert module.denoiser.training


def test_the_command_that_restores_starts_without_lightning(tmp_path, image_folder):
    save(tmp_path / "a.ckpt", restorer())
    code = (
        "import sys\n"
        f"sys.argv = ['restore', 'checkpoint=a.ckpt', 'input={image_folder}/05.png', 'target=t=0.5']\n"
        "from diracdiff.restore import main\n"
        "main()\n"
        "assert not {'pytorch_lightning', 'lightning', 'wandb', 'torchmetrics', 'kornia'} & set(sys.modules)\n"
    )
    environment = clean_environment()
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "restored" / "05.png").is_file()


def test_restoring_needs_neither_lightning_nor_hydra_nor_wandb(tmp_path):
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
