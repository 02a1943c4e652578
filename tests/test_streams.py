"""Commands whose standard streams fail: the work, its files and the exit status are those of a normal run."""

import shlex
import subprocess
import sys

import pytest
import torch
from conftest import SMALL, clean_environment, run_here

from diracdiff.utils.files import read_rows

BROKEN = ["2>/dev/full | head -1", ">/dev/full 2>&-", "<&- >&- 2>/dev/full"]
TRAIN = ["task=inpaint", "trainer.max_epochs=1", "trainer.check_val_every_n_epoch=1", "hydra.run.dir=run", "threads=1"]


def shell(name, *words, redirection, cwd):
    """Run a command in a shell; return the exit status of the command itself and what the shell shows."""
    command = shlex.join([sys.executable, "-m", "diracdiff", name, *words])
    line = f"{command} {redirection}; echo ${{PIPESTATUS[0]}} >status"
    done = subprocess.run(
        ["bash", "-c", line], cwd=cwd, env=clean_environment(), capture_output=True, text=True, timeout=300
    )
    assert "Exception" not in done.stderr and "Traceback" not in done.stderr, done.stderr
    return int((cwd / "status").read_text())


def weights(path):
    return torch.load(path, weights_only=True, map_location="cpu")["state_dict"]


def measured(path):
    """The rows of a CSV file, but for the time that was needed."""
    return [{key: value for key, value in row.items() if key != "seconds"} for row in read_rows(path)]


@pytest.fixture(scope="module")
def normal(tmp_path_factory, folder):
    """A training, and an evaluation and a restoration of its model, with streams that work."""
    cwd = tmp_path_factory.mktemp("normal")
    assert run_here(cwd, "train", *folder, *SMALL, *TRAIN, "lpips=null") == 0
    for name, words in later(cwd, folder).items():
        assert run_here(cwd, name, *words) == 0
    return cwd


def later(normal, folder):
    checkpoint, data = f"checkpoint={normal}/run/best.ckpt", [*folder[:2], *folder[3:]]
    return {
        "evaluate": [checkpoint, *data, "loader.test_images=2", "trainer=cpu", "lpips=null", "overwrite=true"],
        "restore": [checkpoint, folder[1].replace("dataset.root", "input") + "/00.png", "device=cpu"],
    }


@pytest.mark.parametrize("redirection", [BROKEN[0], BROKEN[2]])
def test_a_training_saves_the_same_weights_and_metrics(tmp_path, normal, folder, redirection):
    assert shell("train", *folder, *SMALL, *TRAIN, "lpips=null", redirection=redirection, cwd=tmp_path) == 0
    assert {path.name for path in (tmp_path / "run").iterdir()} == {path.name for path in (normal / "run").iterdir()}
    for name in ("best.ckpt", "last.ckpt"):
        expected, found = weights(normal / "run" / name), weights(tmp_path / "run" / name)
        assert expected.keys() == found.keys() and all(torch.equal(expected[key], found[key]) for key in expected)
    for name in ("metrics.csv", "tradeoff.csv"):
        assert measured(tmp_path / "run" / name) == measured(normal / "run" / name)


@pytest.mark.parametrize(("name", "redirection"), [("evaluate", BROKEN[1]), ("restore", BROKEN[0])])
def test_results_are_the_same(tmp_path, normal, folder, name, redirection):
    assert shell(name, *later(normal, folder)[name], redirection=redirection, cwd=tmp_path) == 0
    if name == "restore":
        assert (tmp_path / "restored/00.png").read_bytes() == (normal / "restored/00.png").read_bytes()
    else:
        assert measured(tmp_path / "evaluation/images.csv") == measured(normal / "evaluation/images.csv")


def test_a_mistake_keeps_its_status(tmp_path):
    assert shell("restore", "checkpoint=absent", "input=absent", redirection=BROKEN[2], cwd=tmp_path) == 2
    assert shell("train", "--help", redirection=BROKEN[0], cwd=tmp_path) == 0
