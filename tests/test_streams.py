"""Commands with broken standard streams write the same files and return the same exit status."""

import os
import subprocess
import sys
from contextlib import nullcontext, redirect_stderr, redirect_stdout

import torch
from conftest import SMALL, clean_environment, run_here

from diracdiff.utils.files import read_rows

TRAIN = ["task=inpaint", "trainer.max_epochs=1", "trainer.check_val_every_n_epoch=1", "hydra.run.dir=run", "lpips=null"]


def full():
    """Open a stream to a full disk."""
    return open("/dev/full", "w", buffering=1)


def broken():
    """Open a pipe without a reader."""
    reader, writer = os.pipe()
    os.close(reader)
    return os.fdopen(writer, "w", buffering=1)


def closed():
    """Return a closed stream."""
    return nullcontext()


def measured(path):
    """Return the rows of a CSV file without times."""
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
    for (name, overrides), (out, err) in zip(
        commands.items(), [(broken, full), (full, closed), (closed, full)], strict=True
    ):
        assert run_here(normal, name, *overrides) == 0
        with out() as stdout, err() as stderr, redirect_stdout(stdout), redirect_stderr(stderr):
            assert run_here(tmp_path, name, *overrides) == 0
    assert {path.name for path in (tmp_path / "run").iterdir()} == {path.name for path in (normal / "run").iterdir()}
    for name in ("best.ckpt", "last.ckpt"):
        expected, actual = (
            torch.load(cwd / "run" / name, weights_only=True)["state_dict"] for cwd in (normal, tmp_path)
        )
        assert expected.keys() == actual.keys() and all(torch.equal(expected[key], actual[key]) for key in expected)
    for name in ("run/metrics.csv", "run/tradeoff.csv", "evaluation/images.csv"):
        assert measured(tmp_path / name) == measured(normal / name)
    assert (tmp_path / "restored/00.png").read_bytes() == (normal / "restored/00.png").read_bytes()


def test_the_exit_status_is_kept(tmp_path):
    for command, redirection, status in (
        ("restore checkpoint=absent input=absent", "<&- >&- 2>/dev/full", 2),
        ("train --help", "2>/dev/full | head -1", 0),
    ):
        line = f"{sys.executable} -m diracdiff {command} {redirection}; exit ${{PIPESTATUS[0]}}"
        result = subprocess.run(["bash", "-c", line], cwd=tmp_path, env=clean_environment(), capture_output=True)
        assert result.returncode == status and b"Traceback" not in result.stderr
