"""Commands whose standard streams fail: the work, its files and the exit status are those of a normal run."""

import os
import subprocess
import sys
from contextlib import nullcontext, redirect_stderr, redirect_stdout

import torch
from conftest import SMALL, clean_environment, run_here

from diracdiff.utils.files import read_rows

TRAIN = ["task=inpaint", "trainer.max_epochs=1", "trainer.check_val_every_n_epoch=1", "hydra.run.dir=run", "lpips=null"]


def full():
    """A stream to a full disk."""
    return open("/dev/full", "w", buffering=1)


def broken():
    """A pipe whose reader has ended."""
    reader, writer = os.pipe()
    os.close(reader)
    return os.fdopen(writer, "w", buffering=1)


def closed():
    """A stream that the shell has closed."""
    return nullcontext()


def measured(path):
    """The rows of a CSV file, but for the time that was needed."""
    return [{key: value for key, value in row.items() if key != "seconds"} for row in read_rows(path)]


def test_results_are_the_same(tmp_path, folder):
    normal = tmp_path / "normal"
    normal.mkdir()
    checkpoint, data = f"checkpoint={normal}/run/best.ckpt", [*folder[:2], *folder[3:]]
    commands = {
        "train": [*folder, *SMALL, *TRAIN],
        "evaluate": [checkpoint, *data, "data.test_images=2", "trainer=cpu", "lpips=null"],
        "restore": [checkpoint, folder[1].replace("data.root", "input") + "/00.png", "device=cpu"],
    }
    for (name, words), (out, err) in zip(
        commands.items(), [(broken, full), (full, closed), (closed, full)], strict=True
    ):
        assert run_here(normal, name, *words) == 0
        with out() as stdout, err() as stderr, redirect_stdout(stdout), redirect_stderr(stderr):
            assert run_here(tmp_path, name, *words) == 0
    assert {path.name for path in (tmp_path / "run").iterdir()} == {path.name for path in (normal / "run").iterdir()}
    for name in ("best.ckpt", "last.ckpt"):
        expected, found = (
            torch.load(cwd / "run" / name, weights_only=True)["state_dict"] for cwd in (normal, tmp_path)
        )
        assert expected.keys() == found.keys() and all(torch.equal(expected[key], found[key]) for key in expected)
    for name in ("run/metrics.csv", "run/tradeoff.csv", "evaluation/images.csv"):
        assert measured(tmp_path / name) == measured(normal / name)
    assert (tmp_path / "restored/00.png").read_bytes() == (normal / "restored/00.png").read_bytes()


def test_the_status_of_a_process_is_kept(tmp_path):
    for words, redirection, status in (
        ("restore checkpoint=absent input=absent", "<&- >&- 2>/dev/full", 2),
        ("train --help", "2>/dev/full | head -1", 0),
    ):
        line = f"{sys.executable} -m diracdiff {words} {redirection}; exit ${{PIPESTATUS[0]}}"
        done = subprocess.run(["bash", "-c", line], cwd=tmp_path, env=clean_environment(), capture_output=True)
        assert done.returncode == status and b"Traceback" not in done.stderr
