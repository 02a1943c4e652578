"""The wheel is complete and pinned: with the dependencies alone, the console command trains in an empty folder."""

import contextlib
import re
import subprocess
import sys
import sysconfig
import tomllib
import venv
import zipfile

import pytest
from conftest import ROOT, SMALL, clean_environment

import diracdiff

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
CONSTRAINTS = (ROOT / "constraints.txt").read_text().splitlines()


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """The wheel of this tree, built without the network."""
    build = pytest.importorskip("hatchling.build", reason="needs hatchling, of the extra dev")
    folder = tmp_path_factory.mktemp("wheel")
    with contextlib.chdir(ROOT):
        return folder / build.build_wheel(str(folder))


def test_the_wheel_holds_the_package_its_configuration_and_nothing_else(wheel):
    names = set(zipfile.ZipFile(wheel).namelist())
    source = {
        path.relative_to(ROOT / "src").as_posix()
        for path in (ROOT / "src" / "diracdiff").rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    conf = {f"diracdiff/{path.relative_to(ROOT).as_posix()}" for path in (ROOT / "conf").rglob("*.yaml")}
    info = {name for name in names if name.startswith(f"diracdiff-{diracdiff.__version__}.dist-info/")}
    assert names == source | conf | info
    assert "diracdiff/py.typed" in names and any(name.endswith("LICENSE") for name in info)


def test_the_version_is_one(wheel):
    assert PROJECT["version"] == diracdiff.__version__
    assert f"version: {diracdiff.__version__}\n" in (ROOT / "CITATION.cff").read_text()
    assert f"## {diracdiff.__version__}" in (ROOT / "CHANGELOG.md").read_text()
    assert f"{{{diracdiff.__version__}}}" in (ROOT / "docs" / "cite.md").read_text()


@pytest.fixture(scope="module")
def installed(wheel, tmp_path_factory):
    """The programs of an environment that holds the wheel, and sees the dependencies of this one."""
    folder = tmp_path_factory.mktemp("environment")
    venv.create(folder, symlinks=True, with_pip=False)
    python = folder / "bin" / "python"
    pip = [sys.executable, "-m", "pip", "--python", str(python), "install", "-q", "--no-deps", "--no-index"]
    done = subprocess.run([*pip, "--disable-pip-version-check", str(wheel)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    (packages,) = folder.glob("lib/python*/site-packages")
    (packages / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return folder / "bin"


def outside(program, *words, cwd):
    environment = {key: value for key, value in clean_environment().items() if key != "PYTHONPATH"}
    return subprocess.run([program, *words], cwd=cwd, env=environment, capture_output=True, text=True, timeout=600)


def test_the_installed_command_trains_in_an_empty_folder(installed, tmp_path):
    where = outside(installed / "python", "-c", "import diracdiff; print(diracdiff.__file__)", cwd=tmp_path)
    assert where.stdout.startswith(str(installed.parent)), where
    small = ["data.image_size=16", "data.crops_per_epoch=8", "lpips=null", "metrics=[psnr]", "sampler.num_steps=1"]
    short = ["trainer.max_epochs=1", "trainer.check_val_every_n_epoch=1", "task=inpaint", "hydra.run.dir=run"]
    kept = [word for word in SMALL if not word.startswith("sampler")]
    done = outside(installed / "diracdiff", "train", *kept, *small, *short, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert {"best.ckpt", "config.yaml", "samples.png"} <= {path.name for path in (tmp_path / "run").iterdir()}
    assert re.search(r"diracdiff restore checkpoint=\S+best.ckpt", done.stdout)


def names(requirements):
    return {re.match(r"[\w.-]+", line)[0].lower().replace("_", "-") for line in requirements if line.strip()}


def test_every_dependency_is_pinned_and_no_address_is_named():
    wanted = names(PROJECT["dependencies"]) | set.union(*map(names, PROJECT["optional-dependencies"].values()))
    assert wanted <= names(CONSTRAINTS)
    assert all("==" in line for line in CONSTRAINTS if line.strip())
    assert "://" not in "".join(CONSTRAINTS)


def test_the_repository_holds_no_large_files_weights_or_checkpoints():
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout.split()
    for name in listed:
        if (ROOT / name).exists():
            assert (ROOT / name).stat().st_size < 1_000_000, name
            assert not name.endswith((".ckpt", ".pth", ".pt", ".safetensors")), name
