"""Preconditioning in pixels: masked pixels are estimated from those around them."""

import pytest
import torch
from test_posterior import pair, process_of

from diracdiff.data import Photos
from diracdiff.models import OperatorPreconditioning
from diracdiff.models.interpolation import FINEST, smoothed
from diracdiff.models.preconditioning import DATA_MEAN, DATA_STD
from diracdiff.noise import GeometricNoise

MASKS = ["inpainting", "box", "freeform"]


def known(size=(24, 31)):
    """Precisions of which half are 0, and all in a square."""
    precision = 400 * (torch.rand(2, 3, *size) > 0.5).float()
    precision[..., 8:14, 10:16] = 0
    return precision


def tree(image, precision):
    """The exact mean and variance of the leaves of a tree of 2 x 2 pixels, by linear algebra."""
    root, leaf = 1.0, FINEST
    covariance = root + leaf * torch.eye(4, dtype=torch.float64)
    after = torch.linalg.inv(torch.linalg.inv(covariance) + torch.diag(precision.flatten().double()))
    return (after @ (precision * image).flatten().double()), after.diagonal()


def test_two_by_two_pixels_are_nearly_those_of_a_tree():
    precision = torch.tensor([[50.0, 0.0], [0.0, 20.0]]).expand(1, 1, 2, 2)
    image = torch.tensor([[0.5, 0.0], [0.0, 0.3]]).expand(1, 1, 2, 2)
    mean, variance = smoothed(precision * image, precision)
    exact, left = tree(image, precision)
    assert mean.flatten().tolist() == pytest.approx(exact.tolist(), abs=0.03)
    assert variance.flatten().tolist() == pytest.approx(left.tolist(), rel=0.3)


@pytest.mark.parametrize("size", [(24, 31), (1, 7), (16, 16), (1, 1), (5, 64)])
def test_where_all_that_is_known_is_the_same_all_is(size):
    precision = 400 * (torch.rand(2, 3, *size) > 0.5).float()
    precision[..., 0, 0] = 400
    mean, variance = smoothed(0.3 * precision, precision)
    assert mean.shape == variance.shape == precision.shape
    assert mean.max() <= 0.3 + 1e-6 and mean.min() > 0.28
    assert variance.min() > 0 and variance[precision > 0].max() <= 1 / 400


def test_where_nothing_is_known_there_is_the_prior():
    zeros = torch.zeros(1, 3, 12, 9)
    mean, variance = smoothed(zeros, zeros)
    assert torch.equal(mean, zeros) and variance.min() >= 1 and variance.max() < 2


def test_a_ramp_goes_on_in_a_hole():
    precision = torch.full((1, 1, 32, 32), 400.0)
    precision[..., 12:20, 12:20] = 0
    ramp = (torch.arange(32.0) / 32).expand(1, 1, 32, 32) - 0.5
    mean, variance = smoothed(precision * ramp, precision)
    assert (mean - ramp).abs().max() < 0.1  # of a rise of 0.25
    inside = variance[0, 0, 12:20, 12:20]
    assert inside[3:5, 3:5].min() > inside[0, 0] > 5 * variance[0, 0, 0, 0]


def test_it_is_linear_and_images_do_not_mix():
    precision, (a, b) = known(), torch.rand(2, 2, 3, 24, 31)
    both = smoothed(precision * (2 * a - b), precision)[0]
    parts = [smoothed(precision * part, precision)[0] for part in (a, b)]
    assert torch.allclose(both, 2 * parts[0] - parts[1], atol=1e-5)
    alone = [smoothed((precision * a)[i : i + 1], precision[i : i + 1])[0] for i in range(2)]
    assert torch.equal(torch.cat(alone), parts[0])


@pytest.mark.parametrize("given", [False, True])
@pytest.mark.parametrize("name", MASKS)
def test_an_untrained_network_fills_holes_of_photographs(name, given):
    process, images = process_of(name, 0.02, 64), Photos(64).split("val")
    x = torch.stack([images[i]["x"] for i in range(16)])
    y, t = process.measure(x, torch.randn_like(x)), torch.ones(16)
    hidden = (process.mean(torch.ones_like(x), 1.0) < 0.01).expand_as(x)
    mse = {}
    for interpolate in (False, True):
        _, scaled = OperatorPreconditioning(interpolate=interpolate)(process, y, t, y if given else None)
        mse[interpolate] = (scaled.x_hat(torch.zeros_like(x)) - x)[hidden].square().mean().item()
    assert mse[True] < 0.5 * mse[False]


@pytest.mark.parametrize("name", MASKS)
def test_the_variance_is_that_of_photographs(name):
    process, images = process_of(name, 0.02, 64), Photos(64).split("val")
    x = torch.stack([images[i]["x"] for i in range(16)])
    y = process.sample_joint(x, 1.0, *torch.randn(2, *x.shape))
    _, scaled = OperatorPreconditioning(interpolate=True)(process, y, torch.ones(16))
    left = (scaled.x_hat(torch.zeros_like(x)) - x).square() * scaled.precision
    hidden = (process.mean(torch.ones_like(x), 1.0) < 0.01).expand_as(x)
    for part in (hidden, ~hidden):
        assert 0.4 < left[part].mean() < 2.0


def test_what_is_known_exactly_is_left_to_the_measurement():
    process, x = process_of("box", 0.001, 32), torch.rand(2, 3, 32, 32)
    process.noise = GeometricNoise(0.001, 0.001)
    y = process.measure(x, torch.randn_like(x))
    _, scaled = OperatorPreconditioning(interpolate=True)(process, y, torch.ones(2), y)
    seen = (process.mean(torch.ones_like(x), 1.0) == 1).expand_as(x)
    assert (scaled.x_hat(torch.zeros_like(x)) - y).abs()[seen].max() < 0.002


@pytest.mark.parametrize("given", [False, True])
def test_the_network_sees_the_estimate_and_what_it_leaves(given):
    process, x = process_of("box", 0.02, 16), torch.rand(2, 3, 16, 16)
    y_1, y = pair(process, x, 0.7, 2)
    scales = OperatorPreconditioning(interpolate=True)
    images, scaled = scales(process, y, torch.full((2,), 0.7), y_1 if given else None)
    assert torch.allclose(DATA_MEAN + DATA_STD * images[:, :3], scaled.x_hat(torch.zeros_like(x)), atol=1e-6)
    assert images.shape[1] == (6 if given else 3)
    if given:
        assert torch.allclose(images[:, 3:] * DATA_STD, scaled.precision.rsqrt(), rtol=1e-5)


def test_bases_of_frequencies_are_left_alone():
    process = process_of("blur", 0.02, 16)
    y, t = torch.rand(2, 3, 16, 16), torch.ones(2)
    (a, first), (b, second) = (OperatorPreconditioning(3.0, i)(process, y, t, y) for i in (False, True))
    assert torch.equal(a, b) and torch.equal(first.estimate, second.estimate)
