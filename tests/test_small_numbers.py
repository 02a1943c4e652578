"""Figures of few images, and of images without contrast: no interval and no conclusion that they do not support."""

import json

import numpy as np
import pytest
import torch
from conftest import needs_shared, run_here
from PIL import Image

from diracdiff.evaluation import interval
from diracdiff.evaluation.statistics import FEWEST
from diracdiff.evaluation.tables import brackets, cautions
from diracdiff.metrics import FID, KID, PSNR, SWD
from diracdiff.metrics.swd import LEAST_SPREAD, swd
from diracdiff.report.evaluated import conclusion


def test_a_mean_of_fewer_than_eight_images_has_no_interval():
    assert FEWEST == 8
    for n in range(1, 8):
        assert interval(np.arange(float(n)).tolist()) is None and interval([42.38] * n) is None
    low, high = interval(np.arange(8.0).tolist())
    assert low < 3.5 < high


def test_intervals_of_eight_skewed_values_cover_the_mean_as_documented():
    """86 to 90 % instead of 95 % for PSNR-like values; fewer than half the time for two values."""
    generator = np.random.default_rng(0)
    covered = 0
    for trial in range(300):
        low, high = interval((28 + 3 * (generator.gamma(4.0, size=8) - 4) / 2).tolist(), trial)
        covered += low <= 28 <= high
    assert 0.83 < covered / 300 < 0.95


def test_a_table_shows_a_dash_where_images_are_too_few():
    assert brackets({"psnr": None}, "psnr", 2) == " [–]"
    assert brackets({"psnr": (1.0, 2.0)}, "psnr", 2, "+") == " [+1.00, +2.00]"
    assert brackets({}, "swd", 2) == ""


def test_nothing_is_concluded_from_too_few_images():
    assert conclusion(None) == "[–]: no conclusion from fewer than 8 images"
    assert conclusion((0.1, 0.2)) == "[0.1, 0.2]: DO is not the posterior mean, a blend with PO is nearer to it"
    assert conclusion((-0.1, 0.2)) == "[-0.1, 0.2]: a blend gains no PSNR"


def test_an_evaluation_of_one_image_has_means_and_no_intervals(paper, folder, tmp_path, capsys):
    data = [*folder, "loader.test_images=1", "lpips=null", "output=one"]
    assert run_here(tmp_path, "evaluate", f"checkpoint={paper}", *data) == 0
    summary = json.loads((tmp_path / "one" / "evaluation.json").read_text())
    assert summary["n"] == 1 and summary["do"]["psnr"] > 0 and set(summary["do"]["interval"].values()) == {None}
    table = (tmp_path / "one" / "table.md").read_text()
    assert " [–] |" in table and "n = 1" in table and "none of fewer than 8" in table
    assert "no conclusion" in (out := capsys.readouterr().out) or "P - c" not in out


@pytest.mark.parametrize("level", [0.0, 0.37, 1.0])
def test_the_distance_from_constant_images_is_bounded(level):
    """Noise of 0.01 is at most 1000 * 0.01 / LEAST_SPREAD spreads away; without a bound it was over ten million."""
    clean = torch.full((1, 3, 64, 64), level)
    noisy = (clean + 0.01 * torch.randn(clean.shape)).clamp(0, 1)
    value = swd(*(SWD.extractor.features(images) for images in (clean, noisy)))
    assert 0 < value < 1000 * 0.01 / LEAST_SPREAD


@needs_shared
@pytest.mark.parametrize("size", [32, 128])
def test_photographs_are_never_that_flat(size):
    from conftest import SHARED

    files = sorted((SHARED / "data" / "imagenet-sample" / "val").rglob("*.JPEG"))[:8]
    images = [np.asarray(Image.open(path).convert("RGB").resize((size, size))) for path in files]
    features = SWD.extractor.features(torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2) / 255).float()
    assert features.transpose(0, 1).flatten(1, 2).std(1).min() > 4 * LEAST_SPREAD


def test_metrics_of_sets_warn_of_few_images():
    fid, kid = (object.__new__(metric) for metric in (FID, KID))
    fid.name, fid.fewest, kid.name = "fid_squeezenet", 512, "kid_squeezenet"
    said = cautions([PSNR(), SWD(), fid, kid], 20)
    assert [line.partition(":")[0] for line in said] == [
        f"{name} of 20 images compares only with values of the same images"
        for name in ("fid_squeezenet", "kid_squeezenet")
    ]
    assert cautions([fid, kid], 512) == []
