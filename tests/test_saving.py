"""Checkpoints of training: whole files, clear refusals, resumed runs with the same bits."""

import os
import signal
from pathlib import Path

import pytest
import torch
from conftest import BRIEF, SMALL, refused

from diracdiff.checkpoints import Checkpoint
from diracdiff.checkpoints.checkpoint import KIND
from diracdiff.checkpoints.weights import Damaged, read_weights
from diracdiff.training import LastCheckpoint, RestorerModule
from diracdiff.training.resume import find
from diracdiff.training.saving import CheckpointFiles, point_latest
from diracdiff.utils.files import read_rows


def same(a, b):
    if isinstance(a, torch.Tensor):
        return torch.equal(a, b)
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(same(a[key], b[key]) for key in a)
    if isinstance(a, list | tuple):
        return len(a) == len(b) and all(map(same, a, b))
    return a == b


# files


def test_the_replaced_file_becomes_the_previous_one(tmp_path):
    for n in range(3):
        CheckpointFiles().save_checkpoint({"n": n}, tmp_path / "last.ckpt")
    assert [read_weights(tmp_path / name, "")["n"] for name in ("last.ckpt", "previous.ckpt")] == [2, 1]
    assert len(list(tmp_path.iterdir())) == 2


def test_without_hard_links_the_last_file_is_kept_alone(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "link", lambda *_: (_ for _ in ()).throw(OSError("no links")))
    for n in range(2):
        CheckpointFiles().save_checkpoint({"n": n}, tmp_path / "last.ckpt")
    assert read_weights(tmp_path / "last.ckpt", "")["n"] == 1
    assert [path.name for path in tmp_path.iterdir()] == ["last.ckpt"]


@pytest.mark.parametrize("damage", ["flip", "empty"])
def test_the_previous_file_replaces_a_damaged_one(run, tmp_path, capsys, damage):
    last, before = tmp_path / "last.ckpt", tmp_path / "previous.ckpt"
    content = bytearray((run[1] / "last.ckpt").read_bytes())
    before.write_bytes(content)
    content[len(content) // 2] ^= 1
    last.write_bytes(content if damage == "flip" else b"")
    path, checkpoint = find("auto", tmp_path)
    assert path == before and checkpoint.resumable
    assert f"resuming from {before}, step {checkpoint.rest['global_step']}" in capsys.readouterr().err
    before.unlink()
    with pytest.raises(Damaged):
        find(str(last), tmp_path)


def test_weights_that_are_not_finite_are_refused(run, tmp_path):
    content = torch.load(run[1] / "best.ckpt", weights_only=True)
    name = next(iter(content["state_dict"]))
    content["state_dict"][name].view(-1)[0] = float("nan")
    torch.save(content, tmp_path / "nan.ckpt")
    with pytest.raises(ValueError, match=rf"not finite \({name.removeprefix('denoiser.')}\)"):
        Checkpoint.read(tmp_path / "nan.ckpt")


def test_latest_points_to_the_newest_run_and_replaces_links_alone(tmp_path):
    for name in ("a", "b"):
        (tmp_path / "runs" / name).mkdir(parents=True)
        point_latest(tmp_path / "runs" / name)
        assert (tmp_path / "runs" / "latest").resolve() == tmp_path / "runs" / name
    (tmp_path / "runs" / "latest").unlink()
    (tmp_path / "runs" / "latest").mkdir()
    point_latest(tmp_path / "runs" / "a")
    assert not (tmp_path / "runs" / "latest").is_symlink()


# resumed runs


class Killed(BaseException):
    """Stands for SIGKILL: nothing may be saved on the way out."""


def at_call(monkeypatch, hook, count, action):
    """Call an action before the `count`-th call of a hook of the module."""
    original, seen = getattr(RestorerModule, hook), []

    def counted(self, *given):
        seen.append(1)
        if len(seen) == count:
            action()
        return original(self, *given)

    monkeypatch.setattr(RestorerModule, hook, counted)


def kill():
    raise Killed


def without_seconds(path):
    return [{key: value for key, value in row.items() if key != "seconds"} for row in read_rows(path)]


def assert_same_run(one: Path, other: Path):
    for name in ("last.ckpt", "best.ckpt"):
        a, b = (torch.load(folder / name, weights_only=True) for folder in (one, other))
        for key in ("state_dict", "current_model_state", "optimizer_states", "lr_schedulers", "global_step", "epoch"):
            assert same(a[key], b[key]), key
        curves = [[{k: v for k, v in row.items() if k != "seconds"} for row in c[KIND]["curve"]] for c in (a, b)]
        assert curves[0] == curves[1] and a[KIND]["stopping"] == b[KIND]["stopping"]
    assert (one / "metrics.csv").read_bytes() == (other / "metrics.csv").read_bytes()
    assert without_seconds(one / "tradeoff.csv") == without_seconds(other / "tradeoff.csv")


TWO_EPOCHS = [*SMALL, "lpips=null", "trainer.max_epochs=2", "trainer.check_val_every_n_epoch=1"]
TWO_EPOCHS += ["trainer.log_every_n_steps=1", "callbacks.last.every_n_steps=1", "model.network.dropout=0.1"]


@pytest.mark.parametrize("options", [[], ["trainer.accumulate_grad_batches=2", "trainer.check_val_every_n_epoch=2"]])
def test_a_killed_run_resumes_to_the_same_bits(call, folder, tmp_path, monkeypatch, options):
    words = ["task=inpaint", *folder, *TWO_EPOCHS, *options]
    assert call("train", *words, "hydra.run.dir=whole") == (0, [])
    again = [*words, "hydra.run.dir=parts", "checkpoint=auto"]
    for hook, count in [("training_step", 1), ("training_step", 4), ("validation_step", 1), ("on_train_start", 1)]:
        with monkeypatch.context() as patch, pytest.raises(Killed):
            at_call(patch, hook, count, kill)
            call("train", *again)
        if (log := tmp_path / "parts" / "metrics.csv").exists():
            log.write_bytes(log.read_bytes() + b"0.1,")  # a row that the killed run has not finished
    assert call("train", *again) == (0, [])
    assert_same_run(tmp_path / "whole", tmp_path / "parts")
    figures = read_rows(tmp_path / "parts" / "tradeoff.csv")
    assert call("train", *again) == (0, [])  # at its end: tested and reported again
    assert_same_run(tmp_path / "whole", tmp_path / "parts")
    assert read_rows(tmp_path / "parts" / "tradeoff.csv") == figures


def test_sigterm_saves_after_the_step_and_the_run_resumes_to_the_same_bits(call, folder, tmp_path, monkeypatch):
    words = ["task=inpaint", *folder, *TWO_EPOCHS, "callbacks.last.every_n_steps=null"]
    assert call("train", *words, "hydra.run.dir=whole") == (0, [])
    again = [*words, "hydra.run.dir=parts", "checkpoint=auto"]
    for step in (3, 6):
        with monkeypatch.context() as patch:
            at_call(patch, "training_step", 3, lambda: signal.raise_signal(signal.SIGTERM))
            assert call("train", *again)[0] == 143
        assert torch.load(tmp_path / "parts" / "last.ckpt", weights_only=True)["global_step"] == step
    assert call("train", *again) == (0, [])
    assert_same_run(tmp_path / "whole", tmp_path / "parts")


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("seed=1", r"another seed \(0, now 1\)"),
        ("loader.batch_size=3", r"another batch_size \(\d+, now 3\)"),
        ("dataset.image_size=16", "another process"),
        ("dataset.val_fraction=0.25", r"another dataset.val_fraction \(0.125, now 0.25\)"),
        ("callbacks=no_ema", r"another average \(0.\d+, now None\)"),
        ("optimizer.warmup_steps=7", r"another optimization.warmup_steps \(\d+, now 7\)"),
    ],
)
def test_a_resumed_run_keeps_its_settings(call, run, folder, override, message):
    words = ["task=inpaint", *folder, *SMALL, *BRIEF, "lpips=null", f"checkpoint={run[1]}/last.ckpt"]
    refused(call("train", *words, override), message)


def test_another_learning_rate_takes_effect(call, run, folder, tmp_path):
    epochs = 1 + torch.load(run[1] / "last.ckpt", weights_only=True)["epoch"]
    words = ["task=inpaint", *folder, *SMALL, *BRIEF, "lpips=null", "trainer.log_every_n_steps=1"]
    words += [f"checkpoint={run[1]}/last.ckpt", f"trainer.max_epochs={epochs + 1}"]
    assert call("train", *words, "optimizer.lr=5e-4", "hydra.run.dir=slower")[0] == 0
    assert call("train", *words, "hydra.run.dir=same")[0] == 0
    slower, same_rate = (
        [float(row["train/lr"]) for row in read_rows(tmp_path / name / "metrics.csv") if row["train/lr"]]
        for name in ("slower", "same")
    )
    assert slower == pytest.approx([rate * 0.25 for rate in same_rate]) and len(slower) > 1


def test_checkpoints_by_time(call, folder, tmp_path):
    words = ["task=inpaint", *folder, *SMALL, *BRIEF, "lpips=null"]
    assert call("train", *words, "callbacks.last.every_minutes=1e-9", "hydra.run.dir=run") == (0, [])
    steps = [
        torch.load(tmp_path / "run" / name, weights_only=True)["global_step"] for name in ("last.ckpt", "previous.ckpt")
    ]
    assert steps[0] == steps[1] + 1


@pytest.mark.parametrize("key", ["every_minutes", "every_n_steps"])
def test_an_interval_must_be_positive(key):
    with pytest.raises(ValueError, match=f"{key}=0: must be positive"):
        LastCheckpoint("run", **{key: 0})
