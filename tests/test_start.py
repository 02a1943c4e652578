"""What commands import before they begin: a list of modules, for seconds depend on the machine."""

import re
import subprocess
import sys

import pytest
from conftest import BRIEF, SMALL, clean_environment

SLOW = {"torch", "pytorch_lightning", "torchvision", "wandb", "matplotlib", "scipy", "kornia", "lpips", "optuna"}


def imported(tmp_path, *words):
    """The packages that a command imports, its exit status, and what it says on stderr besides."""
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", *words],
        cwd=tmp_path,
        env=clean_environment(),
        capture_output=True,
        text=True,
        timeout=240,
    )
    lines = done.stderr.splitlines()
    said = [line for line in lines if not line.startswith("import time:")]
    names = {match[1] for line in lines if (match := re.match(r"import time:.*\| +([\w.]+)$", line))}
    return names, done.returncode, said


@pytest.mark.parametrize(
    ("words", "status"),
    [
        (["diracdiff", "train", "--help"], 0),
        (["diracdiff", "restore", "--help"], 0),
        (["diracdiff", "train", "tusk=deblur"], 2),
        (["diracdiff", "train", "seed=abc"], 2),
        (["diracdiff", "train", "dataset=folder", "dataset.root=nowhere"], 2),
        (["diracdiff", "train", "trainer.accumulate_grad_batches=abc"], 2),
        (["diracdiff", "restore", "input=x"], 2),
        (["diracdiff", "restore", "input=x", "checkpoint=absent"], 2),
        (["diracdiff", "evaluate", "checkpoint=absent"], 2),
        (["diracdiff", "compare", "checkpoint=null"], 2),
    ],
)
def test_help_and_plain_mistakes_import_nothing_slow(tmp_path, words, status):
    names, found, said = imported(tmp_path, *words)
    assert "hydra" in names and not names & SLOW
    assert found == status and len(said) == (status == 2)
    assert list(tmp_path.iterdir()) == []


def test_a_training_imports_no_more_of_lightning_than_it_uses(tmp_path, folder):
    """Found out by a mistake that only the data set finds, after all imports."""
    good = [*folder, "task=inpaint", "lpips=null", *SMALL, *BRIEF]
    names, found, said = imported(tmp_path, "diracdiff", "train", *good, "dataset.image_size=48")
    assert found == 2 and "smaller than dataset.image_size=48" in said[-1]
    assert {"torch", "pytorch_lightning"} <= names
    assert not names & {"matplotlib", "scipy.signal", "torchvision", "wandb", "lpips", "kornia"}


def test_packages_are_hidden_from_torchmetrics_alone(tmp_path):
    code = (
        "from diracdiff.lean import import_less; import_less()\n"
        "import torchmetrics\n"
        "from lightning_utilities.core.imports import RequirementCache, package_available\n"
        "import sys; assert 'torchvision' not in sys.modules and 'matplotlib' not in sys.modules\n"
        "assert RequirementCache('torchvision') and package_available('matplotlib')\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=clean_environment())
    assert done.returncode == 0, done.stderr
