"""Tutorials with Python code work: their files are written, and their commands run with small settings."""

import re
import shlex
import shutil

import numpy as np
import pytest
from conftest import ROOT, SMALL, run_here
from PIL import Image

BLOCK = re.compile(r"^```(\w+) (test|file=(\S+))\n(.*?)^```", re.MULTILINE | re.DOTALL)
TUTORIALS = [path for path in sorted((ROOT / "docs" / "tutorials").glob("*.md")) if " file=" in path.read_text()]
"""Those with files of Python; tests/test_readme.py composes the commands of all."""
SMALLER = {
    "train": [*SMALL, "trainer.max_epochs=1", "trainer.check_val_every_n_epoch=1", "lpips=null"],
    "evaluate": ["data.test_images=3", "data.val_images=3", "trainer=cpu", "lpips=null"],
    "restore": ["device=cpu"],
    "schedule": ["data.image_size=32", "images=2", "candidates=20", "budget=5"],
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
    """Return a command's words with small settings; other settings of the tutorial stay."""
    sizes = {"data.image_size", "dataset.count", "trainer.max_epochs", "data.batch_size"}
    kept = [word for word in words if word.partition("=")[0] not in sizes]
    more = [word for word in SMALLER[name] if word.partition("=")[0] not in {word.partition("=")[0] for word in kept}]
    if name == "train":
        more += ["data.image_size=32", f"dataset.{'count' if 'data=discs' in words else 'crops_per_epoch'}=16"]
    return [*kept, *more]


@pytest.fixture
def workplace(tmp_path, image_folder, own_modules):
    """A folder with photographs and a mask, where Python finds what is written into it."""
    shutil.copytree(image_folder, tmp_path / "photos")
    mask = np.zeros((40, 40), dtype=np.uint8)
    mask[:, 15:20] = 255
    Image.fromarray(mask).save(tmp_path / "mask.png")
    own_modules()
    return tmp_path


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
