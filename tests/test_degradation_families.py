"""Properties of single degradations: super-resolution, motion blur, quantisation and undersampling."""

import math

import pytest
import torch
from conftest import DEGRADATIONS
from scipy.ndimage import convolve

from diracdiff.checkpoints import to_recipe
from diracdiff.checkpoints.registry import from_recipe
from diracdiff.degradations import (
    ColourQuantisation,
    FourierUndersampling,
    Identity,
    LinearSeverity,
    MotionBlur,
    MultiScaleSuperResolution,
    SuperResolution,
)
from diracdiff.degradations.super_resolution import downscale, upscale

TIMES = torch.linspace(0, 1, 41, dtype=torch.float64)
ANGLES = [0.0, 30.0, 45.0, 90.0, 200.0]


def images(*shape):
    return torch.rand(*shape, dtype=torch.float64)


@pytest.mark.parametrize(
    "family", ["super_resolution", "multi_scale", "motion_blur", "quantisation", "fourier", "identity"]
)
def test_exactly_the_identity_at_zero(family):
    x = torch.rand(2, 3, 24, 31)
    assert torch.equal(DEGRADATIONS[family](32)(x, 0.0), x)


def test_arguments_belong_to_the_recipe():
    for degradation in (
        MotionBlur(LinearSeverity(0, 9), 64, angle=12),
        ColourQuantisation(LinearSeverity(1, 3), 64, levels=7),
        FourierUndersampling(LinearSeverity(0, 0.4), 64, centre=0.3, seed=5),
        Identity(),
    ):
        rebuilt, x = from_recipe(to_recipe(degradation)), torch.rand(1, 1, 16, 16)
        assert torch.equal(rebuilt(x, 0.7), degradation(x, 0.7))


# super-resolution


def response(degradation, n, times=TIMES):
    """Frequency response (time, frequency) from the cosine transform of degraded cosines."""
    k = torch.arange(n, dtype=torch.float64)
    cosines = torch.cos(math.pi / n * k.unsqueeze(1) * (k + 0.5))
    x = cosines.reshape(1, n, 1, n).expand(len(times), n, 2, n)
    y = degradation(x, times)[:, :, 0]
    return (y * cosines).sum(-1) / cosines.square().sum(-1), y, cosines


@pytest.mark.parametrize("n", [24, 31])
def test_low_pass_multiplies_cosines_by_a_decreasing_response(n):
    gain, y, cosines = response(SuperResolution(LinearSeverity(1, 4), 32), n)
    assert torch.allclose(y, gain.unsqueeze(-1) * cosines, atol=1e-12)
    assert gain.min() > -1e-12 and gain.max() < 1 + 1e-12
    assert (gain.diff(dim=0) < 1e-12).all() and (gain.diff(dim=1) < 1e-12).all()
    factor, frequency = 1 + 3 * TIMES.unsqueeze(1), torch.arange(n) / n
    assert (gain[frequency >= 1 / factor].abs() < 1e-12).all()
    assert (gain[(frequency <= 0.5 / factor)] > 1 - 1e-12).all()


def test_roll_off_has_the_stated_form():
    gain, _, _ = response(SuperResolution(LinearSeverity(1, 4)), 24)
    a = (1 - 4 * 4 / 24) / (0.5 * (1 - 1 / 4))
    assert gain[-1, 4].item() == pytest.approx(a**2 * (3 - 2 * a)) and 0 < a < 1


def test_low_pass_is_continuous_in_time():
    steps = [
        response(SuperResolution(LinearSeverity(1, 4)), 16, torch.linspace(0, 1, n + 1, dtype=torch.float64))[0]
        for n in (1000, 4000)
    ]
    coarse, fine = (gain.diff(dim=0).abs().max() for gain in steps)
    assert fine < 0.3 * coarse


def test_per_image_factors_equal_single_degradations():
    x, factors = images(3, 2, 24, 31), torch.tensor([[2.0], [3.0], [4.0]])
    degradation = MultiScaleSuperResolution(LinearSeverity(0, 1), 32).bind(factors)
    for i, factor in enumerate((2, 3, 4)):
        alone = SuperResolution(LinearSeverity(1, factor), 32)
        for t, power in ((1.0, 1.0), (0.5, 0.5)):
            expected = alone(x[i : i + 1], (factor**power - 1) / (factor - 1))
            assert torch.allclose(degradation(x, t)[i : i + 1], expected, atol=1e-6)
            svd = degradation.diagonal(x, t)
            assert torch.allclose(svd.u(svd.values * svd.vt(x))[i : i + 1], expected, atol=1e-6)
            svd = degradation.svd(x, t)
            assert torch.allclose(svd.u(svd.values * svd.vt(x))[i : i + 1], expected, atol=1e-6)


def test_random_factors_are_two_three_and_four():
    factors = MultiScaleSuperResolution(LinearSeverity(0, 1)).sample_params(range(300), torch.zeros(1)).flatten()
    assert all(70 < (factors == factor).sum() < 130 for factor in (2, 3, 4))


@pytest.mark.parametrize("factor", [2, 3, 4])
def test_downscaling_keeps_the_measurement_and_white_noise(factor):
    x = images(1, 3, 24, 36)
    y = SuperResolution(LinearSeverity(1, factor))(x, 1.0)
    small = downscale(y, factor)
    assert small.shape == (1, 3, 24 // factor, 36 // factor) and torch.allclose(upscale(small, factor), y, atol=1e-12)
    assert torch.allclose(small.mean((-2, -1)), x.mean((-2, -1)))
    pixels = torch.eye(24 * 36, dtype=torch.float64).reshape(-1, 1, 24, 36)
    operator = downscale(pixels, factor).flatten(1)
    covariance = operator.mT @ operator
    assert torch.allclose(covariance, torch.eye(len(covariance), dtype=torch.float64) / factor**2, atol=1e-12)
    with pytest.raises(ValueError, match="factor=5: must divide"):
        downscale(x, 5)


# motion blur


@pytest.mark.parametrize("angle", ANGLES)
def test_kernels_sum_to_one_and_have_the_moments_of_the_path(angle):
    degradation = MotionBlur(LinearSeverity(0, 15), angle=angle)
    lengths = torch.tensor([0.0, 0.3, 7.0, 15.0], dtype=torch.float64)
    kernel = degradation.kernel(lengths)
    up, right = (torch.arange(n, dtype=torch.float64) - n // 2 for n in kernel.shape[-2:])
    up = -up.unsqueeze(-1)
    assert kernel.min() >= 0 and torch.allclose(kernel.sum((1, 2)), torch.ones(4, dtype=torch.float64))
    assert torch.allclose(kernel, kernel.flip(1, 2))
    along = math.cos(math.radians(angle)) * right + math.sin(math.radians(angle)) * up
    across = math.cos(math.radians(angle)) * up - math.sin(math.radians(angle)) * right
    variance = (kernel * along**2).sum((1, 2))
    assert (variance - lengths**2 / 12).abs().max() < 0.3 and variance.diff().min() > 0
    assert (kernel * across**2).sum((1, 2)).max() < 0.3


@pytest.mark.parametrize("shape", [(30, 24), (9, 40)])
def test_motion_blur_equals_scipy_with_reflection(shape):
    """One shape is shorter than the kernel and needs repeated reflection."""
    degradation, x = MotionBlur(LinearSeverity(0, 24), angle=60), images(2, 3, *shape)
    t = torch.tensor([0.5, 1.0], dtype=torch.float64)
    expected = torch.stack(
        [
            torch.stack([torch.from_numpy(convolve(plane.numpy(), kernel.numpy(), mode="mirror")) for plane in image])
            for image, kernel in zip(x, degradation.kernel(24 * t), strict=True)
        ]
    )
    assert torch.allclose(degradation(x, t), expected)


# colour quantisation


def staircase(levels=4, exponents=(1.0, 8.0), low=-0.4, high=1.4, n=3001):
    x = torch.linspace(low, high, n, dtype=torch.float64)
    degradation = ColourQuantisation(LinearSeverity(*exponents), levels=levels)
    y = degradation(x.reshape(1, 1, 1, n).expand(len(TIMES), -1, -1, -1), TIMES)
    return x, y.reshape(len(TIMES), n)


@pytest.mark.parametrize("levels", [2, 4, 5])
def test_staircase_is_increasing_and_keeps_levels(levels):
    x, y = staircase(levels)
    assert (y.diff(dim=1) > -1e-15).all()
    away = (((levels - 1) * x).round() - (levels - 1) * x).abs() > 0.05
    assert (y.diff(dim=1)[:, away[1:] & away[:-1]] > 0).all()
    exact = torch.arange(-1, levels + 1, dtype=torch.float64) / (levels - 1)
    degradation = ColourQuantisation(LinearSeverity(1, 8), levels=levels)
    assert torch.allclose(degradation(exact.reshape(1, 1, 1, -1), 1.0).flatten(), exact, atol=1e-15)


def test_distortion_of_every_value_grows_towards_its_nearest_level():
    x, y = staircase()
    assert ((y - x).abs().diff(dim=0) >= -1e-15).all()
    level = (3 * x).round() / 3
    assert ((y - level).abs().diff(dim=0) <= 1e-15).all()
    assert ((y[-1] - level).abs() < 0.02).double().mean() > 0.65


def test_staircase_has_the_stated_form_and_slope():
    degradation = ColourQuantisation(LinearSeverity(1, 6), levels=3)
    x = torch.tensor([0.5 + 0.1, 0.75 - 1e-9, 0.75 + 1e-9], dtype=torch.float64).requires_grad_()
    y = degradation(x.reshape(1, 1, 1, 3), 1.0).flatten()
    assert y[0].item() == pytest.approx(0.5 + 0.4**6 / 4)
    y.sum().backward()
    assert x.grad[1:].tolist() == pytest.approx([6, 6], rel=1e-6)


def test_quantisation_has_a_transition():
    """The formula of A_t also maps A_s x to A_t x."""
    degradation, x = ColourQuantisation(LinearSeverity(1, 8)), images(2, 3, 16, 16) * 1.4 - 0.2
    for s, t in ((0.1, 0.3), (0.5, 1.0)):
        ratio = torch.tensor((1 + 7 * t) / (1 + 7 * s), dtype=torch.float64)
        assert torch.allclose(degradation.apply(degradation(x, s), ratio), degradation(x, t), atol=1e-8)


# Fourier undersampling


@pytest.mark.parametrize("n", [1, 2, 5, 16, 33, 256])
def test_fraction_of_missing_lines_is_the_severity(n):
    degradation = FourierUndersampling(LinearSeverity(0, 0.75), seed=3)
    mask = degradation.mask(0.75 * TIMES, n)
    lines = torch.tensor([1 if 2 * k % n == 0 else 2 for k in range(n // 2 + 1)])
    assert lines.sum() == n and mask.min() >= 0 and mask.max() <= 1
    missing = ((1 - mask) * lines).sum(1)
    assert torch.allclose(missing, (0.75 * TIMES * n).clamp(max=n - 1))
    assert ((mask > 0) & (mask < 1)).sum(1).max() <= 1


def test_removed_lines_stay_removed_and_the_centre_remains():
    mask = FourierUndersampling(LinearSeverity(0, 0.92), 256).mask(0.92 * TIMES, 256)
    assert (mask.diff(dim=0) <= 0).all()
    assert (mask[:, :10] == 1).all() and (mask[-1, 10:] == 0).sum() >= 117


def test_lines_are_removed_in_seeded_order_with_high_frequencies_first():
    def missing(seed):
        return 1 - FourierUndersampling(LinearSeverity(0, 0.75), seed=seed).mask(torch.tensor([0.25, 0.9]), 256)

    assert torch.equal(missing(1), missing(1)) and not torch.equal(missing(1), missing(2))
    frequency = torch.arange(129.0)
    early = torch.stack([missing(seed)[0] for seed in range(20)])
    late = torch.stack([missing(seed)[1] for seed in range(20)]) - early
    means = [(part * frequency).sum(1) / part.sum(1) for part in (early, late)]
    assert (means[0] > means[1]).all()


@pytest.mark.parametrize("shape", [(16, 11), (15, 8)])
def test_undersampling_applies_the_mask_to_rows_only(shape):
    degradation, x = FourierUndersampling(LinearSeverity(0, 0.75), seed=1), images(2, 3, *shape)
    t = torch.tensor([0.3, 0.8], dtype=torch.float64)
    n = shape[0]
    half = degradation.mask(0.75 * t, n)
    mask = torch.stack([half[:, min(k, n - k)] for k in range(n)], 1)
    expected = torch.fft.ifft(torch.fft.fft(x, dim=-2) * mask[:, None, :, None], dim=-2)
    assert expected.imag.abs().max() < 1e-12
    assert torch.allclose(degradation(x, t), expected.real)


def test_bad_arguments_are_refused():
    for family, severity, options in (
        (SuperResolution, LinearSeverity(0.5, 4), {}),
        (ColourQuantisation, LinearSeverity(1, 4), {"levels": 2.5}),
        (FourierUndersampling, LinearSeverity(0, 0.95), {}),
        (MotionBlur, LinearSeverity(0, 4), {"angle": math.nan}),
    ):
        with pytest.raises(ValueError, match="must"):
            family(severity, **options)
