"""Recipes and checkpoints."""

import pickle

import pytest
import torch

from diracdiff.checkpoints import Checkpoint, to_recipe
from diracdiff.checkpoints.checkpoint import KIND
from diracdiff.checkpoints.registry import from_recipe
from diracdiff.degradations import GaussianBlur, LinearSeverity, TabulatedSeverity
from diracdiff.evaluation import StoppingPoint
from diracdiff.models import Denoiser, NCSNpp
from diracdiff.noise import GeometricNoise
from diracdiff.process import StochasticDegradation
from diracdiff.restorer import Restorer, load
from diracdiff.samplers import Guidance, ReverseSampler


def restorer():
    blur = GaussianBlur(TabulatedSeverity([0, 0.5, 1], [0.3, 1, 3]), 16)
    process = StochasticDegradation(blur, GeometricNoise(0.02, 0.1))
    denoiser = Denoiser(NCSNpp(8, [1, 2], 1, [1], 0.1), process.noise).eval()
    return Restorer(process, denoiser, ReverseSampler(7, guidance=Guidance("error", 0.3)), seed=3, take="iterate")


def save(path, restorer, **changes):
    restorer.save(path)
    torch.save(torch.load(path, weights_only=True) | changes, path)
    return path


def test_a_recipe_builds_the_same_object():
    recipe = to_recipe(restorer())
    assert to_recipe(from_recipe(recipe)) == recipe
    assert recipe["process"]["degradation"]["severity"]["values"] == [0.3, 1, 3]
    assert recipe["sampler"]["guidance"]["step"] == 0.3
    pickle.dumps(recipe)


def test_a_checkpoint_needs_nothing_else(tmp_path):
    module = restorer()
    module.stops = {"psnr": StoppingPoint(6 / 7), "lpips": None, "swd": None, "fid": None}
    loaded = load(save(tmp_path / "a.ckpt", module))
    y = torch.rand(2, 3, 16, 16)
    assert loaded.stops == module.stops
    assert torch.equal(loaded.restore(y), module.restore(y))


def test_an_argument_that_is_not_kept_has_no_recipe():
    class Forgetful:
        def __init__(self, width):
            pass

    with pytest.raises(TypeError, match="must keep its arguments"):
        to_recipe(Forgetful(3))


@pytest.mark.parametrize(
    "target",
    [
        "os.system",
        "diracdiff.commands.train.os.system",
        "diracdiff.commands.command.os.system",
        "diracdiff.absent.Thing",
        "diracdiff.losses.Absent",
        "diracdiff.restorer.load",
        "diracdiff.restorer.Path",
        "diracdiff.training.ModelCheckpoint",
        "diracdifference.losses.X",
        3,
    ],
)
def test_targets_outside_the_project_are_refused(target):
    with pytest.raises(ValueError, match="refused"):
        from_recipe({"_target_": target, "command": "touch /tmp/never"})


def test_a_missing_checkpoint_is_named(tmp_path):
    with pytest.raises(ValueError, match=r"absent.ckpt does not exist: give the path"):
        load(tmp_path / "absent.ckpt")


def test_files_that_are_no_checkpoints_are_refused(tmp_path):
    text, cut = tmp_path / "text.ckpt", tmp_path / "cut.ckpt"
    text.write_text("not a checkpoint")
    whole = save(tmp_path / "whole.ckpt", restorer()).read_bytes()
    cut.write_bytes(whole[: len(whole) // 2])
    for path in (text, cut):
        with pytest.raises(ValueError, match="is not a checkpoint"):
            load(path)


def test_a_checkpoint_of_another_kind_is_refused(tmp_path):
    torch.save({"state_dict": {}}, tmp_path / "other.ckpt")
    torch.save([1, 2], tmp_path / "list.ckpt")
    for name in ("other", "list"):
        with pytest.raises(ValueError, match="is of another kind"):
            load(tmp_path / f"{name}.ckpt")


def test_a_pickle_inside_is_refused_and_not_run(tmp_path):
    class Payload:
        def __reduce__(self):
            return (open, (str(tmp_path / "ran"), "w"))

    path = save(tmp_path / "bad.ckpt", restorer(), extra=Payload())
    with pytest.raises(ValueError, match="holds pickled objects"):
        Checkpoint.read(path)
    assert not (tmp_path / "ran").exists()


def test_a_recipe_that_does_not_fit_is_refused(tmp_path):
    module = restorer()
    path = save(tmp_path / "a.ckpt", module)
    checkpoint = torch.load(path, weights_only=True)
    for change, message in (
        (lambda c: c[KIND]["recipe"]["denoiser"]["network"].update(channels=12), "weights do not fit"),
        (lambda c: c[KIND]["recipe"]["sampler"].update(future=1), "has no argument .future"),
        (lambda c: c[KIND].update(recipe=to_recipe(LinearSeverity(0, 1))), "does not describe a restorer"),
    ):
        changed = torch.load(path, weights_only=True)
        change(changed)
        torch.save(changed, tmp_path / "changed.ckpt")
        with pytest.raises(ValueError, match=message):
            load(tmp_path / "changed.ckpt")
    assert checkpoint[KIND]["recipe"] == to_recipe(module)


def test_targets_without_a_stopping_time_are_refused():
    module = restorer()
    module.stops = {"psnr": StoppingPoint(0.5, "mean"), "lpips": None}
    assert module.stop_for("psnr") == StoppingPoint(0.5, "mean")
    with pytest.raises(ValueError, match="target=lpips needs PO, the best LPIPS"):
        module.stop_for("lpips")
    with pytest.raises(ValueError, match="target=fid needs the best FID"):
        module.stop_for("fid")
    with pytest.raises(ValueError, match="target=nfe=3 needs a validation's curve"):
        module.stop_for("nfe=3")


@pytest.mark.parametrize("target", ["ssim", "nfe=0", "nfe=2.5", "t=1.5", "t=", "t=soon", "nfe"])
def test_unknown_targets_are_refused(target):
    with pytest.raises(ValueError, match=f"target must be psnr, lpips, swd, fid, nfe:N, t:T, blend:A.* got '{target}'"):
        restorer().stop_for(target)


def test_targets_by_calls_and_by_time():
    module = restorer()
    module.curve = [
        {"t": t, "nfe": n, "output": o} for t, n in ((1.0, 1), (0.5, 2), (0.2, 4)) for o in ("mean", "iterate")
    ]
    assert [module.stop_for(f"nfe={n}").t for n in (1, 2, 3, 4, 99)] == [1.0, 0.5, 0.5, 0.2, 0.2]
    assert module.stop_for("nfe=2").output == "mean"
    assert module.stop_for("t=0.25") == StoppingPoint(0.25, "iterate")


def test_restoring_any_size_and_any_batch():
    module = restorer()
    y = torch.rand(3, 3, 19, 26)
    names = ["a", "b", "c"]
    together = module.restore(y, "t=0", names=names)
    singles = torch.cat([module.restore(y[i : i + 1], "t=0", names=[names[i]]) for i in range(3)])
    assert together.shape == y.shape and together.min() >= 0 and together.max() <= 1
    assert torch.allclose(together, singles, atol=1e-5)
