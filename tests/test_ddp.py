"""Two processes on a CPU against one."""

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from unittest import mock

import ddp_gradient
import pytest
import torch
from conftest import begin, run_here

from diracdiff.data import ImageFolder, ShardSampler
from diracdiff.restorer import load
from diracdiff.utils.files import read_rows

SMALL = [
    "task=inpaint",
    "model.network.channels=8",
    "model.network.multipliers=[1,2]",
    "model.network.attention_levels=[1]",
    "trainer.accelerator=cpu",
    "trainer.max_epochs=1",
    "trainer.check_val_every_n_epoch=1",
    "trainer.enable_progress_bar=false",
    "loader.batch_size=2",
    "loader.eval_batch_size=2",
    "loader.val_images=5",
    "loader.test_images=5",
    "sampler.steps=3",
    "lpips=null",
]
TWO = ["trainer=ddp", "trainer.devices=2"]
TORCHRUN = ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2", "-m"]


def run(*words, cwd):
    """A command in a session of its own, which is ended whole if it hangs."""
    process = begin(*words, cwd=cwd)
    try:
        _, errors = process.communicate(timeout=180)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        raise
    assert process.returncode == 0, errors
    return errors


def test_two_processes_make_the_gradient_of_one(tmp_path):
    with mock.patch.object(sys, "argv", ["ddp_gradient", "1", str(tmp_path / "1")]):
        ddp_gradient.main()
    run(str(Path(ddp_gradient.__file__)), "2", str(tmp_path / "2"), cwd=tmp_path)
    one, two = torch.load(tmp_path / "1"), torch.load(tmp_path / "2")
    scale = max(g.abs().max() for g in one)
    difference = max((a - b).abs().max() for a, b in zip(one, two, strict=True)) / scale
    print(f"largest difference, relative to the largest gradient: {difference:.1e}")
    assert scale > 0 and difference < 1e-5


@pytest.fixture(scope="module")
def trained(tmp_path_factory, image_folder):
    cwd = tmp_path_factory.mktemp("ddp")
    data = ["dataset=folder", f"dataset.root={image_folder}", "dataset.image_size=32"]
    data += ["dataset.val_fraction=0.25", "dataset.test_fraction=0.25"]
    run("-m", "diracdiff", "train", *SMALL, *TWO, *data, cwd=cwd)
    return cwd, data


def test_validation_and_test_cover_every_image_once(trained):
    cwd, _ = trained
    rows = read_rows(cwd / "runs/latest/tradeoff.csv")
    assert {row["n"] for row in rows} == {"5"} and len(rows) == 2 * 3 + 1
    assert json.loads((cwd / "runs/latest/summary.json").read_text())["n"] == 5
    assert len(list((cwd / "runs").glob("2*"))) == 1


def test_evaluation_does_not_depend_on_the_number_of_processes(trained):
    cwd, data = trained
    asked = ["checkpoint=runs/latest/best.ckpt", "lpips=null", "split=val", "loader.val_images=5", *data]
    assert run_here(cwd, "evaluate", *asked, "output=one", "trainer=cpu") == 0
    run(
        "-m",
        "diracdiff",
        "evaluate",
        *asked,
        "output=two",
        "trainer=ddp",
        "trainer.devices=2",
        "trainer.accelerator=cpu",
        cwd=cwd,
    )
    one, two = (read_rows(cwd / name / "images.csv") for name in ("one", "two"))
    assert len(one) == len(two) == 5 * (2 * 3 + 1)
    curve = load(cwd / "runs/latest/best.ckpt").curve
    for a, b in zip(one, two, strict=True):
        assert [a[k] for k in ("name", "seed", "t", "output")] == [b[k] for k in ("name", "seed", "t", "output")]
        assert float(a["psnr"]) == pytest.approx(float(b["psnr"]), abs=1e-4)
    for point in curve:
        values = [float(r["psnr"]) for r in one if float(r["t"]) == point["t"] and r["output"] == point["output"]]
        assert point["psnr"] == pytest.approx(sum(values) / 5, abs=1e-4)


def test_restoring_does_not_depend_on_the_number_of_processes(trained, image_folder, tmp_path):
    """Bit for bit: the processes share the batches of one."""
    cwd, _ = trained
    photos = tmp_path / "photos"
    photos.mkdir()
    for i in range(5):
        (photos / f"{i}.png").write_bytes((image_folder / f"{i:02d}.png").read_bytes())
    asked = ["checkpoint=runs/latest/best.ckpt", f"input={photos}", "target=t:0.5", "batch_size=2", "device=cpu"]
    asked += ["samples=2", "sampler.stochasticity=1"]
    assert run_here(cwd, "restore", *asked, f"output={tmp_path}/one") == 0
    run(*TORCHRUN, "diracdiff", "restore", *asked, f"output={tmp_path}/two", cwd=cwd)
    one, two = ({p.name: p.read_bytes() for p in (tmp_path / name).iterdir()} for name in ("one", "two"))
    for files in (one, two):
        files.pop("restored.csv")
    lines = [read_rows(tmp_path / name / "restored.csv") for name in ("one", "two")]
    for rows in lines:  # in the order in which they were restored
        rows.sort(key=lambda row: row["image"])
    assert [{**row, "seconds": 0} for row in lines[0]] == [{**row, "seconds": 0} for row in lines[1]]
    assert len(one) == 5 * 5 and one == two and len(lines[0]) == 5


def test_comparing_does_not_depend_on_the_number_of_processes(trained, tmp_path):
    """But for seconds and memory, bit for bit: the processes share the batches of one."""
    cwd, data = trained
    asked = ["checkpoint=runs/latest/best.ckpt", "lpips=null", "tune_for=psnr", "baseline=[measurement]", "device=cpu"]
    asked += ["batch_size=2", "tune_images=3", "test_images=5", "dirac.search.steps=[3]", *data[:2], *data[3:]]
    assert run_here(cwd, "compare", *asked, f"output={tmp_path}/one") == 0
    run(*TORCHRUN, "diracdiff", "compare", *asked, f"output={tmp_path}/two", cwd=cwd)
    one, two = (read_rows(tmp_path / name / "images.csv") for name in ("one", "two"))
    assert len(one) == 2 * 5
    for a, b in zip(one, two, strict=True):
        assert {k: v for k, v in a.items() if k != "seconds"} == {k: v for k, v in b.items() if k != "seconds"}
    assert {p.name for p in (tmp_path / "one").iterdir()} == {p.name for p in (tmp_path / "two").iterdir()}


def test_a_sweep_over_two_processes_makes_one_folder(tmp_path, trained):
    _, data = trained
    run("-m", "diracdiff", "train", "-m", "seed=1,2", *SMALL, *TWO, *data, cwd=tmp_path)
    (sweep,) = (tmp_path / "runs").glob("sweep_*")
    assert sorted(p.name for p in sweep.iterdir() if p.is_dir()) == ["0_inpaint", "1_inpaint"]
    assert [load(sweep / f"{i}_inpaint/best.ckpt").seed for i in (0, 1)] == [1, 2]


def test_processes_that_skip_images_agree_on_their_batches(tmp_path, image_folder):
    """In each split, the next images take the place of those of the second process that cannot be read."""
    photos = tmp_path / "photos"
    shutil.copytree(image_folder, photos)
    dataset = ImageFolder(photos, 32, 0.25, 0.25)
    train, val = (dataset.split(name).names for name in ("train", "val"))
    order = [index for _, index in ShardSampler(len(train), shuffle=True)]
    lost = [val[1], val[4], *(train[index] for index in order[1:8:2])]  # of four to validate on, the second's two
    for name in lost:
        (photos / name).write_bytes((photos / name).read_bytes()[:50])
    data = ["dataset=folder", f"dataset.root={photos}", "dataset.image_size=32", "dataset.on_error=skip"]
    data += ["dataset.val_fraction=0.25", "dataset.test_fraction=0.25", "loader.val_images=4"]
    errors = run("-m", "diracdiff", "train", *SMALL, *TWO, *data, cwd=tmp_path)
    rows = read_rows(tmp_path / "runs/latest/tradeoff.csv")
    assert {row["n"] for row in rows} == {"4"}
    assert json.loads((tmp_path / "runs/latest/summary.json").read_text())["n"] == 5
    assert errors.count("warning: skipped, the next image takes its place") == len(lost)
    steps = torch.load(tmp_path / "runs/latest/last.ckpt", weights_only=True)["global_step"]
    assert steps == len(train) // 4
