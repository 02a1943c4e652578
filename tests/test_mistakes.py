"""Mistakes on the command line: one line with the remedy, exit status 2, nothing left behind."""

import contextlib
import importlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from conftest import BRIEF, SMALL, clean_environment, refused, run_here

from diracdiff.signals import LOADING, Stopped, on_signals, stop

GOOD = ["task=inpaint", "lpips=null", *BRIEF, *SMALL]


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("seed=-1", "seed must be an integer from 0 to 4294967295, got -1"),
        ("seed=abc", "seed must be an integer .*, got abc"),
        ("seed=1e14", "seed must be an integer from 0 to 4294967295, got 1"),
        ("seed=null", "seed must be given"),
        ("sampler.sigma=abc", "sampler.sigma must be a number or null, got abc"),
        ("sampler.start=abc", "sampler.start must be a number, got abc"),
        ("task.times=[0.5]", r"task.times: times must be two numbers, .*got \[0.5\]"),
        ("task.times=null", "task.times: times must be two numbers"),
        ("trainer.accumulate_grad_batches=abc", "trainer.accumulate_grad_batches must be an integer .*got abc"),
        (
            "trainer.accumulate_grad_batches=0",
            "trainer.accumulate_grad_batches must be an integer of at least 1, got 0",
        ),
        ("trainer.limit_train_batches=abc", "trainer.limit_train_batches must be a number"),
        ("trainer.devices=0", "trainer: .*devices"),
        ("logger=null", "logger=null chooses nothing: leave it out, or choose one of csv, tensorboard, wandb"),
        ("sampler=checkpoint", "sampler=checkpoint is for commands that read a checkpoint: choose sampler=ode"),
        ("optimizer.lr=abc", "^error: optimizer.lr must be a number, got abc$"),
        ("optimizer.lr=null", "optimizer.lr must be a number, got null"),
        ("optimizer.lr=-1", "^error: optimizer: lr must be positive, got -1$"),
        ("optimizer.warmup_steps=abc", "optimizer.warmup_steps must be an integer, got abc"),
        ("dataset.image_size=abc", "dataset.image_size must be an integer .*got abc"),
        ("callbacks.ema.decay=abc", "callbacks.ema.decay must be a number, got abc"),
        ("model.network.channels=abc", "model.network.channels must be an integer, got abc"),
        ("schedule.noise.sigma_max=abc", "schedule.noise.sigma_max must be a number, got abc"),
        ("+loader.foo=1", "loader.foo is no setting of a loader: use loader.batch_size, "),
        ("metrics=[]", "metrics=.* leaves nothing to measure"),
    ],
)
def test_a_training_is_refused_in_one_line(call, tmp_path, folder, override, message):
    refused(call("train", *folder, *GOOD, override), message)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("key", ["input", "output", "checkpoint", "samples", "batch_size", "seed"])
def test_null_is_not_given(call, image_folder, run, key):
    asked = [f"checkpoint={run[1]}/best.ckpt", f"input={image_folder}/05.png", f"{key}=null"]
    refused(call("restore", *asked), f"^error: {key} must be given: add {key}=…$")


def test_a_device_that_is_not_there_has_a_remedy(call, folder):
    import torch

    if torch.cuda.is_available():
        pytest.skip("there is a GPU")
    good = [word for word in GOOD if not word.startswith("trainer.accelerator")]
    refused(call("train", *folder, *good, "trainer=gpu"), "trainer: accelerator=gpu is not available.* add trainer=cpu")


def test_what_is_missing_is_called_by_its_key(call, run):
    checkpoint = f"checkpoint={run[1]}/best.ckpt"
    refused(
        call("restore", checkpoint, "input=absent"), "^error: input=absent does not exist: give an image, or a folder"
    )
    refused(call("restore", "checkpoint=absent", "input=absent"), "^error: checkpoint=absent does not exist")
    refused(call("evaluate", checkpoint, "dataset=folder", "dataset.root=no"), "^error: dataset.root=no does not exist")


def test_a_tilde_is_the_home_folder(call, run, measured_folder, tmp_path, monkeypatch):
    home = tmp_path / "a home (mine)"
    home.mkdir()
    (home / "a.png").write_bytes((measured_folder / "05.png").read_bytes())
    monkeypatch.setenv("HOME", str(home))
    checkpoint = f"checkpoint={run[1]}/best.ckpt"
    assert call("restore", checkpoint, "input=~/a.png", "output=~/out", "target=t=1") == (0, [])
    assert (home / "out" / "a.png").exists()
    refused(call("restore", checkpoint, "input=~/b.png"), "b.png does not exist")


def test_a_flow_s_times_are_reported_under_their_key(call, folder):
    refused(
        call("train", *folder, "task=pmrf", "regression=x", "task.times=[1,0]"), "^error: task.times: times must be two"
    )


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("dirac.dials={renoise: [0.5]}", "dirac.dials.renoise=0.5 with steps=1: renoise needs at least 2 steps"),
        ("dirac.search=abc", "dirac.search must be lists of values"),
        ("dirac=null", "dirac must be given"),
        ("tune_for=null", "tune_for must be given"),
    ],
)
def test_a_comparison_is_refused_in_one_line(call, run, override, message):
    import diracdiff.comparison.dials as dials

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(dials, "check_dials", lambda *_: None)
        patch.setattr("diracdiff.commands.builders.comparing.check_dials", lambda *_: None)  # which needs LPIPS
        asked = [f"checkpoint={run[1]}/best.ckpt", "lpips=null", "tune_for=psnr", "dirac.search={steps: [1]}"]
        refused(call("compare", *asked, override), message)


def test_the_time_that_is_reported_is_the_one_that_was_reached(tmp_path, paper, image_folder, capsys):
    asked = [f"checkpoint={paper}", f"input={image_folder}/05.png", "sampler.start=0.6", "target=t=0.95"]
    assert run_here(tmp_path, "restore", *asked) == 0
    printed, errors = capsys.readouterr()
    assert "at t = 0.60 into" in printed and errors.startswith(
        "warning: the stop, t = 0.95, lies before sampler.start=0.6"
    )


def test_run_dir_leaves_no_folder_of_another_name(tmp_path, folder):
    assert run_here(tmp_path, "train", *folder, *GOOD, "trainer.max_epochs=1", "run_dir=mine") == 0
    assert {path.name for path in tmp_path.iterdir()} == {"mine"}


def test_a_signal_that_a_library_takes_for_its_own_mistake_ends_a_command(
    tmp_path, run, image_folder, call, monkeypatch
):
    def half_imported(*_, **__):
        try:
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(10)
        except BaseException:
            raise ImportError("cannot load module more than once per process") from None

    monkeypatch.setattr("diracdiff.restorer.load", half_imported)
    assert call("restore", f"checkpoint={run[1]}/best.ckpt", f"input={image_folder}") == (143, ["interrupted"])


def test_a_signal_that_a_library_swallows_ends_a_command(run, image_folder, call, monkeypatch):
    def forgetful(*_, **__):
        with contextlib.suppress(BaseException):
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(10)
        time.sleep(10)

    monkeypatch.setattr("diracdiff.restorer.load", forgetful)
    asked_at = time.monotonic()
    assert call("restore", f"checkpoint={run[1]}/best.ckpt", f"input={image_folder}") == (143, ["interrupted"])
    assert time.monotonic() - asked_at < 9


def test_a_signal_within_a_finalizer_ends_a_command(run, image_folder, call, monkeypatch):
    class Finalized:
        def __del__(self):
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(10)

    class Faulty:
        def __del__(self):
            raise OSError("another fault")

    def finalizes(*_, **__):
        Faulty(), Finalized()
        time.sleep(10)

    lost = []
    monkeypatch.setattr("diracdiff.restorer.load", finalizes)
    monkeypatch.setattr(sys, "unraisablehook", lambda args: lost.append(str(args.exc_value)))
    assert call("restore", f"checkpoint={run[1]}/best.ckpt", f"input={image_folder}") == (143, ["interrupted"])
    assert lost == ["another fault"]
    lost.clear()
    Faulty()
    assert lost == ["another fault"]


def test_a_signal_within_an_import_waits_for_its_end(tmp_path, run, image_folder, call, monkeypatch):
    (tmp_path / "slow_import.py").write_text(
        "import os, signal, time\nos.kill(os.getpid(), signal.SIGTERM)\ntime.sleep(0.1)\nended = True\n"
    )
    monkeypatch.syspath_prepend(tmp_path)

    def imports(*_, **__):
        importlib.import_module("slow_import")
        time.sleep(10)

    monkeypatch.setattr("diracdiff.restorer.load", imports)
    assert call("restore", f"checkpoint={run[1]}/best.ckpt", f"input={image_folder}") == (143, ["interrupted"])
    assert sys.modules.pop("slow_import").ended


@pytest.mark.parametrize(("signum", "wait"), [(signal.SIGINT, 0.0), (signal.SIGTERM, 0.0), (signal.SIGINT, 0.3)])
def test_a_signal_to_all_processes_of_a_command_is_one_line(tmp_path, run, folder, signum, wait):
    words = [f"checkpoint={run[1]}/best.ckpt", *folder[:2], *folder[3:], "loader.num_workers=2", "lpips=null"]
    process = subprocess.Popen(
        [sys.executable, "-m", "diracdiff", "evaluate", *words, "trainer=cpu", "sampler.steps=500"],
        cwd=tmp_path,
        env=clean_environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
    while process.poll() is None and not children.read_text():
        time.sleep(0.002)
    time.sleep(wait)
    os.killpg(process.pid, signum)
    printed, errors = process.communicate(timeout=200)  # the fork server imports
    assert (process.returncode, printed, len(errors.splitlines())) == (128 + signum, "", 1), errors
    assert errors.startswith("interrupted")
    with pytest.raises(ProcessLookupError):  # the fork server ends when it notices that the command has
        for _ in range(300):
            os.killpg(process.pid, 0)
            time.sleep(0.1)


def test_only_processes_that_load_data_are_ended_with_a_command(tmp_path):
    (tmp_path / "script.py").write_text(
        "import multiprocessing, pathlib, time\n"
        "import diracdiff.cli\n"
        "from diracdiff.data import workers\n"
        "def late():\n    time.sleep(0.5)\n    pathlib.Path('done').touch()\n"
        "if __name__ == '__main__':\n"
        "    context = multiprocessing.get_context(workers.options(1)['multiprocessing_context'])\n"
        "    context.Process(target=time.sleep, args=(60,), daemon=True).start()\n"
        "    multiprocessing.Process(target=late).start()\n"
    )
    subprocess.run([sys.executable, "script.py"], cwd=tmp_path, env=clean_environment(), check=True, timeout=200)
    assert (tmp_path / "done").exists()


def test_outside_of_a_command_a_signal_does_not_wait_for_an_import(tmp_path, monkeypatch):
    (tmp_path / "imported.py").write_text("import os, signal\nos.kill(os.getpid(), signal.SIGTERM)\n")
    monkeypatch.syspath_prepend(tmp_path)
    put_back = on_signals(stop)
    try:
        with pytest.raises(Stopped):
            importlib.import_module("imported")
    finally:
        put_back()


def test_loaders_start_processes_where_signals_expect_it():
    from torch.utils.data.dataloader import _MultiProcessingDataLoaderIter

    assert _MultiProcessingDataLoaderIter.__init__.__qualname__ == LOADING


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_in_the_last_validation_or_the_test_ends_a_training(tmp_path, folder, signum):
    for where in ("fit", "test"):
        code = SIGNAL_IN.format(where=where, signum=int(signum))
        asked = [*folder, *GOOD, "trainer.max_epochs=1", "loader.eval_batch_size=1", f"hydra.run.dir={where}"]
        done = subprocess.run(
            [sys.executable, "-c", code, *asked],
            cwd=tmp_path,
            env=clean_environment(),
            capture_output=True,
            text=True,
            timeout=240,
        )
        assert done.returncode == 128 + signum, done.stderr
        progress = ("training ", "  ", "step ", "validation after ")
        said = [line for line in (done.stdout + done.stderr).splitlines() if not line.startswith(progress)]
        assert said[0] == "1" and "interrupted" in said[-1] and len(said) == 2
        assert (tmp_path / where / "last.ckpt").exists() and not (tmp_path / where / "summary.json").exists()


SIGNAL_IN = """
import os
from diracdiff.training.module import RestorerModule
step = RestorerModule.validation_step
def told(self, batch, index):
    step(self, batch, index)
    if self.trainer.state.fn == "{where}":
        print(index + 1, flush=True)
        os.kill(os.getpid(), {signum})
RestorerModule.validation_step = RestorerModule.test_step = told
from diracdiff.commands.train import main
main()
"""


def imports_torch(process):
    """Wait until a command is in the middle of its imports, however busy the machine is."""
    while process.poll() is None and "libtorch_cpu" not in Path(f"/proc/{process.pid}/maps").read_text():
        time.sleep(0.01)


@pytest.mark.parametrize("name", ["restore", "evaluate", "train"])
def test_a_signal_while_importing_ends_a_command_in_one_line(tmp_path, run, folder, image_folder, name):
    asked = {
        "restore": [f"checkpoint={run[1]}/best.ckpt", f"input={image_folder}"],
        "evaluate": [f"checkpoint={run[1]}/best.ckpt", *folder[:2], *folder[3:]],
        "train": [*folder, *GOOD],
    }[name]
    for wait in (lambda process: time.sleep(0.2), imports_torch):
        process = subprocess.Popen(
            [sys.executable, "-m", "diracdiff", name, *asked],
            cwd=tmp_path,
            env=clean_environment(),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        wait(process)
        process.send_signal(signal.SIGINT)
        printed, errors = process.communicate(timeout=60)
        assert (process.returncode, errors, printed) == (130, "interrupted\n", "")
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]
