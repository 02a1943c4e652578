"""Untrusted checkpoints: they load or are refused in one line, run no code and read no other file."""

import json
import os
import pickle
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
import torch
from conftest import clean_environment
from hostile import nested, rezip
from test_checkpoints import restorer

from diracdiff.checkpoints import Checkpoint
from diracdiff.checkpoints.checkpoint import KIND
from diracdiff.checkpoints.exported import write_exported
from diracdiff.checkpoints.locations import CONFIG
from diracdiff.checkpoints.registry import class_registry, from_recipe
from diracdiff.checkpoints.weights import DamagedFileError, read_weights, write_weights
from diracdiff.metrics.lpips import load_lpips
from diracdiff.restorer import load

COUNT = os.environ.get("DIRACDIFF_FUZZ", "45")


class Touch:
    """Object whose pickle creates a file when it is loaded."""

    def __init__(self, path):
        self.path = str(path)

    def __reduce__(self):
        return open, (self.path, "w")


@pytest.fixture
def plain(tmp_path):
    """Write a checkpoint, and return a function that writes a copy with a changed header."""
    path = tmp_path / "plain.ckpt"
    restorer().save(path)

    def changed(change):
        content = torch.load(path, weights_only=True)
        change(content[KIND])
        torch.save(content, tmp_path / "changed.ckpt")
        return tmp_path / "changed.ckpt"

    return changed


@pytest.fixture(scope="module")
def fuzzed(tmp_path_factory):
    """Results of `tests/hostile.py`, which runs in a separate process. DIRACDIFF_FUZZ sets the number of mutations."""
    command = [sys.executable, str(Path(__file__).with_name("hostile.py")), COUNT, str(tmp_path_factory.mktemp("fuzz"))]
    result = subprocess.run(command, env=clean_environment(), capture_output=True, text=True)
    assert result.returncode == 0, result.stderr[-3000:]
    return json.loads(result.stdout.splitlines()[-1])


def test_mutated_checkpoints_load_or_are_refused(fuzzed):
    assert sum(fuzzed["counts"].values()) == int(COUNT)
    assert not fuzzed["wrong"] and not fuzzed["executed"]
    assert fuzzed["megabytes"] < 300


def test_restoration_needs_neither_lightning_nor_hydra_nor_wandb(fuzzed):
    assert fuzzed["modules"] == []


# classes


def test_classes_outside_the_registry_are_refused(plain, tmp_path):
    targets = ["os.system", "subprocess.Popen", "diracdiff.absent.Thing", "diracdiff.restorer.load", 3]
    targets += ["diracdiff.restorer.Path", "diracdiff.baselines.Regression", "diracdiff.data.ImageFolder"]
    arguments = {"checkpoint": str(tmp_path / "second.ckpt"), "args": ["touch", str(tmp_path / "PWNED")]}
    for target in [*targets, "diracdiff.train.os.system", "diracdifference.losses.X"]:
        with pytest.raises(ValueError, match="may not build: refused"):
            from_recipe({"_target_": target, **arguments})
    path = plain(lambda header: header["recipe"].update(name={"_target_": "os.system", **arguments}))
    write_exported(Checkpoint.read(path), tmp_path / "exported", "card")
    for source in (path, tmp_path / "exported"):
        with pytest.raises(ValueError, match=rf"^checkpoint={source}: the recipe names .* may not build: refused"):
            load(source)
    assert not (tmp_path / "PWNED").exists()


def test_the_registry_opens_no_file():
    for name, cls in class_registry().items():
        annotations = str(getattr(cls.__init__, "__annotations__", {}))
        assert "Path" not in annotations and "trusted_modules" not in annotations, name


def test_a_trusted_module_builds_only_classes_that_it_defines(plain, tmp_path, monkeypatch):
    (tmp_path / "mine_too.py").write_text("from subprocess import Popen\n")
    monkeypatch.syspath_prepend(tmp_path)
    part = {"_target_": "mine_too.Popen", "args": ["touch", str(tmp_path / "PWNED")]}
    path = plain(lambda header: header["recipe"].update(name=part))
    with pytest.raises(ValueError, match=r"refused; if you know .*, add trusted_modules=\[mine_too\]"):
        load(path)
    with pytest.raises(ValueError, match="which is not a class that mine_too defines: refused"):
        load(path, trusted_modules=["mine_too"])
    path = plain(lambda header: header["recipe"].update(name=part | {"_target_": "subprocess.Popen"}))
    with pytest.raises(ValueError, match=r"'subprocess.Popen', which a checkpoint may not build: refused$"):
        load(path, trusted_modules=["subprocess"])
    assert not (tmp_path / "PWNED").exists()


# arguments and sizes


@pytest.mark.parametrize(
    ("part", "change", "message"),
    [
        ("network", {"channels": 2**30}, r"NCSNpp.channels must lie in \[1, 4096\], got 1073741824"),
        ("network", {"channels": 4096, "multipliers": [64] * 10, "blocks": 2}, "its weights do not match its recipe"),
        ("network", {"multipliers": [1] * 11}, "NCSNpp.multipliers has 11 values: at most 10 are allowed"),
        ("network", {"channels": "8"}, "NCSNpp.channels is of another type: '8'"),
        ("network", {"channels": True}, "NCSNpp.channels is of another type: 'True'"),
        ("network", {"dropout": float("nan")}, "NCSNpp.dropout must be finite"),
        ("network", {"path": "x"}, "NCSNpp: got an unexpected keyword argument 'path'"),
        ("severity", {"values": [0.3] * 10_001}, "TabulatedSeverity.values has 10001 values"),
        ("severity", {"values": [[0.3]] * 3}, "TabulatedSeverity.values holds a list: only numbers and text"),
        ("degradation", {"image_size": 10**9}, r"GaussianBlur.image_size must lie in \[1, 8192\]"),
        ("degradation", {"severity": None}, "GaussianBlur.severity is of another type: 'None'"),
        ("process", {"noise": {"_target_": "diracdiff.models.DnCNN"}}, "StochasticDegradation.noise cannot be a DnCNN"),
        ("process", {"noise": {"_target_": "diracdiff.samplers.Heun"}}, "StochasticDegradation.noise cannot be a Heun"),
    ],
)
def test_arguments_have_types_and_limits(plain, part, change, message):
    def apply(header):
        process = header["recipe"]["process"]
        parts = {"process": process, "degradation": process["degradation"]}
        parts |= {"severity": process["degradation"]["severity"], "network": header["recipe"]["denoiser"]["network"]}
        parts[part].update(change)

    with pytest.raises(ValueError, match=message):
        load(plain(apply))


def test_tensors_larger_than_their_file_are_refused(plain, tmp_path):
    content = torch.load(tmp_path / "plain.ckpt", weights_only=True)
    key = next(name for name, weight in content["state_dict"].items() if weight.ndim == 4)
    for weight in (torch.zeros(1).expand(10**6, 10**6), torch.empty(10**12, device="meta"), torch.eye(3).to_sparse()):
        torch.save(content | {"state_dict": content["state_dict"] | {key: weight}}, tmp_path / "a.ckpt")
        with pytest.raises(ValueError, match=r"a.ckpt: is damaged|a.ckpt: is not a checkpoint|holds pickled objects"):
            load(tmp_path / "a.ckpt")


@pytest.mark.parametrize("key", ["recipe", "curve", "calibrations", "version"])
def test_recursive_containers_are_refused(plain, key):
    value = nested(60, 2)
    with pytest.raises(ValueError, match=r"damaged|unknown version"):
        load(plain(lambda header: header.update({key: {"a": value} if key != "version" else value})))


# files


def test_pickled_objects_are_refused_and_not_run(plain, tmp_path):
    content = torch.load(tmp_path / "plain.ckpt", weights_only=True)
    torch.save(content | {"extra": Touch(tmp_path / "PWNED")}, tmp_path / "bad.ckpt")
    with pytest.raises(ValueError, match="holds pickled objects"):
        Checkpoint.read(tmp_path / "bad.ckpt")
    assert not (tmp_path / "PWNED").exists()


@pytest.mark.parametrize("payload", [b"cbuiltins\nbytearray\n", b"cos\nsystem\n", b"ctorch\nTensor\n"])
def test_unnecessary_globals_are_refused(plain, tmp_path, payload):
    def insert(name, data):
        return data[:2] + payload + b"0" + data[2:] if name.endswith("data.pkl") else data

    rezip(tmp_path / "plain.ckpt", tmp_path / "a.ckpt", insert)
    with pytest.raises(ValueError, match=r"holds pickled objects .* which could run code. Give"):
        load(tmp_path / "a.ckpt")


def test_compressed_archives_and_duplicate_names_are_refused(plain, tmp_path):
    source, target = tmp_path / "plain.ckpt", tmp_path / "bomb.ckpt"
    rezip(source, target, lambda name, data: data + bytes(2**24 if name.endswith("/0") else 0), zipfile.ZIP_DEFLATED)
    with pytest.raises(
        DamagedFileError, match=r"bomb.ckpt: is not a checkpoint, or is damaged. Give one that diracdiff wrote"
    ):
        load(target)
    rezip(source, target, lambda name, data: data, twice=True)
    with pytest.raises(DamagedFileError, match="is damaged"):
        load(target)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.bool, torch.uint8, torch.uint16, torch.float64])
def test_tensors_of_every_type_are_read(tmp_path, dtype):
    content = {"weight": torch.zeros(2, 3, dtype=dtype), "dtype": dtype, "size": torch.Size([2, 3])}
    write_weights(tmp_path / "a.pt", content)
    loaded = read_weights(tmp_path / "a.pt", "another one")
    assert torch.equal(loaded["weight"], content["weight"]) and loaded["dtype"] is dtype and loaded["size"] == (2, 3)


def test_files_of_other_kinds_are_refused_in_one_line(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "old.pt").write_bytes(pickle.dumps({"a": 1}))
    (tmp_path / "text.ckpt").write_text("not a checkpoint")
    torch.save({"state_dict": {}}, tmp_path / "other.ckpt")
    torch.save([1, 2], tmp_path / "list.ckpt")
    names = ["/etc/passwd", "/dev/zero", "pipe", "old.pt", "text.ckpt", "other.ckpt", "list.ckpt", "absent.ckpt"]
    for path in (tmp_path / name for name in names):
        with pytest.raises(ValueError, match=f"^checkpoint={path}: (is not a ch|does not exist)") as error:
            load(path)
        assert "\n" not in str(error.value)


def test_a_large_config_is_refused_before_it_is_read(plain, tmp_path):
    write_exported(Checkpoint.read(tmp_path / "plain.ckpt"), tmp_path / "exported", "card")
    with (tmp_path / "exported" / CONFIG).open("ab") as file:
        file.truncate(2**36)
    with pytest.raises(DamagedFileError, match=r"config.json is larger than"):
        load(tmp_path / "exported")


def test_invalid_weights_of_the_lpips_backbone_are_refused(tmp_path, monkeypatch):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    file = tmp_path / "hub/checkpoints/squeezenet1_1-b8a52dc0.pth"
    file.parent.mkdir(parents=True)
    for content in ({"features.0.weight": Touch(tmp_path / "PWNED")}, {"features.0.weight": torch.zeros(3)}, [1]):
        torch.save(content, file)
        with pytest.raises(ValueError, match="must hold the weights of LPIPS' backbone 'squeeze'"):
            load_lpips("squeeze")
    assert not (tmp_path / "PWNED").exists()
