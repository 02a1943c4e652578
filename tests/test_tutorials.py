"""Tutorials with Python files: their commands run with small settings."""

import re
import shlex
import shutil

import numpy as np
import pytest
from conftest import ROOT, SMALL, run_here
from PIL import Image

BLOCK = re.compile(r"^```(\w+) (test|file=(\S+))\n(.*?)^```", re.MULTILINE | re.DOTALL)
TUTORIALS = [path for path in sorted((ROOT / "docs" / "tutorials").glob("*.md")) if " file=" in path.read_text()]
"""Tutorials with Python files. tests/test_readme.py composes the commands of all pages."""
SMALLER = {
    "train": [*SMALL, "trainer.max_epochs=1", "trainer.check_val_every_n_epoch=1", "lpips=null"],
    "evaluate": ["data.test_images=3", "data.val_images=3", "trainer=cpu", "lpips=null"],
    "restore": ["device=cpu"],
    "schedule": ["data.image_size=32", "images=2", "candidates=20", "budget=5"],
}


def steps(path):
    """Yield files (name, text) and commands (None, arguments) of a tutorial, in their order."""
    for language, _, name, text in BLOCK.findall(path.read_text()):
        if name:
            yield name, text
        else:
            assert language == "bash"
            for line in text.strip().splitlines():
                yield None, shlex.split(line)


def smaller(name, overrides):
    """Return the overrides of a command with small settings. Other settings of the tutorial are kept."""
    sizes = {"data.image_size", "data.count", "trainer.max_epochs", "data.batch_size"}
    unchanged = [override for override in overrides if override.partition("=")[0] not in sizes]
    added = [
        override
        for override in SMALLER[name]
        if override.partition("=")[0] not in {override.partition("=")[0] for override in unchanged}
    ]
    if name == "train":
        added += ["data.image_size=32", f"data.{'count' if 'data=discs' in overrides else 'crops_per_epoch'}=16"]
    return [*unchanged, *added]


@pytest.fixture
def working_folder(tmp_path, image_folder, make_importable):
    """A folder with photographs and a mask, from which Python can import modules."""
    shutil.copytree(image_folder, tmp_path / "photos")
    mask = np.zeros((40, 40), dtype=np.uint8)
    mask[:, 15:20] = 255
    Image.fromarray(mask).save(tmp_path / "mask.png")
    make_importable()
    return tmp_path


@pytest.mark.parametrize("path", TUTORIALS, ids=lambda path: path.stem)
def test_tutorial_commands_run(path, working_folder, without_weights, capsys):
    for name, content in steps(path):
        if name is not None:
            (working_folder / name).parent.mkdir(parents=True, exist_ok=True)
            (working_folder / name).write_text(content)
            continue
        assert content[:2] == ["python", "-m"]
        command, overrides = content[3], content[4:]
        status = run_here(working_folder, command, *smaller(command, overrides))
        assert status == 0, f"{shlex.join(content)}: {capsys.readouterr().err}"
        for override in overrides:
            key, _, value = override.partition("=")
            if key in ("output", "save_tuned"):
                output = working_folder / value
                assert output.is_file() or list(output.iterdir()), override
