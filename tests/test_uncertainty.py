"""Intervals from several samples of one measurement, their calibration and their coverage."""

import math
from dataclasses import asdict

import numpy as np
import pytest
import torch
from conftest import refused, renamed_copies, run_here
from PIL import Image

from diracdiff.checkpoints import Checkpoint
from diracdiff.checkpoints.recipe import construct
from diracdiff.evaluation.uncertainty import (
    LEVELS,
    CoverageCounts,
    Interval,
    SampleStatistics,
    calibrate_intervals,
    coverage_table,
    select_interval,
    student_factor,
)
from diracdiff.restorer import load
from diracdiff.utils.files import read_rows

SAMPLES = {"samples": 8, "stop": {"t": 0.0, "output": "x_hat"}, "sampler": {}}


def sampled(images, scale=1.0, samples=8, seed=0):
    """Return samples and images of one distribution per image. `scale` multiplies the deviation of the samples."""
    generator = torch.Generator().manual_seed(seed)
    std = 0.01 + 0.03 * torch.rand(images, 1, 1, 1, generator=generator)
    centre = torch.full((images, 3, 8, 8), 0.5)
    x = centre + std * torch.randn(centre.shape, generator=generator)
    y = centre + scale * std * torch.randn(samples, *centre.shape, generator=generator)
    return SampleStatistics(y), x


def tally(images, **options):
    counts, (spread, x) = CoverageCounts(), sampled(images, **options)
    counts.add(spread, x)
    return counts


def test_raw_intervals_of_exact_samples_have_nominal_coverage():
    counts = tally(200)
    for level in LEVELS:
        assert counts.covered_fraction(student_factor(level, 8)) == pytest.approx(level, abs=0.01)
    assert student_factor(0.9, 8) == pytest.approx(1.8946 * math.sqrt(9 / 8), rel=1e-4)


@pytest.mark.parametrize("scale", [0.3, 1.0, 3.0])
def test_calibration_corrects_wrong_deviations(scale):
    for row in coverage_table(calibrate_intervals(SAMPLES, tally(400, scale=scale)), tally(400, scale=scale, seed=1)):
        assert row["pixels_calibrated"] == pytest.approx(row["level"], abs=0.015)
        assert row["images_calibrated"] == pytest.approx(row["level"], abs=0.05)
        exact = row["factor_raw"] * math.sqrt((1 / scale**2 + 1 / 8) / (1 + 1 / 8))
        assert row["factor_calibrated"] == pytest.approx(exact, rel=0.05)
        assert (abs(row["pixels_raw"] - row["level"]) > 0.04) == (scale != 1)


def test_the_next_image_counts_as_missed():
    """Conformal risk control: the smallest factor with (misses + 1) / (n + 1) <= 1 - level."""
    spread, x = sampled(19)
    counts = CoverageCounts()
    counts.add(spread, x)
    (interval,) = calibrate_intervals(SAMPLES, counts, [0.9])
    factors = ((x - spread.mean).abs() / spread.std).flatten(1)

    def risk(factor):
        return ((factors > factor).float().mean(1).sum() + 1) / 20

    assert risk(interval.factor) <= 0.1 < risk(interval.factor / 1.012)
    errors = sorted(counts.errors)
    assert interval.errors == (errors[0], errors[18])  # 90 % of 20 positions are between the 1st and the 19th
    assert construct(Interval, asdict(interval)) == interval


def test_levels_that_need_more_images_are_refused():
    low, _, high = intervals = calibrate_intervals(SAMPLES, tally(10))
    assert math.isfinite(low.factor) and low.errors[0] > 0
    assert high.factor == math.inf and high.errors == (0.0, math.inf)
    for level, message in (
        (0.95, r"level=0\.95: needs a calibration on more than 10 images"),
        (0.7, r"level=0\.7: must be one that was calibrated, \[0.8, 0.9, 0.95\]"),
        (1, r"level=1: must be in \(0, 1\)"),
    ):
        with pytest.raises(ValueError, match=message):
            select_interval(intervals, SAMPLES, level)


def test_a_calibration_applies_only_to_its_samples():
    intervals = calibrate_intervals(SAMPLES, tally(30))
    assert select_interval(intervals, SAMPLES, 0.9).images == 30
    for other in ({"samples": 4}, {"stop": {"t": 0.5, "output": "x_hat"}}, {"sampler": {"steps": 1}}):
        raw = select_interval(intervals, SAMPLES | other, 0.9)
        assert raw.images == 0 and raw.factor == student_factor(0.9, other.get("samples", 8))


def test_bounds_in_files_contain_the_numeric_bounds():
    spread, _ = sampled(2)
    pictures = Interval(0.9, 2.0).to_images(spread, 1)
    low, high = ((spread.mean[1] + sign * 2.0 * spread.std[1]).clamp(0, 1) for sign in (-1, 1))
    assert (pictures["low"] <= low + 1e-6).all() and (pictures["high"] >= high - 1e-6).all()
    assert (255 * pictures["low"]).sub((255 * pictures["low"]).round()).abs().max() < 1e-3


def test_the_command_calibrates(run, folder, tmp_path, call, measured_folder):
    best = run[1] / "best.ckpt"
    sampling = ["sampler.eta=1", "samples=3", "target=t:0.25"]
    assert call("calibrate", f"checkpoint={best}", *folder, *sampling) == (0, [])
    rows = read_rows(tmp_path / "calibration/coverage.csv")
    assert [row["level"] for row in rows] == ["0.8", "0.9", "0.95"] and {row["images"] for row in rows} == {"3"}
    calibrations = Checkpoint.read(tmp_path / "calibration/calibrated.ckpt").calibrations
    assert [(each["images"], each["samples"]["samples"]) for each in calibrations] == [(3, 3)] * 3
    assert not Checkpoint.read(best).calibrations
    refused(
        call("calibrate", f"checkpoint={best}", *folder, *sampling), "calibrated.ckpt: exists", "if_exists=overwrite"
    )
    refused(call("calibrate", f"checkpoint={best}", "samples=1"), "samples=1: must be an integer of at least 2")
    before, restorer = load(best).denoiser.state_dict(), load(tmp_path / "calibration/calibrated.ckpt")
    assert restorer.sampler.eta == load(best).sampler.eta != 1  # its stopping times belong to that sampler
    assert all(torch.equal(value, before[key]) for key, value in restorer.denoiser.state_dict().items())
    arguments = [f"checkpoint={tmp_path}/calibration/calibrated.ckpt", f"input={measured_folder}/05.png", *sampling]
    refused(call("restore", *arguments), "level=0.9: needs a calibration on more than 3 images")
    assert not (tmp_path / "restored").exists()
    assert call("restore", *arguments[:-1], "target=t:0.5", "output=raw") == (0, [])
    (raw,) = read_rows(tmp_path / "raw/restored.csv")
    assert raw["calibrated_on"] == "0" and raw["psnr_low"] == ""
    pictures = (Image.open(tmp_path / f"raw/05_{name}.png") for name in ("low", "mean", "high"))
    low, mean, high = (np.asarray(picture, dtype=int) for picture in pictures)
    assert (low <= mean).all() and (mean <= high).all() and (high - low).mean() > 1


def test_a_calibrated_interval_is_used(run, folder, tmp_path, capsys, image_folder):
    """Ten calibration images are enough for the level 80 %."""
    fractions = [part.replace("0.125", "0.4") for part in folder]
    fractions[1] = f"data.root={renamed_copies(image_folder, tmp_path / 'others')}"
    sampling = ["sampler.eta=1", "samples=2", "target=t:0.5"]
    assert run_here(tmp_path, "calibrate", f"checkpoint={run[1]}/best.ckpt", *fractions, *sampling, "output=c") == 0
    assert "samples=2 target=t:0.5 sampler.eta=1" in capsys.readouterr().out
    arguments = ["checkpoint=c/calibrated.ckpt", f"input={image_folder}/05.png", "output=o", "level=0.8"]
    assert run_here(tmp_path, "restore", *arguments, *sampling) == 0
    assert "intervals for 80 % of the pixels (calibrated on 10 images)" in capsys.readouterr().out
    (row,) = read_rows(tmp_path / "o/restored.csv")
    assert row["calibrated_on"] == "10" and float(row["psnr_low"]) < float(row["psnr_high"])
