"""Tutorials are done as they are written: files are made, and commands run with small settings, in a folder each."""

import re
import shlex
import shutil

import numpy as np
import pytest
from conftest import ROOT, SMALL, run_here
from PIL import Image

TUTORIALS = sorted((ROOT / "docs" / "tutorials").glob("*.md"))
BLOCK = re.compile(r"^```(\w+) (test|file=(\S+))\n(.*?)^```", re.MULTILINE | re.DOTALL)
DATA = ["dataset.image_size=32", "lpips=null"]
SMALLER = {
    "train": [*SMALL, "trainer.max_epochs=1", "trainer.check_val_every_n_epoch=1", *DATA],
    "evaluate": ["loader.test_images=3", "loader.val_images=3", "trainer=cpu", "lpips=null"],
    "restore": ["device=cpu"],
    "pack": ["dataset.image_size=32"],
    "schedule": ["dataset.image_size=32", "images=2", "candidates=20", "budget=5"],
    "compare": ["test_images=3", "tune_images=2", "lpips=null", "tune_for=psnr", "device=cpu"],
}
OTHERS = {  # what makes the methods of a comparison small, where they are in it
    "baseline.diffpir.method.steps=3": "diffpir",
    "baseline.admm_tv.method.steps=5": "admm_tv",
    "dirac.search.steps=[4]": "compare",
}


def steps(path):
    """Files (name, text) and commands (None, words) of a tutorial, in their order."""
    for language, _, name, text in BLOCK.findall(path.read_text()):
        if name:
            yield name, text
        else:
            assert language == "bash"
            for line in text.strip().splitlines():
                yield None, shlex.split(line)


def smaller(name, words):
    """A command's words with small settings: those that the tutorial gives are kept but for sizes."""
    sizes = {"dataset.image_size", "dataset.count", "trainer.max_epochs", "loader.batch_size"}
    kept = [word for word in words if word.lstrip("+").partition("=")[0] not in sizes]
    given = {word.partition("=")[0] for word in kept}
    more = [word for word in SMALLER[name] if word.partition("=")[0] not in given]
    if name == "train" and "dataset=discs" in words:
        more += ["dataset.count=16"]
    if name == "train" and not any(word.startswith("dataset=") for word in words):
        more += ["dataset.crops_per_epoch=16"]
    if name == "train" and "trainer.max_epochs=12" in words:  # goes on
        more[more.index("trainer.max_epochs=1")] = "trainer.max_epochs=2"
    if name == "train" and "dataset=packed" in words:
        more = [word for word in more if "fraction" not in word]
    if name == "compare":
        more += [word for word, method in OTHERS.items() if method in " ".join(words) or method == name]
    return [*kept, *more]


@pytest.fixture
def workplace(tmp_path, image_folder, own_modules):
    """A folder with photographs, blurred ones and a mask, where Python finds what is written into it."""
    for name in ("photos", "blurred"):
        shutil.copytree(image_folder, tmp_path / name)
    mask = np.zeros((40, 40), dtype=np.uint8)
    mask[:, 15:20] = 255
    Image.fromarray(mask).save(tmp_path / "mask.png")
    own_modules()
    return tmp_path


def test_all_tutorials_are_there():
    wanted = {"images", "photographs", "data_set", "degradation", "mask", "stopping", "compare", "paper", "cluster"}
    assert {path.stem for path in TUTORIALS} == wanted
    for path in TUTORIALS:
        assert any(name is None for name, _ in steps(path)), f"{path.name} runs nothing"


@pytest.mark.parametrize("path", TUTORIALS, ids=lambda path: path.stem)
def test_a_tutorial_works(path, workplace, without_weights, capsys):
    for name, content in steps(path):
        if name is not None:
            (workplace / name).parent.mkdir(parents=True, exist_ok=True)
            (workplace / name).write_text(content)
            continue
        assert content[:2] == ["python", "-m"]
        command, words = content[3], content[4:]
        status = run_here(workplace, command, *smaller(command, words))
        assert status == 0, f"{shlex.join(content)}: {capsys.readouterr().err}"
        for word in words:
            key, _, value = word.partition("=")
            if key in ("output", "tuned"):
                made = workplace / value
                assert made.is_file() or list(made.iterdir()), word


def test_every_command_of_a_tutorial_is_run_or_composed():
    """Those that need a cluster, or the paper's data, are composed by tests/test_readme.py."""
    for path in TUTORIALS:
        text = path.read_text()
        blocks = re.findall(r"^```(.*?)\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
        written = [
            line for _, block in blocks for line in block.splitlines() if line.startswith("python -m diracdiff ")
        ]
        run = [shlex.join(content) for name, content in steps(path) if name is None]
        rest = [line for line in written if shlex.join(shlex.split(line)) not in run]
        assert not rest or path.stem in ("paper", "cluster"), f"{path.name}: {rest} is neither run nor excused"
