"""Checkpoints of training runs: files, refusals, and bitwise equal resumed runs."""

import signal
from pathlib import Path

import pytest
import torch
from conftest import BRIEF, SMALL, refused

from diracdiff.checkpoints.checkpoint import KIND
from diracdiff.training import RestorerModule
from diracdiff.training.saving import CheckpointFiles, link_latest
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


def test_latest_points_to_the_newest_run_and_replaces_only_links(tmp_path):
    for name in ("a", "b"):
        (tmp_path / "runs" / name).mkdir(parents=True)
        link_latest(tmp_path / "runs" / name)
        assert (tmp_path / "runs" / "latest").resolve() == tmp_path / "runs" / name
    (tmp_path / "runs" / "latest").unlink()
    (tmp_path / "runs" / "latest").mkdir()
    link_latest(tmp_path / "runs" / "a")
    assert not (tmp_path / "runs" / "latest").is_symlink()


# resumed runs


class Killed(BaseException):
    """Simulates SIGKILL, after which nothing is saved."""


def at_call(monkeypatch, hook, count, action):
    """Call an action before the `count`-th call of a hook of the module."""
    original, seen = getattr(RestorerModule, hook), []

    def counted(self, *args):
        seen.append(1)
        if len(seen) == count:
            action()
        return original(self, *args)

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
        assert curves[0] == curves[1] and a[KIND]["stopping_points"] == b[KIND]["stopping_points"]
    assert (one / "metrics.csv").read_bytes() == (other / "metrics.csv").read_bytes()
    assert without_seconds(one / "tradeoff.csv") == without_seconds(other / "tradeoff.csv")


TWO_EPOCHS = [*SMALL, "lpips=null", "trainer.max_epochs=2", "trainer.check_val_every_n_epoch=1"]
TWO_EPOCHS += ["trainer.log_every_n_steps=1", "callbacks.last.every_n_steps=1", "model.network.dropout=0.1"]


def test_a_killed_or_terminated_run_resumes_bitwise_equal(call, folder, tmp_path, monkeypatch):
    options = ["task=inpaint", *folder, *TWO_EPOCHS]
    assert call("train", *options, "hydra.run.dir=whole") == (0, [])
    resumed = [*options, "hydra.run.dir=parts", "ckpt_path=auto"]
    for hook, count in [("training_step", 1), ("training_step", 4), ("validation_step", 1), ("on_train_start", 1)]:
        with monkeypatch.context() as patch, pytest.raises(Killed):
            at_call(patch, hook, count, kill)
            call("train", *resumed)
        if (log := tmp_path / "parts" / "metrics.csv").exists():
            log.write_bytes(log.read_bytes() + b"0.1,")  # an incomplete row of a killed run
    with monkeypatch.context() as patch:
        at_call(patch, "training_step", 3, lambda: signal.raise_signal(signal.SIGTERM))
        assert call("train", *resumed, "callbacks.last.every_n_steps=null")[0] == 143
    assert torch.load(tmp_path / "parts" / "last.ckpt", weights_only=True)["global_step"] == 6
    assert call("train", *resumed) == (0, [])
    assert_same_run(tmp_path / "whole", tmp_path / "parts")
    rows_before = read_rows(tmp_path / "parts" / "tradeoff.csv")
    assert call("train", *resumed) == (0, [])  # a finished run is tested and reported again
    assert_same_run(tmp_path / "whole", tmp_path / "parts")
    assert read_rows(tmp_path / "parts" / "tradeoff.csv") == rows_before


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("seed=1", r"another seed \(0, now 1\)"),
        ("data.batch_size=3", r"another batch_size \(\d+, now 3\)"),
        ("data.image_size=16", r"another process.degradation.image_size \(32, now 16\)"),
        ("data.val_fraction=0.25", r"another data.val_fraction \(0.125, now 0.25\)"),
        ("callbacks=no_ema", r"another average \(0.\d+, now None\)"),
        ("optimizer.warmup_steps=7", r"another optimization.warmup_steps \(\d+, now 7\)"),
    ],
)
def test_a_resumed_run_keeps_its_settings(call, run, folder, override, message):
    options = ["task=inpaint", *folder, *SMALL, *BRIEF, "lpips=null", f"ckpt_path={run[1]}/last.ckpt"]
    refused(call("train", *options, override), message)


def test_another_learning_rate_takes_effect(call, run, folder, tmp_path):
    content = torch.load(run[1] / "last.ckpt", weights_only=True)
    content[KIND]["dataset"]["setting_of_another_version"] = 3
    torch.save(content, tmp_path / "last.ckpt")
    epochs = 1 + content["epoch"]
    options = ["task=inpaint", *folder, *SMALL, *BRIEF, "lpips=null", "trainer.log_every_n_steps=1"]
    options += ["ckpt_path=last.ckpt", f"trainer.max_epochs={epochs + 1}"]
    assert call("train", *options, "optimizer.lr=5e-4", "hydra.run.dir=slower")[0] == 0
    assert call("train", *options, "hydra.run.dir=same")[0] == 0
    slower, same_rate = (
        [float(row["train/lr"]) for row in read_rows(tmp_path / name / "metrics.csv") if row["train/lr"]]
        for name in ("slower", "same")
    )
    assert slower == pytest.approx([rate * 0.25 for rate in same_rate]) and len(slower) > 1
    assert call("train", *options, "optimizer.muon_lr=5e-3", "hydra.run.dir=muon")[0] == 0
    content = torch.load(tmp_path / "muon" / "last.ckpt", weights_only=True)
    assert [group["initial_lr"] for group in content["optimizer_states"][0]["param_groups"]] == [2e-3, 5e-3]


def test_checkpoints_by_time(call, folder, tmp_path, monkeypatch):
    saved, write = [], CheckpointFiles.save_checkpoint

    def record(self, checkpoint, path, storage_options=None):
        saved.append((Path(path).name, checkpoint["global_step"]))
        write(self, checkpoint, path)

    monkeypatch.setattr(CheckpointFiles, "save_checkpoint", record)
    options = [
        "task=inpaint",
        *folder,
        *SMALL,
        "lpips=null",
        "trainer.max_epochs=1",
        "trainer.check_val_every_n_epoch=1",
    ]
    assert call("train", *options, "callbacks.last.every_minutes=1e-9", "hydra.run.dir=run") == (0, [])
    assert [step for name, step in saved if name == "last.ckpt"] == [1, 2, 3, 4]
