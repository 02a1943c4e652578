"""Training with several processes: torchrun, and the end of a run after one process is killed."""

import os
import signal
import subprocess
import time
from pathlib import Path

import pytest
from conftest import SMALL, begin, refused

from diracdiff.restorer import load

TWO = ["task=inpaint", "trainer=ddp", "trainer.devices=2", "data.batch_size=2", "metrics=[psnr]", "lpips=null"]


def test_external_launchers_need_an_output_folder(folder, call, monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    refused(call("train", *folder, *SMALL, *TWO), "hydra.run.dir: must be given")


def test_torchrun_trains(tmp_path, folder):
    torchrun = ["torch.distributed.run", "--standalone", "--nproc-per-node=2", "-m", "diracdiff", "train"]
    short = ["trainer.max_epochs=1", "trainer.check_val_every_n_epoch=1", "hydra.run.dir=run"]
    process = begin("-m", *torchrun, *folder, *SMALL, *TWO, *short, cwd=tmp_path)
    _, errors = process.communicate(timeout=240)
    assert process.returncode == 0, errors
    assert load(tmp_path / "run" / "best.ckpt").stopping_points["psnr"] and (tmp_path / "run" / "summary.json").exists()


def running(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


@pytest.mark.skipif(not Path("/proc").is_dir(), reason="looks for processes in /proc")
@pytest.mark.parametrize("killed", ["other", "first"])
def test_a_killed_process_ends_the_run_within_a_minute(tmp_path, folder, killed):
    endless = ["trainer.max_epochs=10000", "trainer.check_val_every_n_epoch=1", "hydra.run.dir=run"]
    process = begin("-m", "diracdiff", "train", *folder, *SMALL, *TWO, *endless, cwd=tmp_path)
    try:
        deadline = time.monotonic() + 200
        while not (tmp_path / "run" / "best.ckpt").exists():
            assert time.monotonic() < deadline and process.poll() is None
            time.sleep(0.2)
        processes = subprocess.run(
            ["ps", "-o", "pid=,args=", "--ppid", str(process.pid)], capture_output=True, text=True
        )
        (other,) = [
            int(line.split()[0]) for line in processes.stdout.splitlines() if "diracdiff.commands.train" in line
        ]
        os.kill(other if killed == "other" else process.pid, signal.SIGKILL)
        start = time.monotonic()
        process.communicate(timeout=60)
        while running(other):
            assert time.monotonic() < start + 60
            time.sleep(0.2)
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
    assert process.returncode != 0
