"""Nothing is lost: whole files, damage found, killed trainings that go on to the same bits."""

import fcntl
import os
import random
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from conftest import BRIEF, SMALL, clean_environment, refused

from diracdiff.checkpoints import Checkpoint
from diracdiff.checkpoints.checkpoint import KIND
from diracdiff.checkpoints.weights import Damaged, read_weights, write_weights
from diracdiff.training import Checkpoints, Interrupted, RestorerModule
from diracdiff.training.resume import find
from diracdiff.training.saving import CheckpointFiles
from diracdiff.training.stopping import ended
from diracdiff.utils.errors import UserError
from diracdiff.utils.files import read_rows

CONTENT = {"state_dict": {f"denoiser.{i}": torch.full((40, 40), i / 7) for i in range(4)}, KIND: {"version": "0.2"}}


def same(a, b):
    if isinstance(a, torch.Tensor):
        return torch.equal(a, b)
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(same(a[key], b[key]) for key in a)
    if isinstance(a, list | tuple):
        return len(a) == len(b) and all(map(same, a, b))
    return a == b


# files


def test_no_flipped_bit_and_no_lost_byte_passes_unseen(tmp_path):
    path, generator = tmp_path / "a.ckpt", random.Random(0)
    write_weights(path, CONTENT)
    whole, refusals = path.read_bytes(), 0
    damages = [whole[: generator.randrange(len(whole))] for _ in range(40)]
    for bit in generator.sample(range(8 * len(whole)), 400):
        damages.append(whole[: bit // 8] + bytes([whole[bit // 8] ^ 1 << bit % 8]) + whole[bit // 8 + 1 :])
    for damaged in damages:
        path.write_bytes(damaged)
        try:
            assert same(read_weights(path, "another one"), CONTENT)  # a bit that means nothing
        except UserError as error:
            assert "\n" not in str(error)
            refusals += 1
    assert refusals > 0.9 * len(damages)


def test_a_full_disk_leaves_the_old_file(tmp_path):
    path = tmp_path / "a.ckpt"
    write_weights(path, CONTENT)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, limits[1]))
    try:
        with pytest.raises(UserError, match=r"a.ckpt cannot be written \(File too large\), .* as before: free space"):
            write_weights(path, CONTENT | {"more": torch.zeros(100_000)})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert same(read_weights(path, ""), CONTENT) and list(tmp_path.iterdir()) == [path]


def test_a_place_that_cannot_be_written_is_named():
    with pytest.raises(
        UserError, match=r"^/proc/a/b.ckpt cannot be written \(.*\), what was there is as before: write"
    ):
        write_weights("/proc/a/b.ckpt", CONTENT)


KILLED = """
import sys, torch
from pathlib import Path
from diracdiff.training.saving import CheckpointFiles
files, path, n = CheckpointFiles(), Path(sys.argv[1]), int(sys.argv[2])
while True:
    n += 1
    files.save_checkpoint({"n": n, "weights": torch.full((1_000_000,), float(n))}, path)
    print(n, flush=True)
"""


def test_a_process_killed_while_it_saves_leaves_a_checkpoint(tmp_path):
    path, generator, last = tmp_path / "last.ckpt", random.Random(0), 0
    for _ in range(int(os.environ.get("KILLS", 3))):
        process = subprocess.Popen(
            [sys.executable, "-c", KILLED, str(path), str(last)], env=clean_environment(), stdout=subprocess.PIPE
        )
        process.stdout.readline()
        time.sleep(generator.uniform(0, 0.2))
        process.kill()
        printed = process.communicate()[0].split()
        content = read_weights(path, "")
        last = int(content["n"])
        assert last >= int(printed[-1]) if printed else last
        assert torch.equal(content["weights"], torch.full((1_000_000,), float(last)))
        if last > 1:
            before = read_weights(path.with_name("previous.ckpt"), "")
            assert int(before["n"]) in (last - 1, last)


def test_without_links_the_one_before_is_copied(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "link", lambda *_: (_ for _ in ()).throw(OSError("no links")))
    for n in range(2):
        CheckpointFiles().save_checkpoint({"n": n}, tmp_path / "last.ckpt")
    assert [read_weights(tmp_path / name, "")["n"] for name in ("last.ckpt", "previous.ckpt")] == [1, 0]


# checkpoints


def test_weights_that_are_not_finite_are_refused(run, tmp_path):
    content = torch.load(run[1] / "best.ckpt", weights_only=True)
    name = next(iter(content["state_dict"]))
    content["state_dict"][name].view(-1)[0] = float("nan")
    torch.save(content, tmp_path / "nan.ckpt")
    with pytest.raises(
        UserError, match=rf"weights that are not finite \({name.removeprefix('denoiser.')}\): .*diverged"
    ):
        Checkpoint.read(tmp_path / "nan.ckpt")


@pytest.mark.parametrize("damage", ["flip", "empty", "missing"])
def test_in_place_of_a_damaged_last_the_one_before_is_used(run, tmp_path, capsys, damage):
    last, before = tmp_path / "last.ckpt", tmp_path / "previous.ckpt"
    content = bytearray((run[1] / "last.ckpt").read_bytes())
    before.write_bytes(content)
    content[len(content) // 2] ^= 1
    if damage != "missing":
        last.write_bytes(content if damage == "flip" else b"")
    path, checkpoint = find(str(last) if damage != "missing" else "auto", tmp_path)
    assert path == before and checkpoint.resumable
    assert f"going on from {before}, step {checkpoint.rest['global_step']}" in capsys.readouterr().err
    before.unlink()
    if damage != "missing":
        with pytest.raises(Damaged):
            find("auto", tmp_path)
    else:
        assert find("auto", tmp_path) is None
    with pytest.raises(UserError):
        find(str(last), tmp_path)


# trainings


class Killed(BaseException):
    """In place of SIGKILL: nothing may be saved on the way out."""


def kill_at(monkeypatch, hook, count):
    """Let the `count`-th call of a hook end the process, so to speak."""
    original, seen = getattr(RestorerModule, hook), []

    def counted(self, *given):
        seen.append(1)
        if len(seen) == count:
            raise Killed
        return original(self, *given)

    monkeypatch.setattr(RestorerModule, hook, counted)


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
TWO_EPOCHS += ["trainer.log_every_n_steps=1", "callbacks.checkpoints.every_n_steps=2", "model.network.dropout=0.1"]


def test_a_killed_training_goes_on_to_the_same_bits(call, folder, tmp_path, monkeypatch):
    asked = ["task=inpaint", *folder, *TWO_EPOCHS]
    assert call("train", *asked, "hydra.run.dir=whole") == (0, [])
    again = [*asked, "hydra.run.dir=parts", "checkpoint=auto"]
    moments = [("training_step", 1), ("training_step", 4), ("validation_step", 1), ("on_train_start", 1)]
    for hook, count in [*moments, ("training_step", 3)]:
        with monkeypatch.context() as patch, pytest.raises(Killed):
            kill_at(patch, hook, count)
            call("train", *again)
        with open(tmp_path / "parts" / "metrics.csv", "ab") as file:
            file.write(b"0.1,")
    assert call("train", *again) == (0, [])
    assert_same_run(tmp_path / "whole", tmp_path / "parts")
    figures = read_rows(tmp_path / "parts" / "tradeoff.csv")
    assert call("train", *again) == (0, [])  # at its end: tested and reported again
    assert_same_run(tmp_path / "whole", tmp_path / "parts")
    assert read_rows(tmp_path / "parts" / "tradeoff.csv") == figures


@pytest.mark.parametrize("hook", ["training_step", "validation_step"])
def test_a_training_that_a_signal_ends_goes_on_to_the_same_bits(call, folder, tmp_path, monkeypatch, hook):
    asked = ["task=inpaint", *folder, *TWO_EPOCHS, "loader.eval_batch_size=1"]
    assert call("train", *asked, "hydra.run.dir=whole") == (0, [])
    again = [*asked, "hydra.run.dir=parts", "checkpoint=auto"]
    original, seen = getattr(RestorerModule, hook), []

    def asked_to_stop(self, *given):
        seen.append(1)
        if len(seen) == 3:
            signal.raise_signal(signal.SIGTERM)
        return original(self, *given)

    with monkeypatch.context() as patch:
        patch.setattr(RestorerModule, hook, asked_to_stop)
        assert call("train", *again)[0] == 143
    assert len(seen) == 3
    assert call("train", *again) == (0, [])
    assert_same_run(tmp_path / "whole", tmp_path / "parts")


def test_two_trainings_do_not_go_on_in_one_folder(call, run, folder, tmp_path):
    (tmp_path / "old").mkdir()
    for name in ("last.ckpt", "overrides.yaml"):
        (tmp_path / "old" / name).write_bytes((run[1] / name).read_bytes())
    asked = ["task=inpaint", *folder, *SMALL, *BRIEF, "lpips=null", "checkpoint=auto", "hydra.run.dir=old"]
    with open("old/overrides.yaml") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        refused(call("train", *asked), "a training is at work in old: wait")


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("seed=1", r"another seed \(0, now 1\)"),
        ("loader.batch_size=3", r"another batch_size \(\d+, now 3\)"),
        ("dataset.image_size=16", "another process"),
        ("dataset.val_fraction=0.25", r"another dataset.val_fraction \(0.125, now 0.25\)"),
        ("callbacks=no_ema", r"another average \(0.\d+, now None\)"),
        ("optimizer.warmup_steps=7", r"another optimization.warmup_steps \(\d+, now 7\)"),
        ("task.share_at_end=0.5", r"another share_at_end \(0.75, now 0.5\)"),
        ("trainer.accumulate_grad_batches=2", r"another accumulate_grad_batches \(1, now 2\)"),
    ],
)
def test_what_a_training_follows_from_may_not_change(call, run, folder, override, message):
    asked = ["task=inpaint", *folder, *SMALL, *BRIEF, "lpips=null", f"checkpoint={run[1]}/last.ckpt"]
    refused(call("train", *asked, override), message)


def test_another_learning_rate_takes_effect(call, run, folder, tmp_path, capsys):
    epochs = 1 + torch.load(run[1] / "last.ckpt", weights_only=True)["epoch"]
    asked = ["task=inpaint", *folder, *SMALL, *BRIEF, "lpips=null", "trainer.log_every_n_steps=1"]
    more = [f"checkpoint={run[1]}/last.ckpt", f"trainer.max_epochs={epochs + 1}", "optimizer.decay=none"]
    refused(call("train", *asked, *more, "optimizer.lr=5e-4"), "another optimization.decay")
    assert call("train", *asked, *more[:2], "optimizer.lr=5e-4", "hydra.run.dir=slower")[0] == 0
    assert call("train", *asked, *more[:2], "hydra.run.dir=same")[0] == 0
    slower, same_rate = (
        [float(row["train/lr"]) for row in read_rows(tmp_path / name / "metrics.csv") if row["train/lr"]]
        for name in ("slower", "same")
    )
    assert slower == pytest.approx([rate * 0.25 for rate in same_rate]) and len(slower) > 1
    recipe = torch.load(tmp_path / "slower" / "last.ckpt", weights_only=True)[KIND]["training"]["optimization"]
    assert recipe["lr"] == 5e-4


def test_checkpoints_by_time_and_in_the_background(call, folder, tmp_path):
    asked = ["task=inpaint", *folder, *SMALL, *BRIEF, "lpips=null", "callbacks.checkpoints.background=true"]
    more = ["callbacks.checkpoints.every_minutes=1e-9", "hydra.run.dir=run"]
    assert call("train", *asked, *more) == (0, [])
    steps = [
        torch.load(tmp_path / "run" / name, weights_only=True)["global_step"] for name in ("last.ckpt", "previous.ckpt")
    ]
    assert steps[0] == steps[1] + 1
    refused(call("train", *asked, "callbacks.checkpoints.every_minutes=0"), "every_minutes must be positive")


def test_slurm_runs_a_job_again_that_can_go_on(tmp_path, monkeypatch, capsys):
    script = tmp_path / "scontrol"
    script.write_text(f'#!/bin/sh\necho "$@" >> {tmp_path}/asked\n')
    script.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    monkeypatch.setenv("SLURM_JOB_ID", "7")
    stop = Interrupted(signal.SIGUSR1, Path("last.ckpt"))
    assert ended(stop, None, first=True) == 128 + signal.SIGUSR1
    assert "job 7 is not requeued" in capsys.readouterr().err and not (tmp_path / "asked").exists()
    assert ended(stop, "auto", first=False) == 128 + signal.SIGUSR1 and not (tmp_path / "asked").exists()
    ended(stop, "auto", first=True)
    assert "requeued job 7" in capsys.readouterr().out
    monkeypatch.setenv("SLURM_ARRAY_JOB_ID", "5")
    monkeypatch.setenv("SLURM_ARRAY_TASK_ID", "3")
    ended(stop, "auto", first=True)
    assert (tmp_path / "asked").read_text() == "requeue 7\nrequeue 5_3\n"
    ended(Interrupted(signal.SIGTERM, Path("last.ckpt")), "auto", first=True)
    assert (tmp_path / "asked").read_text().count("\n") == 2


def test_callbacks_check_their_arguments():
    with pytest.raises(ValueError, match="every_n_steps must be positive, or null for never, got 0"):
        Checkpoints("run", every_n_steps=0)
