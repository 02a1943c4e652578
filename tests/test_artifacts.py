"""Residual noise and seams of images with known noise and known seams."""

import pytest
import torch
from conftest import needs_lpips
from torch.nn import functional as F

from diracdiff.degradations import Identity
from diracdiff.evaluation import Evaluation, interval
from diracdiff.evaluation.statistics import mean_ignoring_none
from diracdiff.evaluation.tables import summary_warnings
from diracdiff.metrics import LPIPS, PSNR, Reference, ResidualNoise, Seams
from diracdiff.metrics.artifacts import high_pass
from diracdiff.metrics.lpips import upscale_to_min_side
from diracdiff.noise import GeometricNoise
from diracdiff.process import StochasticDegradation
from diracdiff.samplers import State

SIGMA = 0.05
PROCESS = StochasticDegradation(Identity(image_size=64), GeometricNoise(SIGMA, SIGMA))


def scene():
    """Images (2, 3, 72, 72) with a smooth gradient in the upper half and texture in the lower half."""
    sky = 0.6 + 0.1 * torch.linspace(0, 1, 72)[:, None].expand(2, 3, 72, 72)
    texture = (0.5 + 0.3 * torch.randn(2, 3, 72, 72)).clamp(0, 1)
    return torch.where(torch.arange(72)[:, None] < 36, sky, texture)


def reference_of(clean):
    return Reference(clean, clean + SIGMA * torch.randn_like(clean), PROCESS)


def test_high_pass_keeps_the_standard_deviation_of_white_noise():
    assert high_pass(torch.randn(4, 3, 128, 128)).std().item() == pytest.approx(1, rel=0.01)
    ramp = torch.linspace(0, 1, 64).expand(1, 3, 64, 64)
    assert high_pass(ramp)[..., 1:-1].abs().max() < 1e-6


def test_residual_noise_is_1_for_the_measurement_and_0_for_the_clean_image():
    reference = reference_of(scene())
    assert ResidualNoise()(reference.measurement, reference).tolist() == pytest.approx([1, 1], rel=0.03)
    assert ResidualNoise()(reference.clean, reference).tolist() == [0, 0]


def test_residual_noise_measures_noise_in_flat_regions_only():
    reference = reference_of(scene())
    noisy = reference.clean + 0.3 * SIGMA * torch.randn_like(reference.clean)
    noisy[:, :, 36:] = 0.5  # remove the texture
    noisy += 0.02  # a brightness shift is not noise
    assert ResidualNoise()(noisy, reference).tolist() == pytest.approx([0.3, 0.3], rel=0.05)


def test_images_without_flat_patches_have_no_value_and_are_excluded_from_means():
    clean = scene()
    clean[0] = torch.rand(3, 72, 72)
    reference = reference_of(clean)
    missing, value = ResidualNoise().values(reference.measurement, reference)
    assert missing is None and value == pytest.approx(1, rel=0.05)
    assert mean_ignoring_none([None, 2.0, 4.0]) == 3 and mean_ignoring_none([None]) is None
    assert interval([None] * 3 + [1.0] * 7) is None and interval([None] + [1.0] * 8) == (1, 1)
    evaluation = Evaluation([PSNR(), ResidualNoise()])
    states = [State(1.0, reference.measurement, reference.clean + 0.001, 1, True)]
    evaluation.add(["a", "b"], [0, 1], states, reference)
    iterate = next(row for row in evaluation.finish() if row["output"] == "iterate")
    assert iterate["residual_noise"] == value and iterate["n"] == 2


def test_residual_noise_needs_a_measurement():
    with pytest.raises(ValueError, match="residual_noise: needs the measurement"):
        ResidualNoise()(scene(), Reference(scene()))


def test_blocks_of_different_brightness_are_seams():
    clean = F.interpolate(torch.rand(2, 3, 9, 9), (72, 72), mode="bicubic", align_corners=True).clamp(0, 1)
    reference = Reference(clean)
    assert Seams()(clean, reference).tolist() == [1, 1]
    offsets = F.interpolate(0.05 * torch.randn(2, 3, 9, 9), scale_factor=8.0, mode="nearest")
    assert Seams(8)(clean + offsets, reference).min() > 1.5
    assert Seams(8)(clean + offsets.roll((4, 4), (-2, -1)), reference).max() < 1
    assert Seams(8)(clean + 0.01 * torch.randn_like(clean), reference).tolist() == pytest.approx([1, 1], abs=0.1)
    with pytest.raises(ValueError, match="block=1: must be at least 2"):
        Seams(1)


def test_warning_names_a_noisier_stopping_point():
    summary = {"n": 100, "do": {"residual_noise": 0.2}, "po": {"residual_noise": 0.32}, "swd": {"residual_noise": 0.2}}
    (line,) = summary_warnings(summary, [PSNR(), ResidualNoise()])
    assert line.startswith("PO (best LPIPS) has 1.6 times the residual noise of DO")
    assert not summary_warnings(summary | {"po": None}, [PSNR()]) and not summary_warnings({"n": 100}, [PSNR()])


@needs_lpips
def test_lpips_enlarges_small_images(torch_home):
    clean, restored = torch.rand(2, 2, 3, 24, 32)
    metric = LPIPS("squeeze")
    large = upscale_to_min_side(clean)
    assert large.shape[-2:] == (64, 85) and upscale_to_min_side(large) is large
    assert torch.equal(metric(restored, Reference(clean)), metric(upscale_to_min_side(restored), Reference(large)))
