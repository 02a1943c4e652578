"""What is installed: pinned, without addresses, and small enough to keep in a repository."""

import re
import subprocess
import tomllib

from conftest import ROOT

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
CONSTRAINTS = (ROOT / "constraints.txt").read_text().splitlines()


def names(requirements):
    return {re.match(r"[\w.-]+", line)[0].lower().replace("_", "-") for line in requirements if line.strip()}


def test_every_dependency_is_pinned_and_no_address_is_named():
    wanted = names(PROJECT["dependencies"]) | set.union(*map(names, PROJECT["optional-dependencies"].values()))
    assert wanted <= names(CONSTRAINTS)
    assert all("==" in line for line in CONSTRAINTS if line.strip())
    assert "://" not in "".join(CONSTRAINTS)


def test_what_is_installed_is_what_is_pinned():
    from importlib.metadata import version

    pinned = dict(line.split(" ;")[0].split("==") for line in CONSTRAINTS if line.strip())
    for name in ("torch", "torchvision", "pytorch-lightning", "hydra-core", "kornia", "lpips"):
        assert version(name).split("+")[0] == pinned[name].strip()


def test_the_repository_holds_no_large_files_weights_or_checkpoints():
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout.split()
    for name in listed:
        if (ROOT / name).exists():
            assert (ROOT / name).stat().st_size < 1_000_000, name
            assert not name.endswith((".ckpt", ".pth", ".pt", ".safetensors")), name
