"""Interpolation of masked pixels with a multiscale prior."""

from itertools import pairwise

import pytest
import torch
from test_posterior import process_of

from diracdiff.data import Photos
from diracdiff.metrics import Reference, Seams
from diracdiff.models import OperatorPreconditioning
from diracdiff.models.interpolation import detail_variances, interpolate
from diracdiff.noise import GeometricNoise

MASKS = ["inpainting", "box", "freeform"]


def crops():
    """Return the 16 validation crops of the cat photograph."""
    images = Photos(64).split("val")
    return torch.stack([image["x"] for image in map(images.__getitem__, range(32)) if "chelsea" in image["name"]])


@pytest.mark.parametrize("size", [(24, 31), (1, 7), (16, 16), (1, 1), (5, 64)])
def test_a_constant_image_is_reproduced(size):
    precision = 400 * (torch.rand(2, 3, *size) > 0.5).float()
    precision[..., 0, 0] = 400
    mean, variance = interpolate(0.3 * precision, precision, 3.0, 16)
    assert mean.shape == variance.shape == precision.shape
    assert mean.max() <= 0.3 + 1e-6 and mean.min() > (0.28 if size[0] > 1 else 0.2)
    assert variance.min() > 0 and variance[precision > 0].max() <= 1 / 400


def test_without_observations_the_estimate_is_the_prior():
    zeros = torch.zeros(1, 3, 16, 16)
    mean, variance = interpolate(zeros, zeros, 3.0, 16)
    assert torch.equal(mean, zeros) and torch.allclose(variance, torch.full_like(zeros, 2.0))


def test_detail_variances_double_per_scale_and_sum_to_one():
    variances = detail_variances(64, 3.0, 64)
    assert sum(variances) == pytest.approx(1) and len(variances) == 6
    assert all(b / a == pytest.approx(2) for a, b in pairwise(variances))
    assert detail_variances(256, 3.0, 64)[:6] == variances and detail_variances(256, 3.0, 64)[-1] == variances[-1]


def test_a_ramp_continues_in_a_masked_region():
    precision = torch.full((1, 1, 32, 32), 400.0)
    precision[..., 12:20, 12:20] = 0
    ramp = (torch.arange(32.0) / 32).expand(1, 1, 32, 32) - 0.5
    mean, variance = interpolate(precision * ramp, precision, 3.0, 32)
    assert (mean - ramp).abs().max() < 0.1  # the ramp rises by 0.25 in the masked region
    inside = variance[0, 0, 12:20, 12:20]
    assert inside[3:5, 3:5].min() > inside[0, 0] > 5 * variance[0, 0, 0, 0]


def test_interpolation_is_linear_and_does_not_mix_images():
    precision, (a, b) = 400 * (torch.rand(2, 1, 24, 31) > 0.5).float(), torch.rand(2, 2, 3, 24, 31)
    both = interpolate(precision * (2 * a - b), precision, 3.0, 32)[0]
    parts = [interpolate(precision * part, precision, 3.0, 32)[0] for part in (a, b)]
    assert torch.allclose(both, 2 * parts[0] - parts[1], atol=1e-5)
    alone = [interpolate((precision * a)[i : i + 1], precision[i : i + 1], 3.0, 32)[0] for i in range(2)]
    assert torch.equal(torch.cat(alone), parts[0])


@pytest.mark.parametrize("shift", [1, 5, 8])
def test_interpolation_is_equivariant_to_translation(shift):
    image, precision = torch.rand(2, 1, 1, 128, 128) * torch.tensor([1.0, 400.0]).view(2, 1, 1, 1, 1)
    mean = interpolate(precision * image, precision, 3.0, 8)[0]
    shifted = interpolate(*(part.roll((shift, shift), (-2, -1)) for part in (precision * image, precision)), 3.0, 8)[0]
    inside = slice(60, 68)
    assert torch.allclose(
        mean[..., inside, inside], shifted.roll((-shift, -shift), (-2, -1))[..., inside, inside], atol=0.02
    )


@pytest.mark.parametrize("conditioned", [False, True])
@pytest.mark.parametrize("name", MASKS)
def test_an_untrained_network_fills_masked_regions_of_photographs_without_seams(name, conditioned):
    process, x = process_of(name, 0.02, 64), crops()
    y, t = process.measure(x, torch.randn_like(x)), torch.ones(16)
    hidden = (process.mean(torch.ones_like(x), 1.0) < 0.01).expand_as(x)
    mse = {}
    for exponent in (0.0, 3.0):
        _, linear = OperatorPreconditioning(exponent)(process, y, t, y if conditioned else None)
        x_hat = linear.x_hat(torch.zeros_like(x))
        mse[exponent] = (x_hat - x)[hidden].square().mean().item()
    assert mse[3.0] < 0.5 * mse[0.0]
    assert Seams()(x_hat, Reference(x, y, process)).mean() < 1.05


@pytest.mark.parametrize("t", [0.2, 0.6, 1.0])
@pytest.mark.parametrize("name", MASKS)
def test_the_variance_predicts_the_error_on_photographs(name, t):
    process, x = process_of(name, 0.02, 64), crops()
    y = process.sample_joint(x, t, *torch.randn(2, *x.shape))
    _, linear = OperatorPreconditioning(3.0)(process, y, torch.full((16,), t))
    error = (linear.x_hat(torch.zeros_like(x)) - x).square() * linear.precision
    hidden = (process.mean(torch.ones_like(x), t) < 0.01).expand_as(x)
    for part in (hidden, ~hidden):
        assert not part.any() or 0.4 < error[part].mean() < 2.0


def test_precisely_observed_pixels_are_kept():
    process, x = process_of("box", 0.001, 32), torch.rand(2, 3, 32, 32)
    process.noise = GeometricNoise(0.001, 0.001)
    y = process.measure(x, torch.randn_like(x))
    _, linear = OperatorPreconditioning(3.0)(process, y, torch.ones(2), y)
    seen = (process.mean(torch.ones_like(x), 1.0) == 1).expand_as(x)
    assert (linear.x_hat(torch.zeros_like(x)) - y).abs()[seen].max() < 0.002
