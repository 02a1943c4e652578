"""The data-consistency test for the true image, posterior samples, posterior means and other images."""

import math

import pytest
import torch
from conftest import DEGRADATIONS
from scipy.stats import chi2, kstest

from diracdiff.evaluation.data_consistency import LEVEL, estimate_sigma, evaluate_residuals, standardise
from diracdiff.noise import GeometricNoise
from diracdiff.process import StochasticDegradation
from diracdiff.utils.pixels import from_pixels, to_pixels

SEEDS = 240


def image(size=32, seed=0):
    """Smooth image with black and white regions and an edge."""
    coarse = torch.rand(1, 3, 5, 5, generator=torch.Generator().manual_seed(seed))
    x = torch.nn.functional.interpolate(coarse, size=(size, size), mode="bicubic", align_corners=True)
    x = (2 * x - 0.5).clamp(0, 1)
    x[..., size // 3 :, : size // 4] = 1
    return x


def evaluated(process, x, x_hat, seeds, eight_bit):
    noise = torch.stack([torch.randn(x.shape[1:], generator=torch.Generator().manual_seed(s)) for s in range(seeds)])
    y = process.measure(x.expand(seeds, -1, -1, -1), noise)
    y, step = (from_pixels(to_pixels(y)), 1 / 255) if eight_bit else (y, 0.0)
    mean = process.mean(x_hat, 1.0)[0]
    return [evaluate_residuals(standardise(each, mean, process.sigma_y, step, s)) for s, each in enumerate(y)]


@pytest.mark.parametrize("eight_bit", [False, True], ids=["as it is", "8 bits"])
@pytest.mark.parametrize("family", ["blur", "inpainting", "quantisation"])
def test_p_values_of_the_true_image_are_uniform(family, eight_bit):
    """This also holds if a third of the values is clipped and rounding contributes 1 % of the variance."""
    process = StochasticDegradation(DEGRADATIONS[family](32), GeometricNoise(0.005, 0.05 if eight_bit else 0.02))
    tests = evaluated(process, image(), image(), SEEDS, eight_bit)
    within = sum(0.025 <= test["p_larger"] <= 0.975 for test in tests) / SEEDS
    assert abs(within - 0.95) < 3 * math.sqrt(0.95 * 0.05 / SEEDS)
    for p in ("p_larger", "p_structure"):
        assert kstest([test[p] for test in tests], "uniform").pvalue > 1e-3, p
    consistent = sum(test["consistent"] for test in tests) / SEEDS
    assert consistent > 1 - LEVEL - 3 * math.sqrt(LEVEL * (1 - LEVEL) / SEEDS)
    assert all(abs(test["residual_over_sigma"] - 1) < 0.1 for test in tests)


def test_clipping_and_rounding_are_part_of_the_noise():
    """The p-values are wrong if the test ignores clipping or rounding."""
    process = StochasticDegradation(DEGRADATIONS["inpainting"](32), GeometricNoise(0.005, 0.05))
    x = image()
    y, mean = from_pixels(to_pixels(process.measure(x, torch.randn(x.shape))))[0], process.mean(x, 1.0)[0]
    assert evaluate_residuals(standardise(y, mean, 0.05))["p_larger"] > 1 - 1e-6
    assert 1e-6 < evaluate_residuals(standardise(y, mean, 0.05, 1 / 255))["p_larger"] < 1 - 1e-6
    y = 0.3 + 0.4 * torch.rand(3, 160, 160)
    noisy = from_pixels(to_pixels(y + 1.5 / 255 * torch.randn(y.shape)))  # rounding contributes 1/30 of the variance
    assert 0.005 < evaluate_residuals(standardise(noisy, y, 1.5 / 255, 1 / 255))["p_larger"] < 0.995
    assert evaluate_residuals(standardise(noisy, y, 1.5 / 255))["p_larger"] < 5e-4


@pytest.mark.parametrize("family", ["blur", "inpainting"])
def test_another_image_is_inconsistent(family):
    process = StochasticDegradation(DEGRADATIONS[family](32), GeometricNoise(0.01, 0.05))
    for eight_bit in (False, True):
        assert not any(test["consistent"] for test in evaluated(process, image(), image(seed=1), 20, eight_bit))


def test_structure_is_detected_in_a_small_residual():
    """The residual has reduced noise and a smooth gradient."""
    noise = torch.randn(3, 64, 64)
    shade = torch.linspace(-0.35, 0.35, 64).expand(3, 64, 64)
    missed, fitted = evaluate_residuals(0.9 * noise + shade), evaluate_residuals(0.9 * noise)
    assert missed["p_larger"] > 0.5 and missed["p_structure"] < 1e-6 and not missed["consistent"]
    assert fitted["consistent"] and fitted["p_larger"] > 1 - 1e-6
    opposed = evaluate_residuals(noise - 0.1 * noise.roll(1, -1))  # residual of a posterior mean
    assert opposed["p_structure"] > 1 - 1e-6


def test_a_posterior_mean_is_consistent_and_a_sample_has_the_distribution_of_the_truth():
    """White Gaussian images and the identity. The residual variance of the mean is sigma^4 / (S^2 + sigma^2)."""
    sigma, spread = 0.05, 0.1
    generator = torch.Generator().manual_seed(0)
    p_values, consistent = [], 0
    for _ in range(SEEDS):
        x, z, draw = (torch.randn(1, 24, 24, generator=generator) for _ in range(3))
        y = spread * x + sigma * z
        gain = spread**2 / (spread**2 + sigma**2)
        mean = gain * y
        sample = mean + math.sqrt(gain) * sigma * draw
        test = evaluate_residuals(standardise(y, mean, sigma))
        assert test["p_larger"] > 0.99 and test["residual_over_sigma"] == pytest.approx(math.sqrt(1 - gain), rel=0.15)
        consistent += test["consistent"]
        p_values.append(evaluate_residuals(standardise(y, sample, sigma))["p_larger"])
    assert kstest(p_values, "uniform").pvalue > 1e-3 and consistent / SEEDS > 1 - 2 * LEVEL


def test_values_against_scipy_and_far_tails():
    z = torch.randn(3, 20, 30, dtype=torch.float64)
    test = evaluate_residuals(z)
    assert test["chi_square"] == pytest.approx(z.square().sum().item())
    assert test["p_larger"] == pytest.approx(chi2.sf(test["chi_square"], 1800), rel=1e-9)
    y, mean = torch.zeros(1, 4, 4), torch.ones(1, 4, 4)  # black instead of white: a deviation of 100 sigma
    far = standardise(y, mean, 0.01, 1 / 255)
    assert torch.isfinite(far).all() and (far < -90).all() and (standardise(1 - y, 0 * mean, 0.01, 1 / 255) > 90).all()
    assert (
        not evaluate_residuals(far)["consistent"] and not evaluate_residuals(torch.full((1, 1, 1), 9.0))["consistent"]
    )
    with pytest.raises(ValueError, match=r"sigma=0\.0: must be positive for values without rounding"):
        standardise(y, mean, 0.0)


@pytest.mark.parametrize("sigma", [0.0, 0.01, 0.05, 0.1])
def test_the_noise_level_is_estimated(sigma):
    blurred = DEGRADATIONS["blur"](64)(image(96), 1.0)
    y = from_pixels(to_pixels(blurred + sigma * torch.randn(blurred.shape)))[0]
    assert estimate_sigma(y, 1 / 255) == pytest.approx(sigma, rel=0.08, abs=0.002)
    assert estimate_sigma(y[:, :3], 1 / 255) is None and estimate_sigma(torch.zeros(3, 64, 64), 1 / 255) is None
