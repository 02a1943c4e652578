"""Commands of several processes: one that dies ends the others, and torchrun starts them as well."""

import os
import signal
import subprocess
import time
from pathlib import Path

import pytest
from conftest import SMALL, begin, refused

from diracdiff.restorer import load

TWO = ["task=inpaint", "trainer=ddp", "trainer.devices=2", "loader.batch_size=2", "lpips=null"]
SHORT = ["trainer.max_epochs=1", "trainer.check_val_every_n_epoch=1"]


def finish(process, timeout=240):
    try:
        return process.communicate(timeout=timeout)
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)


@pytest.mark.skipif(not Path("/proc").is_dir(), reason="looks for processes in /proc")
def test_a_process_that_dies_ends_the_run_with_an_error_in_a_minute(tmp_path, folder):
    endless = ["trainer.max_epochs=10000", "trainer.check_val_every_n_epoch=1", "hydra.run.dir=run"]
    process = begin("-m", "diracdiff", "train", *folder, *SMALL, *TWO, *endless, cwd=tmp_path)
    try:
        deadline = time.monotonic() + 200
        while not (tmp_path / "run" / "best.ckpt").exists():
            assert time.monotonic() < deadline and process.poll() is None, finish(process)
            time.sleep(0.2)
        listed = subprocess.run(["ps", "-o", "pid=,args=", "--ppid", str(process.pid)], capture_output=True, text=True)
        (other,) = [int(line.split()[0]) for line in listed.stdout.splitlines() if "diracdiff.commands.train" in line]
        os.kill(other, signal.SIGKILL)
        finish(process, 60)
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
    assert process.returncode != 0


def test_processes_from_outside_need_a_folder(folder, call, monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    refused(call("train", *folder, *SMALL, *TWO), "hydra.run.dir: must be given")


def test_torchrun_trains(tmp_path, folder):
    torchrun = ["torch.distributed.run", "--standalone", "--nproc-per-node=2", "-m", "diracdiff", "train"]
    process = begin("-m", *torchrun, *folder, *SMALL, *TWO, *SHORT, "hydra.run.dir=run", cwd=tmp_path)
    _, errors = finish(process)
    assert process.returncode == 0, errors
    assert load(tmp_path / "run" / "best.ckpt").stops["psnr"] and (tmp_path / "run" / "summary.json").exists()
