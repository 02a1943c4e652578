"""Several processes: started by a command, by torchrun, by submitit; one that dies ends all, and it is said why."""

import os
import signal
import subprocess
import time
from pathlib import Path

import pytest
from conftest import SMALL, begin

from diracdiff import processes
from diracdiff.restorer import load
from diracdiff.utils.errors import fail, warn

TWO = ["trainer=ddp", "trainer.devices=2", "trainer.accelerator=cpu", "task=inpaint", "lpips=null"]
SHORT = ["trainer.max_epochs=1", "trainer.check_val_every_n_epoch=1"]


@pytest.fixture
def alone(monkeypatch):
    """No variable of several processes, before and after."""
    for name in {*processes.RANKS, *processes.OURS}:
        monkeypatch.delenv(name, raising=False)
    yield monkeypatch
    processes.end(0.0)
    processes.prepare([])


def finish(process, timeout=180):
    try:
        return process.communicate(timeout=timeout)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        raise


def running(pid):
    """Whether a process is there, and is no zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def others_of(pid):
    listed = subprocess.run(["ps", "-o", "pid=,args=", "--ppid", str(pid)], capture_output=True, text=True).stdout
    return [int(line.split()[0]) for line in listed.splitlines() if "diracdiff.commands.train" in line]


@pytest.mark.skipif(not Path("/proc").is_dir(), reason="looks for processes in /proc")
@pytest.mark.parametrize("killed", ["other", "first"])
def test_a_process_that_dies_ends_the_training_with_its_reason_and_leaves_none(tmp_path, folder, killed):
    endless = ["trainer.max_epochs=10000", "trainer.check_val_every_n_epoch=1"]
    process = begin("-m", "diracdiff", "train", *folder, *SMALL, *TWO, *endless, "hydra.run.dir=run", cwd=tmp_path)
    try:
        saved, deadline = tmp_path / "run" / "best.ckpt", time.monotonic() + 170
        while not saved.exists():
            assert time.monotonic() < deadline and process.poll() is None, finish(process)
            time.sleep(0.2)
        (other,) = others_of(process.pid)
        os.kill(other if killed == "other" else process.pid, signal.SIGKILL)
        start = time.monotonic()
        _, errors = finish(process, 60)
        while running(other):
            assert time.monotonic() < start + 60
            time.sleep(0.2)
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
    if killed == "other":
        assert process.returncode == 1 and errors.count("\n") == 1, errors
        assert errors.startswith("error: process 1 of 2 (counted from 0) was ended by SIGKILL")
    else:
        assert process.returncode == -signal.SIGKILL and errors == ""


def test_torchrun_makes_one_folder(tmp_path, folder):
    torchrun = ["torch.distributed.run", "--standalone", "--nproc-per-node=2", "-m"]
    process = begin("-m", *torchrun, "diracdiff", "train", *folder, *SMALL, *TWO, *SHORT, cwd=tmp_path)
    _, errors = finish(process)
    assert process.returncode == 0, errors
    (run,) = (tmp_path / "runs").glob("2*")
    assert load(run / "best.ckpt").stops["psnr"] and (run / "summary.json").exists()
    assert {path.name for path in tmp_path.iterdir()} == {"runs"}


def test_submitit_runs_a_sweep_whose_jobs_are_several_processes(tmp_path, folder):
    pytest.importorskip("hydra_plugins.hydra_submitit_launcher")
    small = [word for word in SMALL if not word.startswith("sampler.steps")]
    launcher = ["hydra/launcher=submitit_local", "hydra.launcher.tasks_per_node=2"]
    asked = ["-m", "sampler.steps=0,2", *folder, *small, *TWO, *SHORT, *launcher]
    process = begin("-m", "diracdiff", "train", *asked, cwd=tmp_path)
    _, errors = finish(process)
    assert process.returncode == 2, errors
    assert errors.startswith("error: 1 of the sweep's jobs failed, the first: sampler: steps must be"), errors
    (sweep,) = (tmp_path / "runs").glob("sweep_*")
    assert len((sweep / "failed.txt").read_text().splitlines()) == 1
    assert {path.parent.name for path in sweep.glob("*/*") if ".submitit" not in path.parts} == {"1_inpaint"}
    assert load(sweep / "1_inpaint" / "best.ckpt").sampler.steps == 2
    log = "".join(path.read_text() for path in (sweep / ".submitit").rglob("*_log.err"))
    assert "Traceback" not in log


# in one process


CHILD = "import os, sys, time; {}"


def started(alone, code, devices=2):
    processes.prepare(["-c", CHILD.format(code)])
    processes.start(devices)


def test_others_are_told_their_rank_and_where_to_meet(alone, tmp_path):
    keys = "LOCAL_RANK", "WORLD_SIZE", "MASTER_ADDR", "NODE_RANK"
    file = f"open({str(tmp_path)!r} + '/' + os.environ['LOCAL_RANK'], 'w')"
    started(alone, f"print(*[os.environ[k] for k in {keys}], file={file})", devices=3)
    assert os.environ["LOCAL_RANK"] == "0" and processes.is_first_process()
    processes.end(30.0)
    assert [(tmp_path / str(i)).read_text() for i in (1, 2)] == [f"{i} 3 127.0.0.1 0\n" for i in (1, 2)]
    assert not set(processes.OURS) & set(os.environ)


def test_why_another_process_ended(alone):
    for code, reason in (
        ("sys.exit(3)", ("process 1 of 2 (counted from 0) ended with status 3", 1)),
        ("os.kill(os.getpid(), 15)", ("process 1 of 2 (counted from 0) was ended by SIGTERM", 1)),
        (
            "open(os.environ['DIRACDIFF_REASONS'] + '/1', 'w').write('a.png is broken'); sys.exit(2)",
            ("a.png is broken", 2),
        ),
    ):
        started(alone, code)
        assert processes.why(30.0) == reason
        processes.notice()
        processes.end(0.0)
    started(alone, "time.sleep(60)")
    assert processes.why() is None
    begun = time.monotonic()
    processes.end(0.0)
    assert time.monotonic() - begun < 10


def test_one_of_several_is_silent_and_leaves_its_reason(alone, tmp_path, capsys):
    alone.setenv("LOCAL_RANK", "1")
    alone.setenv(processes.PARENT, "1")
    alone.setenv(processes.REASONS, str(tmp_path))
    warn("twice")
    with pytest.raises(SystemExit) as stop:
        fail("a.png is broken")
    assert stop.value.code == 2 and capsys.readouterr().err == ""
    assert (tmp_path / "1").read_text() == "a.png is broken"


def test_what_is_started_from_outside_is_not_started_again(alone):
    alone.setenv("LOCAL_RANK", "0")
    started(alone, "sys.exit(1)")
    assert not processes.has_started()


@pytest.mark.parametrize("name", processes.RANKS)
def test_the_first_process_has_rank_0_everywhere(alone, name):
    alone.setenv(name, "0")
    assert processes.is_first_process()
    alone.setenv(name, "1")
    assert not processes.is_first_process()
