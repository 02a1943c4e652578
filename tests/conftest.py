"""Fixtures and helpers of the tests: small degradation processes, small data sets, and commands."""

import contextlib
import importlib
import io
import logging
import os
import re
import resource
import signal
import subprocess
import sys
from pathlib import Path
from unittest import mock

import numpy as np
import pytest
import torch
from PIL import Image

from diracdiff.data import load_image
from diracdiff.degradations import (
    BoxInpainting,
    ColourQuantisation,
    FourierUndersampling,
    FreeformInpainting,
    GaussianBlur,
    GaussianInpainting,
    Identity,
    KernelBlur,
    LinearSeverity,
    MotionBlur,
    MultiScaleSuperResolution,
    SuperResolution,
    TabulatedSeverity,
)
from diracdiff.noise import GeometricNoise
from diracdiff.process import StochasticDegradation
from diracdiff.utils.image_files import write_image
from diracdiff.utils.pixels import from_pixels, to_pixels

ROOT = Path(__file__).resolve().parents[1]
SHARED = ROOT.parent / "shared"
TORCH_HOME = SHARED / "weights" / "torch_home"

for _number in (signal.SIGINT, signal.SIGHUP):
    if signal.getsignal(_number) == signal.SIG_IGN:  # set by background shells and inherited
        signal.signal(_number, signal.default_int_handler if _number == signal.SIGINT else signal.SIG_DFL)


class FixedMask(FreeformInpainting):
    """Inpainting with a fixed mask for all images: a disc near the centre."""

    is_bound = True

    def sample_params(self, seeds, like):
        height, width = like.shape[-2:]
        rows, columns = torch.arange(height)[:, None] - 0.4 * height, torch.arange(width) - 0.6 * width
        return (min(height, width) / 4 - (rows**2 + columns**2).sqrt()).to(like)[None, None]


class FixedKernel(KernelBlur):
    """Blur with a fixed diagonal kernel for all images. Its Fourier transform is not negative."""

    is_bound = True

    def sample_params(self, seeds, like):
        return torch.tensor([[0.0, 0, 1], [0, 2, 0], [1, 0, 0]]).to(like)[None, None] / 4


class FixedFactor(MultiScaleSuperResolution):
    """Super-resolution with the factor 3 for all images."""

    is_bound = True

    def sample_params(self, seeds, like):
        return like.new_full((1, 1), 3)


DEGRADATIONS = {
    "blur": lambda size: GaussianBlur(LinearSeverity(0.3, 3.0), size),
    "blur_published": lambda size: GaussianBlur(TabulatedSeverity.from_csv("published_blur"), size),
    "inpainting": lambda size: GaussianInpainting(LinearSeverity(0.1, 50.0), size),
    "freeform": lambda size: FixedMask(LinearSeverity(0.0, 1.0), size),
    "kernel": lambda size: FixedKernel(LinearSeverity(0.0, 1.0), size),
    "box": lambda size: BoxInpainting(LinearSeverity(0.0, 128.0), size),
    "super_resolution": lambda size: SuperResolution(LinearSeverity(1.0, 4.0), size),
    "multi_scale": lambda size: FixedFactor(LinearSeverity(0.0, 1.0), size),
    "motion_blur": lambda size: MotionBlur(LinearSeverity(0.0, 40.0), size, angle=30.0),
    "quantisation": lambda size: ColourQuantisation(LinearSeverity(1.0, 8.0), size),
    "fourier": lambda size: FourierUndersampling(LinearSeverity(0.0, 0.75), size),
    "identity": lambda size: Identity(image_size=size),
}

needs_shared = pytest.mark.skipif(not (SHARED / "data").is_dir(), reason="needs ../shared/data, real images")
HAS_LPIPS = (TORCH_HOME / "hub" / "checkpoints" / "squeezenet1_1-b8a52dc0.pth").is_file()
"""True if the LPIPS weights exist at import. A failed download creates the folder, so the test is not repeated."""

needs_lpips = pytest.mark.skipif(not HAS_LPIPS, reason="needs ../shared/weights, LPIPS' squeeze backbone")


@pytest.fixture(autouse=True, scope="session")
def single_thread():
    torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def seed_generator():
    torch.manual_seed(0)


@pytest.fixture(params=DEGRADATIONS)
def degradation(request):
    return DEGRADATIONS[request.param](32)


@pytest.fixture
def process(degradation):
    return StochasticDegradation(degradation, GeometricNoise())


@pytest.fixture
def torch_home(monkeypatch):
    monkeypatch.setenv("TORCH_HOME", str(TORCH_HOME))


@pytest.fixture
def without_weights(monkeypatch, tmp_path):
    """Remove cached weights and block downloads."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "empty_torch_home"))
    monkeypatch.setenv("https_proxy", "http://127.0.0.1:9")
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")


@pytest.fixture(scope="session")
def image_folder(tmp_path_factory):
    """24 smooth colour images of 40x40 pixels."""
    folder = tmp_path_factory.mktemp("images")
    generator = np.random.default_rng(0)
    for i in range(24):
        coarse = generator.integers(0, 255, (5, 5, 3), dtype=np.uint8)
        Image.fromarray(coarse).resize((40, 40), Image.Resampling.BICUBIC).save(folder / f"{i:02d}.png")
    return folder


@pytest.fixture(scope="session")
def measured_folder(tmp_path_factory, image_folder):
    """Measurements of `image_folder` at 32 x 32 pixels: Gaussian inpainting with noise."""
    folder = tmp_path_factory.mktemp("measured")
    process = StochasticDegradation(DEGRADATIONS["inpainting"](32), GeometricNoise())
    generator = torch.Generator().manual_seed(0)
    for path in sorted(image_folder.iterdir()):
        x = from_pixels(load_image(path)[None])
        measured = process.measure(x, torch.randn(x.shape, generator=generator))[0]
        write_image(folder / path.name, to_pixels(measured.permute(1, 2, 0)).numpy())
    return folder


def clean_environment(**extra: str) -> dict[str, str]:
    """Environment for a subprocess: one thread, and no variables of a distributed job."""
    dropped = ("LOCAL_RANK", "NODE_RANK", "WORLD_SIZE", "DIRACDIFF_SWEEP_DIR")
    kept = {k: v for k, v in os.environ.items() if k not in dropped and not k.startswith(("MASTER_", "WANDB_"))}
    return kept | {"OMP_NUM_THREADS": "1", "COLUMNS": "200"} | extra


# commands

SMALL = [
    "model.network.channels=8",
    "model.network.multipliers=[1,2]",
    "model.network.attention_levels=[1]",
    "trainer.accelerator=cpu",
    "trainer.enable_progress_bar=false",
    "trainer.log_every_n_steps=1",
    "data.batch_size=4",
    "data.val_images=3",
    "data.test_images=3",
    "sampler.num_steps=4",
]
STEPS_PER_EPOCH = 4
BRIEF = ["trainer.max_epochs=2", "trainer.check_val_every_n_epoch=1"]


def command(name, *overrides, cwd, **environment):
    return subprocess.run(
        [sys.executable, "-m", "diracdiff", name, *overrides],
        cwd=cwd,
        env=clean_environment(**environment),
        capture_output=True,
        text=True,
        timeout=300,
    )


@contextlib.contextmanager
def full_disk(size):
    """Limit the size of written files to `size` bytes, which simulates a full disk or a quota."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def begin(*args, cwd, **environment):
    """Start Python in a new session, so that a test can kill the process group."""
    return subprocess.Popen(
        [sys.executable, *args],
        cwd=cwd,
        env=clean_environment(**environment),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def run_here(cwd, name, *overrides):
    """Run a command in this process, which avoids repeated imports, and return its exit status."""
    handlers = list(logging.root.handlers)
    with contextlib.chdir(cwd), mock.patch.object(sys, "argv", [name, *overrides]):
        try:
            getattr(importlib.import_module(f"diracdiff.commands.{name}"), name)()
        except SystemExit as error:
            return error.code
        finally:
            logging.root.handlers[:] = handlers  # handlers of Hydra write to the streams of this command
            torch.set_flush_denormal(False)  # commands set it for their process
    return 0


@pytest.fixture
def make_importable(tmp_path, monkeypatch):
    """Return a function that makes modules `my_*` in `tmp_path` importable. They are unloaded after the test."""

    def unload():
        for name in [name for name in sys.modules if name.startswith("my_")]:
            del sys.modules[name]

    def add_to_path():
        unload()
        monkeypatch.syspath_prepend(tmp_path)

    yield add_to_path
    unload()


@pytest.fixture(scope="session")
def folder(image_folder):
    fractions = ["data.val_fraction=0.125", "data.test_fraction=0.125"]
    return ["data=folder", f"data.root={image_folder}", "data.image_size=32", *fractions]


@pytest.fixture(scope="session")
def run(tmp_path_factory, folder):
    """A training run: (working directory, run folder, output on stdout)."""
    cwd = tmp_path_factory.mktemp("work")
    with contextlib.redirect_stdout(io.StringIO()) as printed, mock.patch.dict(os.environ, TORCH_HOME=str(TORCH_HOME)):
        assert run_here(cwd, "train", "task=inpaint", *folder, *SMALL, *BRIEF) == 0
    return cwd, cwd / "runs" / "latest", printed.getvalue()


@pytest.fixture(scope="session")
def paper(tmp_path_factory, folder):
    """Checkpoint of a short training run with the paper's method."""
    cwd = tmp_path_factory.mktemp("paper")
    assert run_here(cwd, "train", "task=inpaint", "method=paper", *folder, *SMALL, *BRIEF, "hydra.run.dir=run") == 0
    return cwd / "run" / "best.ckpt"


@pytest.fixture
def call(monkeypatch, tmp_path, capsys):
    """Run a command in this process and return (exit status, lines on stderr)."""
    monkeypatch.chdir(tmp_path)

    def call_here(name, *overrides):
        status = run_here(Path.cwd(), name, *overrides)
        return status, capsys.readouterr().err.splitlines()

    return call_here


def refused(result, *parts):
    """Assert exit status 2 and a single error line that matches all patterns."""
    status, lines = result
    assert status == 2 and len(lines) == 1 and lines[0].startswith("error: "), lines
    for part in parts:
        assert re.search(part, lines[0]), lines[0]


def renamed_copies(folder, target):
    """Copy the files of a folder under new names, which are in no split of the training data."""
    target.mkdir()
    for path in folder.iterdir():
        (target / f"other_{path.name}").write_bytes(path.read_bytes())
    return target
