"""Commands of several processes: one that dies ends the others, and torchrun and submitit start them as well."""

import os
import signal
import subprocess
import time
from pathlib import Path

import pytest
from conftest import SMALL, begin

from diracdiff.restorer import load

TWO = ["task=inpaint", "trainer=ddp", "trainer.devices=2", "loader.batch_size=2", "lpips=null"]
SHORT = ["trainer.max_epochs=1", "trainer.check_val_every_n_epoch=1"]


def finish(process, timeout=240):
    try:
        return process.communicate(timeout=timeout)
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)


def running(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


@pytest.mark.skipif(not Path("/proc").is_dir(), reason="looks for processes in /proc")
@pytest.mark.parametrize("killed", ["other", "first"])
def test_a_process_that_dies_ends_the_run_with_an_error_in_a_minute(tmp_path, folder, killed):
    endless = ["trainer.max_epochs=10000", "trainer.check_val_every_n_epoch=1", "hydra.run.dir=run"]
    process = begin("-m", "diracdiff", "train", *folder, *SMALL, *TWO, *endless, cwd=tmp_path)
    try:
        deadline = time.monotonic() + 200
        while not (tmp_path / "run" / "best.ckpt").exists():
            assert time.monotonic() < deadline and process.poll() is None, finish(process)
            time.sleep(0.2)
        listed = subprocess.run(["ps", "-o", "pid=,args=", "--ppid", str(process.pid)], capture_output=True, text=True)
        (other,) = [int(line.split()[0]) for line in listed.stdout.splitlines() if "diracdiff.commands.train" in line]
        os.kill(other if killed == "other" else process.pid, signal.SIGKILL)
        start = time.monotonic()
        finish(process, 60)
        while running(other):
            assert time.monotonic() < start + 60
            time.sleep(0.2)
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
    assert process.returncode != 0


def test_torchrun_needs_a_folder_and_makes_one(tmp_path, folder):
    torchrun = ["torch.distributed.run", "--standalone", "--nproc-per-node=2", "-m", "diracdiff", "train"]
    asked = [*folder, *SMALL, *TWO, *SHORT]
    process = begin("-m", *torchrun, *asked, cwd=tmp_path)
    _, errors = finish(process)
    assert process.returncode != 0 and "hydra.run.dir: must be given" in errors
    process = begin("-m", *torchrun, *asked, "hydra.run.dir=run", cwd=tmp_path)
    _, errors = finish(process)
    assert process.returncode == 0, errors
    assert load(tmp_path / "run" / "best.ckpt").stops["psnr"] and (tmp_path / "run" / "summary.json").exists()


def test_submitit_runs_a_sweep_whose_jobs_are_several_processes(tmp_path, folder):
    pytest.importorskip("hydra_plugins.hydra_submitit_launcher")
    launcher = ["hydra/launcher=submitit_local", "hydra.launcher.tasks_per_node=2"]
    process = begin(
        "-m", "diracdiff", "train", "-m", "seed=1,2", *folder, *SMALL, *TWO, *SHORT, *launcher, cwd=tmp_path
    )
    _, errors = finish(process)
    assert process.returncode == 0, errors
    (sweep,) = (tmp_path / "runs").glob("sweep_*")
    assert [load(sweep / f"{job}_inpaint" / "best.ckpt").seed for job in (0, 1)] == [1, 2]
