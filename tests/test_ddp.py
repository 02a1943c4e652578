"""Two processes on a CPU give the results of one, exactly or up to rounding of sums."""

import json
import os
import shutil
import signal
import subprocess

import pytest
import pytorch_lightning as pl
import torch
from conftest import begin, run_here
from pytorch_lightning.callbacks import Callback
from torch.utils.data import DataLoader

from diracdiff.data import ImageFolder, ShardSampler
from diracdiff.degradations import GaussianBlur, LinearSeverity
from diracdiff.evaluation.measurement import TrainingBatch
from diracdiff.losses import IncrementalReconstructionLoss
from diracdiff.models import Denoiser, NCSNpp
from diracdiff.noise import GeometricNoise
from diracdiff.process import StochasticDegradation
from diracdiff.restorer import Restorer, load
from diracdiff.training import RestorerModule
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
    "data.batch_size=2",
    "data.eval_batch_size=2",
    "data.test_images=5",
    "lpips=null",
]
TWO = ["trainer=ddp", "trainer.devices=2"]
TORCHRUN = ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2", "-m"]


def run(*args, cwd):
    """Run a command in a new session, and kill its process group after a timeout."""
    process = begin(*args, cwd=cwd)
    try:
        _, errors = process.communicate(timeout=180)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        raise
    assert process.returncode == 0, errors
    return errors


class Degraded(RestorerModule):
    """Train on one fixed batch, which is divided among the processes."""

    def training_step(self, batch, batch_idx):
        x, y, t = batch["x"], batch["y"], batch["t"]
        return self.compute_loss(TrainingBatch(x, y, t, 0 * t, self.restorer.process))

    def train_dataloader(self):
        generator, trainer = torch.Generator().manual_seed(1), self.trainer
        x, z = torch.rand(2, 8, 3, 16, 16, generator=generator)
        t = torch.rand(8, generator=generator)
        y = self.restorer.process.sample(x, t, z)
        rows = [{"x": x[i], "t": t[i], "y": y[i]} for i in range(trainer.global_rank, 8, trainer.world_size)]
        return DataLoader(rows, batch_size=len(rows))


class SaveGradient(Callback):
    def __init__(self, path):
        self.path = path

    def on_before_optimizer_step(self, trainer, module, optimizer):
        if trainer.is_global_zero:
            torch.save([p.grad for p in module.parameters()], self.path)


def test_two_processes_give_the_gradient_of_one(tmp_path):
    process = StochasticDegradation(GaussianBlur(LinearSeverity(0.3, 30), 16), GeometricNoise())
    restorer = Restorer(process, Denoiser(NCSNpp(8, [1, 2], 1, [1], 0.0)))
    module = Degraded(restorer, IncrementalReconstructionLoss(0.3))
    weights = {name: value.clone() for name, value in module.state_dict().items()}
    for devices, strategy in ((2, "ddp_fork"), (1, "auto")):
        module.load_state_dict(weights)
        pl.Trainer(
            accelerator="cpu",
            devices=devices,
            strategy=strategy,
            max_steps=1,
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            use_distributed_sampler=False,
            callbacks=[SaveGradient(tmp_path / str(devices))],
        ).fit(module)
    one, two = (torch.load(tmp_path / devices) for devices in ("1", "2"))
    scale = max(g.abs().max() for g in one)
    assert scale > 0 and max((a - b).abs().max() for a, b in zip(one, two, strict=True)) < 1e-5 * scale


@pytest.fixture(scope="module")
def trained(tmp_path_factory, image_folder):
    """A sweep over two numbers of steps on two processes. The second process has damaged images.

    Returns the working folder, the folder of the first run and the overrides of the data.
    """
    cwd = tmp_path_factory.mktemp("ddp")
    shutil.copytree(image_folder, cwd / "photos")
    dataset = ImageFolder(cwd / "photos", 32, 0.25, 0.25)
    train, val = (dataset.split(name).names for name in ("train", "val"))
    order = [index for _, index in ShardSampler(len(train), shuffle=True)]
    # images of the second process
    damaged = [val[1], val[4], *(train[index] for index in order[1:8:2])]
    for name in damaged:
        (cwd / "photos" / name).write_bytes((cwd / "photos" / name).read_bytes()[:50])
    data = ["data=folder", f"data.root={cwd}/photos", "data.image_size=32", "data.on_error=skip"]
    data += ["data.val_fraction=0.25", "data.test_fraction=0.25", "data.val_images=4"]
    errors = run("-m", "diracdiff", "train", "-m", "sampler.num_steps=3,2", *SMALL, *TWO, *data, cwd=cwd)
    assert errors.count("warning: skipped, the next image takes its place") == 2 * len(damaged)
    (sweep,) = (cwd / "runs").glob("sweep_*")
    return cwd, sweep / "0_inpaint", data


def test_a_sweep_has_one_folder_and_covers_every_image_once(trained):
    """In each split, the next image replaces an unreadable one, and the processes agree on batches."""
    _, first, _ = trained
    assert sorted(p.name for p in first.parent.iterdir() if p.is_dir()) == ["0_inpaint", "1_inpaint"]
    assert [load(first.parent / f"{i}_inpaint/best.ckpt").sampler.num_steps for i in (0, 1)] == [3, 2]
    rows = read_rows(first / "tradeoff.csv")
    assert {row["n"] for row in rows} == {"4"} and len(rows) == 2 * 3 + 1
    assert json.loads((first / "summary.json").read_text())["n"] == 5
    assert torch.load(first / "last.ckpt", weights_only=True)["global_step"] == 12 // 4


def test_evaluation_does_not_depend_on_the_number_of_processes(trained):
    cwd, first, data = trained
    options = [f"checkpoint={first}/best.ckpt", "lpips=null", "split=val", *data]
    assert run_here(cwd, "evaluate", *options, "output=one", "trainer=cpu") == 0
    run("-m", "diracdiff", "evaluate", *options, "output=two", *TWO, "trainer.accelerator=cpu", cwd=cwd)
    one, two = (read_rows(cwd / name / "images.csv") for name in ("one", "two"))
    assert len(one) == len(two) == 4 * (2 * 3 + 1)
    curve = load(first / "best.ckpt").curve
    for a, b in zip(one, two, strict=True):
        assert [a[k] for k in ("name", "seed", "t", "output")] == [b[k] for k in ("name", "seed", "t", "output")]
        assert float(a["psnr"]) == pytest.approx(float(b["psnr"]), abs=1e-4)
    for point in curve:
        values = [float(r["psnr"]) for r in one if float(r["t"]) == point["t"] and r["output"] == point["output"]]
        assert point["psnr"] == pytest.approx(sum(values) / 4, abs=1e-4)


def test_restoration_does_not_depend_on_the_number_of_processes(trained, image_folder, tmp_path):
    """Results are bitwise equal, because the batches are divided among the processes."""
    cwd, first, _ = trained
    photos = tmp_path / "photos"
    photos.mkdir()
    for i in range(5):
        (photos / f"{i}.png").write_bytes((image_folder / f"{i:02d}.png").read_bytes())
    options = [f"checkpoint={first}/best.ckpt", f"input={photos}", "target=t:0.5", "batch_size=2", "device=cpu"]
    options += ["samples=2", "sampler.eta=1"]
    assert run_here(cwd, "restore", *options, f"output={tmp_path}/one") == 0
    run(*TORCHRUN, "diracdiff", "restore", *options, f"output={tmp_path}/two", cwd=cwd)
    one, two = ({p.name: p.read_bytes() for p in (tmp_path / name).iterdir()} for name in ("one", "two"))
    for files in (one, two):
        files.pop("restored.csv")
    lines = [read_rows(tmp_path / name / "restored.csv") for name in ("one", "two")]
    for rows in lines:  # rows have the order of restoration
        rows.sort(key=lambda row: row["image"])
    assert [{**row, "seconds": 0} for row in lines[0]] == [{**row, "seconds": 0} for row in lines[1]]
    assert len(one) == 5 * 5 and one == two and len(lines[0]) == 5


def test_comparison_does_not_depend_on_the_number_of_processes(trained, tmp_path):
    """Results except time and memory are bitwise equal, because the batches are divided among the processes."""
    cwd, first, data = trained
    options = [f"checkpoint={first}/best.ckpt", "lpips=null", "tune_for=psnr", "baseline=[measurement]", "device=cpu"]
    options += ["batch_size=2", "tune_images=3", "test_images=5", "dirac.search.num_steps=[3]", *data[:2], *data[3:6]]
    assert run_here(cwd, "compare", *options, f"output={tmp_path}/one") == 0
    run(*TORCHRUN, "diracdiff", "compare", *options, f"output={tmp_path}/two", cwd=cwd)
    one, two = (read_rows(tmp_path / name / "images.csv") for name in ("one", "two"))
    assert len(one) == 2 * 5
    for a, b in zip(one, two, strict=True):
        assert {k: v for k, v in a.items() if k != "seconds"} == {k: v for k, v in b.items() if k != "seconds"}
    assert {p.name for p in (tmp_path / "one").iterdir()} == {p.name for p in (tmp_path / "two").iterdir()}
