"""Figure and animation of experiments/hero, with small restorers."""

import importlib
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from conftest import ROOT, needs_lpips
from PIL import Image
from test_checkpoints import restorer

from diracdiff.baselines import Measurement
from diracdiff.comparison import Comparison, Runner, load_or_measure
from diracdiff.comparison.methods import BaselineMethod, DiracMethod
from diracdiff.comparison.runs import Run
from diracdiff.evaluation import StoppingPoint
from diracdiff.metrics import LPIPS, PSNR

pytestmark = needs_lpips


@pytest.fixture
def hero(monkeypatch, torch_home):
    monkeypatch.syspath_prepend(ROOT)
    return importlib.import_module("experiments.hero.run")


@pytest.fixture
def checkpoint(tmp_path):
    module = restorer()
    module.sampler = module.sampler.replace(num_steps=4, guidance=None)
    module.stopping_points |= {"psnr": StoppingPoint(0.8), "lpips": StoppingPoint(0.25)}
    module.save(tmp_path / "model.ckpt")
    return module, str(tmp_path / "model.ckpt")


def test_figure_and_animation_of_checkpoints(hero, checkpoint, image_folder, tmp_path):
    module, path = checkpoint
    hero.main(["--checkpoints", path, path, "--root", str(image_folder), "--output", str(tmp_path / "drawn")])
    figure, animation = (Image.open(tmp_path / "drawn" / name) for name in ("hero.png", "hero_path.webp"))
    assert figure.height > 2 * hero.TILE and figure.width > 5 * hero.TILE
    assert animation.n_frames == module.sampler.num_steps
    results = hero.from_checkpoint(path, str(image_folder), 32, tmp_path / "drawn" / "0")
    assert [stop for _, stop in results.columns.values()] == ["x_hat t=1", "x_hat t=0.25", "x_hat t=1"]
    shrunk = hero.enlarge(results.images.clean[0]).reduce(hero.TILE // 16)
    assert torch.equal(torch.tensor(np.array(shrunk)), results.images.clean[0].permute(1, 2, 0))


def test_the_figure_of_a_comparison_shows_the_best_other_method(hero, checkpoint, tmp_path):
    module, path = checkpoint
    folder = tmp_path / "compared"
    folder.mkdir()
    batch = [{"x": torch.rand(3, 3, 16, 16), "name": [*"abc"]}]
    val, test = (
        load_or_measure(folder / f"measurements_{part}.pt", batch, module.process, 0) for part in ("val", "test")
    )
    metrics = [PSNR(), LPIPS()]
    runner = Runner(folder / "parts", module.process, metrics, 2, pictures=2)
    other = BaselineMethod("plain", {}, 0, lambda _: Measurement(), module.process)
    Comparison(folder, "blur", runner, val, test, 0).run([other, DiracMethod("dirac", {}, 0, module)], metrics[1:], 1)
    results = hero.from_comparison(path, folder, "lpips")
    assert list(results.columns) == ["DO", "PO", "plain"] and results.shown() == 2
    run, stop = results.columns["plain"]
    assert stop == "" and torch.equal(run.images[""], (255 * test.y[:2].clamp(0, 1)).round().byte())
    hero.main(["--checkpoints", path, "--comparisons", str(folder), "--output", str(tmp_path)])
    assert (tmp_path / "hero_path.webp").stat().st_size < hero.ANIMATION_BYTES


def test_the_image_with_the_median_gain_is_shown(hero):
    gains, noise = [0.3, 0.2, 0.5, 0.2, 0.9], [1.0, 1.0, 1.0, None, None]
    rows = [{"stop": "do", "lpips_squeeze": 0.9} for _ in gains]
    pairs = zip(gains, noise, strict=True)
    rows += [{"stop": "po", "lpips_squeeze": 0.9 - gain, "residual_noise": level} for gain, level in pairs]
    run = Run(rows, dict.fromkeys(("do", "po"), torch.zeros(5, 3, 8, 8)))
    results = hero.Results(None, SimpleNamespace(names=[*"abcde"]), {"DO": (run, "do"), "PO": (run, "po")}, {})
    assert hero.choose([results, results]) == [0, 1]  # only the first three images have a flat patch


def test_large_figures_are_compressed(hero, tmp_path):
    pixels = torch.randint(0, 256, (600, 600, 3), dtype=torch.uint8).numpy()
    path = hero.write_figure(Image.fromarray(pixels), tmp_path / "a.png")
    assert path.suffix == ".webp" and path.stat().st_size <= hero.FIGURE_BYTES and not (tmp_path / "a.png").exists()
