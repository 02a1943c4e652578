"""The wheel: content, pinned dependencies, and a training run with the installed command."""

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
    """Wheel of the working tree, built without the network."""
    build = pytest.importorskip("hatchling.build", reason="needs hatchling, of the extra dev")
    folder = tmp_path_factory.mktemp("wheel")
    with contextlib.chdir(ROOT):
        return folder / build.build_wheel(str(folder))


def test_the_wheel_contains_only_the_package_and_its_configuration(wheel):
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


def test_all_versions_are_equal(wheel):
    assert PROJECT["version"] == diracdiff.__version__
    assert f"version: {diracdiff.__version__}\n" in (ROOT / "CITATION.cff").read_text()
    assert f"## {diracdiff.__version__}" in (ROOT / "CHANGELOG.md").read_text()
    assert f"{{{diracdiff.__version__}}}" in (ROOT / "docs" / "cite.md").read_text()


@pytest.fixture(scope="module")
def installed(wheel, tmp_path_factory):
    """Programs of an environment with the wheel and the dependencies of the current environment."""
    folder = tmp_path_factory.mktemp("environment")
    venv.create(folder, symlinks=True, with_pip=False)
    python = folder / "bin" / "python"
    pip = [sys.executable, "-m", "pip", "--python", str(python), "install", "-q", "--no-deps", "--no-index"]
    result = subprocess.run([*pip, "--disable-pip-version-check", str(wheel)], capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    (packages,) = folder.glob("lib/python*/site-packages")
    (packages / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return folder / "bin"


def run_installed(program, *args, cwd):
    environment = {key: value for key, value in clean_environment().items() if key != "PYTHONPATH"}
    return subprocess.run([program, *args], cwd=cwd, env=environment, capture_output=True, text=True, timeout=600)


def test_the_installed_command_trains_in_an_empty_folder(installed, tmp_path):
    location = run_installed(installed / "python", "-c", "import diracdiff; print(diracdiff.__file__)", cwd=tmp_path)
    assert location.stdout.startswith(str(installed.parent)), location
    small = ["data.image_size=16", "data.crops_per_epoch=8", "lpips=null", "metrics=[psnr]", "sampler.num_steps=1"]
    short = ["trainer.max_epochs=1", "trainer.check_val_every_n_epoch=1", "task=inpaint", "hydra.run.dir=run"]
    network = [word for word in SMALL if not word.startswith("sampler")]
    result = run_installed(installed / "diracdiff", "train", *network, *small, *short, cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    assert {"best.ckpt", "config.yaml", "samples.png"} <= {path.name for path in (tmp_path / "run").iterdir()}
    assert re.search(r"diracdiff restore checkpoint=\S+best.ckpt", result.stdout)


def names(requirements):
    return {re.match(r"[\w.-]+", line)[0].lower().replace("_", "-") for line in requirements if line.strip()}


def test_every_dependency_is_pinned_without_addresses():
    required = names(PROJECT["dependencies"]) | set.union(*map(names, PROJECT["optional-dependencies"].values()))
    assert required - {"diracdiff"} <= names(CONSTRAINTS)  # the extra dev includes the other extras
    assert all("==" in line for line in CONSTRAINTS if line.strip())
    assert "://" not in "".join(CONSTRAINTS)


def test_the_repository_has_no_large_files_and_no_weights_except_those_of_the_bundled_models():
    files = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout.split()
    for name in files:
        if (ROOT / name).exists():
            bundled = re.fullmatch(r"src/diracdiff/builtin/\w+/model.safetensors", name)
            assert (ROOT / name).stat().st_size < (2_500_000 if bundled else 1_000_000), name
            assert bundled or not name.endswith((".ckpt", ".pth", ".pt", ".safetensors")), name
