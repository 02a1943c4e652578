"""The sliced Wasserstein distance, which needs no weights."""

from itertools import pairwise

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from diracdiff.evaluation import find_stopping_points, stopping_point_for
from diracdiff.evaluation.stopping import StoppingPoint
from diracdiff.metrics import SWD
from diracdiff.metrics.swd import DIRECTIONS, PATCH, PATCHES, laplacian_pyramid, swd
from diracdiff.utils.errors import UserError

METRIC = SWD()


def smooth(count, size=32, seed=0):
    coarse = torch.rand(count, 3, size // 4, size // 4, generator=torch.Generator().manual_seed(seed))
    return F.interpolate(coarse, (size, size), mode="bicubic").clamp(0, 1)


def score(clean, restored):
    return METRIC.score(*(METRIC.extractor.features(images) for images in (clean, restored)), 0)


def test_it_is_zero_for_the_same_images_and_grows_with_noise_and_blur():
    x = smooth(12)
    noisy = [score(x, x + sigma * torch.randn_like(x)) for sigma in (0.0, 0.01, 0.03, 0.1)]
    blurred = [score(x, F.avg_pool2d(F.pad(x, (k, k, k, k), mode="reflect"), 2 * k + 1, 1)) for k in (0, 1, 2, 4)]
    for distances in (noisy, blurred):
        assert distances[0] == 0 and all(a < b for a, b in pairwise(distances))
    assert score(x, smooth(12, seed=1)) < score(x, torch.rand_like(x))


def test_it_is_a_distance_of_sets_not_of_pairs():
    x = smooth(40, 16)
    assert score(x, x.flip(0)) == 0
    assert score(x, x[:1].expand(40, -1, -1, -1)) > 0.2 * score(x, torch.full_like(x, 0.5))


def test_it_is_what_its_definition_says():
    """One level, with NumPy: standardise, project, sort, compare."""
    x, y = smooth(6, 12), smooth(6, 12, seed=3)
    features = [METRIC.extractor.features(images) for images in (x, y)]
    assert features[0].shape == (6, 1, PATCHES, PATCH**2 * 3)
    real, fake = (f.reshape(-1, PATCH**2 * 3).double().numpy() for f in features)
    mean, spread = real.mean(0), real.std(0, ddof=1)
    directions = torch.randn(real.shape[1], DIRECTIONS, generator=torch.Generator().manual_seed(0)).double().numpy()
    directions /= np.linalg.norm(directions, axis=0)
    lines = [np.sort((patches - mean) / spread @ directions, axis=0) for patches in (real, fake)]
    assert swd(*features) == pytest.approx(1000 * np.abs(lines[0] - lines[1]).mean(), rel=1e-4)


def test_patches_are_cut_out_of_the_image():
    x = smooth(2, 12)
    found = METRIC.extractor.features(x)[0, 0].float()
    windows = x[0].unfold(1, PATCH, 1).unfold(2, PATCH, 1).permute(1, 2, 3, 4, 0).reshape(-1, PATCH**2 * 3)
    distance = torch.cdist(found, windows).min(1).values
    assert distance.max() < 0.02 and len(torch.cdist(found, windows).argmin(1).unique()) > 10


@pytest.mark.parametrize(("size", "levels"), [((64, 64), 3), ((33, 47), 3), ((25, 25), 3), ((24, 24), 2), ((7, 9), 1)])
def test_a_pyramid_adds_up_to_the_image(size, levels):
    x = torch.rand(2, 3, *size)
    bands = laplacian_pyramid(x)
    assert len(bands) == levels
    flat = laplacian_pyramid(torch.full((1, 3, *size), 0.7))
    assert all((band[..., 2:-2, 2:-2].abs() < 1e-5).all() for band in flat[:-1])
    assert torch.allclose(flat[-1], torch.full_like(flat[-1], 0.7))
    if levels > 1:
        assert bands[0].std() < x.std()


def test_an_image_does_not_depend_on_its_batch():
    x = smooth(5)
    together = METRIC.extractor.features(x)
    alone = torch.cat([METRIC.extractor.features(image[None]) for image in x])
    assert (together.float() - alone.float()).abs().max() < 2e-3


def test_broken_and_unlike_images():
    x = smooth(2)
    broken = x.clone()
    broken[0, 0, 0, 0] = torch.nan
    assert np.isnan(score(x, broken))
    with pytest.raises(UserError, match="SWD needs images of at least 7 pixels a side"):
        METRIC.extractor.features(torch.rand(1, 3, 6, 9))
    with pytest.raises(ValueError, match="patches must both be"):
        swd(METRIC.extractor.features(x), METRIC.extractor.features(x[:1]))
    grey = x.mean(1, keepdim=True)
    assert score(grey, grey) == 0


def test_it_has_a_stop_of_its_own():
    curve = [
        {"t": t, "output": "mean", "nfe": n, "psnr": psnr, "swd": value}
        for n, (t, psnr, value) in enumerate([(1.0, 28.0, 80.0), (0.9, 29.0, 70.0), (0.3, 27.0, 40.0)], start=1)
    ]
    stops = find_stopping_points(curve, [METRIC])
    assert stops["swd"] == StoppingPoint(0.3, "mean") and stops["lpips"] is None
    assert stopping_point_for("swd", stops, curve) == StoppingPoint(0.3, "mean")
    assert (METRIC.stop_key(), METRIC.stop_name(), METRIC.stop_title()) == ("swd", "SWD", "best SWD")
