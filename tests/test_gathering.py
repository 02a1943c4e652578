"""What an evaluation keeps of its images: features or their moments, within bounds, and a few numbers."""

import math
import pickle

import pytest
import torch

from diracdiff.evaluation import Evaluation
from diracdiff.metrics import FID, KID, PSNR, Reference
from diracdiff.metrics.feature_sets import SLACK, Moments, Sample
from diracdiff.metrics.fid import fid, fid_of_moments
from diracdiff.samplers import State
from diracdiff.utils.errors import UserError


def normal(n, d, seed=0):
    return torch.randn(n, d, generator=torch.Generator().manual_seed(seed)) * torch.linspace(1, 0.1, d)


def moments_of(features, sizes):
    found, start = Moments(), 0
    for size in sizes:
        part = slice(start, start + size)
        found.add([f"{i:05d}" for i in range(*part.indices(len(features)))], features[part])
        start += size
    return found


@pytest.mark.parametrize("n", [10, 16, 17, 300])
def test_fid_of_what_is_kept_is_fid(n):
    """Bit for bit where features are kept, and else up to rounding."""
    real, fake = normal(n, 16), normal(n, 16, seed=1) + 0.3
    expected = fid(real, fake)
    sizes = [7] * (n // 7) + [n % 7]
    found = fid_of_moments(moments_of(real, sizes), moments_of(fake, sizes))
    assert found == expected if n <= 16 else found == pytest.approx(expected, rel=1e-6)
    names, parts = [f"{i:05d}" for i in range(n)], [Moments(), Moments(), Moments()]
    for rank, part in enumerate(parts[:2]):
        part.add(names[rank::2], fake[rank::2])
    merged = fid_of_moments(moments_of(real, sizes), Moments.merged(parts))
    assert merged == expected if n <= 16 else merged == pytest.approx(expected, rel=1e-6)
    fake[n // 2, 3] = math.nan
    assert math.isnan(fid_of_moments(moments_of(real, sizes), moments_of(fake, sizes)))


def test_one_image_has_no_fid():
    with pytest.raises(UserError, match="at least 2 images"):
        fid_of_moments(moments_of(normal(1, 16), [1]), moments_of(normal(1, 16), [1]))


def test_a_sample_follows_from_the_names():
    features = normal(50, 4)
    names = [f"image{i}" for i in range(50)]
    whole, reverse, parts = Sample(20), Sample(20), [Sample(20), Sample(20), Sample(20)]
    whole.add(names, features)
    for i in reversed(range(50)):
        reverse.add([names[i]], features[i : i + 1])
    for rank, part in enumerate(parts[:2]):
        part.add(names[rank::2], features[rank::2])
    merged = Sample.merged(parts)
    assert len(whole) == 20 and whole.names() == reverse.names() == merged.names()
    assert torch.equal(whole.features(), reverse.features()) and torch.equal(whole.features(), merged.features())
    assert not set(whole.names()) <= set(names[:25])
    some = Sample(50)
    some.add(names, features)
    assert torch.equal(some.features(), features[[int(name.removeprefix("image")) for name in sorted(names)]])


def test_what_an_evaluation_keeps_does_not_grow_with_its_images():
    """Features of 400 and of 1600 images in 8 numbers, with a limit of 400; records take 8 bytes a value."""

    class Few:
        def features(self, images):
            return images.flatten(1)[:, :8].contiguous()

    def kept(n):
        metrics = [object.__new__(FID), object.__new__(KID)]
        for metric, name in zip(metrics, ("fid", "kid"), strict=True):
            metric.extractor, metric.name, metric.limit = Few(), name, 400
        evaluation = Evaluation([PSNR(), *metrics], gallery_size=2)
        for i in range(0, n, 10):
            x = torch.rand(10, 3, 4, 4)
            names = [f"{j:04d}" for j in range(i, i + 10)]
            evaluation.add(names, range(10), [State(1.0, x, x + 0.1, 1, True)], Reference(x))
        return len(pickle.dumps(evaluation._sets._sets)), len(pickle.dumps(evaluation.records)) / n, evaluation.finish()

    (few, _, _), (many, per_image, curve) = kept(400), kept(1600)
    assert abs(many - few) < (SLACK / 400 + 0.02) * few
    assert per_image < 2 * (8 + 8 + 8 + 16)
    assert all(row["n"] == 1600 and row["fid"] >= 0 for row in curve)
