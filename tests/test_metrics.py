"""Metrics of single images and of sets, features, and samples of images in an evaluation."""

import hashlib
from itertools import pairwise

import numpy as np
import pytest
import torch
from conftest import TORCH_HOME, needs_lpips
from skimage.metrics import structural_similarity
from torch.nn import functional as F

import diracdiff.metrics.features
from diracdiff.evaluation import Evaluation
from diracdiff.evaluation.records import FeatureSample
from diracdiff.metrics import FID, KID, LPIPS, PSNR, SSIM, SWD, Reference, sort_metrics
from diracdiff.metrics.features import Extractor
from diracdiff.metrics.fid import fid, kid
from diracdiff.metrics.swd import DIRECTIONS, PATCH, PATCHES, laplacian_pyramid, swd
from diracdiff.samplers import State

# single images


def test_psnr_is_per_image_and_clipped():
    clean = torch.rand(2, 3, 32, 32) * 0.5
    restored = clean + torch.tensor([0.1, 0.01]).reshape(2, 1, 1, 1)
    assert PSNR()(restored, Reference(clean)).tolist() == pytest.approx([20, 40], abs=1e-3)
    assert PSNR()(torch.full_like(clean, 7.0), Reference(torch.ones_like(clean))).min() > 80
    outside = 3 * torch.rand_like(clean) - 1
    assert torch.equal(SSIM()(outside, Reference(clean)), SSIM()(outside.clamp(0, 1), Reference(clean)))


def test_ssim_equals_skimage():
    clean, restored = torch.rand(2, 3, 40, 32), torch.rand(2, 3, 40, 32)
    values = SSIM()(restored, Reference(clean))
    for i in range(2):
        a, b = (np.asarray(v[i].permute(1, 2, 0), dtype=np.float64) for v in (clean, restored))
        options = dict(gaussian_weights=True, sigma=1.5, use_sample_covariance=False, data_range=1.0, channel_axis=2)
        _, full = structural_similarity(a, b, full=True, **options)
        assert values[i].item() == pytest.approx(full[5:-5, 5:-5].mean(), abs=1e-4)


@needs_lpips
def test_lpips_is_named_by_its_backbone_and_equals_the_package(torch_home):
    from lpips import LPIPS as Network

    clean, restored = torch.rand(2, 3, 64, 64), torch.rand(2, 3, 64, 64)
    metric = LPIPS.if_available("squeeze")
    assert metric.name == "lpips_squeeze"
    with torch.no_grad():
        expected = Network(net="squeeze", verbose=False)(restored * 2 - 1, clean * 2 - 1).flatten()
    assert torch.allclose(metric(restored, Reference(clean)), expected, atol=1e-6)


def test_lpips_without_weights_is_skipped_with_a_warning(without_weights, capsys):
    assert LPIPS.if_available("vgg") is None and LPIPS.if_available(None) is None
    (line,) = capsys.readouterr().err.splitlines()
    assert "vgg16-397923af.pth" in line and "no t_PO" in line


def test_metrics_have_full_precision_under_autocast():
    clean, restored = torch.rand(2, 3, 32, 32), torch.rand(2, 3, 32, 32)
    for metric in (PSNR(), SSIM()):
        expected = metric(restored, Reference(clean))
        with torch.autocast("cpu", dtype=torch.bfloat16):
            assert torch.equal(metric(restored, Reference(clean)), expected)


def test_unknown_backbones_and_small_images_are_refused():
    with pytest.raises(ValueError, match="lpips=resnet: must be one of"):
        LPIPS.if_available("resnet")
    with pytest.raises(ValueError, match="SSIM needs at least 11 pixels a side, got 8"):
        SSIM()(torch.rand(1, 3, 8, 12), Reference(torch.rand(1, 3, 8, 12)))


# sliced Wasserstein distance

SLICED = SWD()


def smooth(count, size=32, seed=0):
    coarse = torch.rand(count, 3, size // 4, size // 4, generator=torch.Generator().manual_seed(seed))
    return F.interpolate(coarse, (size, size), mode="bicubic").clamp(0, 1)


def sliced(clean, restored):
    return SLICED.score(*(SLICED.extractor.features(images) for images in (clean, restored)), 0)


def test_swd_is_zero_for_equal_images_and_grows_with_noise_and_blur():
    x = smooth(12)
    noisy = [sliced(x, x + sigma * torch.randn_like(x)) for sigma in (0.0, 0.01, 0.03, 0.1)]
    blurred = [sliced(x, F.avg_pool2d(F.pad(x, (k, k, k, k), mode="reflect"), 2 * k + 1, 1)) for k in (0, 1, 2, 4)]
    for distances in (noisy, blurred):
        assert distances[0] == 0 and all(a < b for a, b in pairwise(distances))
    assert sliced(x, smooth(12, seed=1)) < sliced(x, torch.rand_like(x))


def test_swd_compares_sets_not_pairs():
    x = smooth(40, 16)
    assert sliced(x, x.flip(0)) == 0
    assert sliced(x, x[:1].expand(40, -1, -1, -1)) > 0.2 * sliced(x, torch.full_like(x, 0.5))


def test_swd_equals_its_definition():
    """One level with NumPy: standardise, project, sort and compare."""
    x, y = smooth(6, 12), smooth(6, 12, seed=3)
    features = [SLICED.extractor.features(images) for images in (x, y)]
    assert features[0].shape == (6, 1, PATCHES, PATCH**2 * 3)
    real, fake = (f.reshape(-1, PATCH**2 * 3).double().numpy() for f in features)
    mean, spread = real.mean(0), real.std(0, ddof=1)
    directions = torch.randn(real.shape[1], DIRECTIONS, generator=torch.Generator().manual_seed(0)).double().numpy()
    directions /= np.linalg.norm(directions, axis=0)
    lines = [np.sort((patches - mean) / spread @ directions, axis=0) for patches in (real, fake)]
    assert swd(*features) == pytest.approx(1000 * np.abs(lines[0] - lines[1]).mean(), rel=1e-4)


def test_patches_are_windows_of_the_image():
    x = smooth(2, 12)
    features = SLICED.extractor.features(x)[0, 0].float()
    windows = x[0].unfold(1, PATCH, 1).unfold(2, PATCH, 1).permute(1, 2, 3, 4, 0).reshape(-1, PATCH**2 * 3)
    distance = torch.cdist(features, windows).min(1).values
    assert distance.max() < 0.02 and len(torch.cdist(features, windows).argmin(1).unique()) > 10


@pytest.mark.parametrize(("size", "levels"), [((64, 64), 3), ((33, 47), 3), ((25, 25), 3), ((24, 24), 2), ((7, 9), 1)])
def test_laplacian_pyramid_separates_scales(size, levels):
    x = torch.rand(2, 3, *size)
    bands = laplacian_pyramid(x)
    assert len(bands) == levels
    flat = laplacian_pyramid(torch.full((1, 3, *size), 0.7))
    assert all((band[..., 2:-2, 2:-2].abs() < 1e-5).all() for band in flat[:-1])
    assert torch.allclose(flat[-1], torch.full_like(flat[-1], 0.7))
    if levels > 1:
        assert bands[0].std() < x.std()


def test_swd_of_nan_and_of_unequal_shapes():
    x = smooth(2)
    with_nan = x.clone()
    with_nan[0, 0, 0, 0] = torch.nan
    assert np.isnan(sliced(x, with_nan))
    with pytest.raises(ValueError, match="SWD needs at least 7 pixels a side"):
        SLICED.extractor.features(torch.rand(1, 3, 6, 9))
    with pytest.raises(ValueError, match="patches: must both have"):
        swd(SLICED.extractor.features(x), SLICED.extractor.features(x[:1]))
    grey = x.mean(1, keepdim=True)
    assert sliced(grey, grey) == 0


# FID and KID

FEATURES = 16


def gaussian(n: int, d: int = FEATURES, shift: float = 0.0) -> torch.Tensor:
    """Features with a decaying spectrum."""
    return torch.randn(n, d) * torch.linspace(1, 0.01, d) + shift


def with_moments(mean: torch.Tensor, covariance: torch.Tensor, n: int = 60) -> torch.Tensor:
    """Features with an exact sample mean and sample covariance."""
    orthonormal = torch.linalg.qr(torch.cat([torch.ones(n, 1), torch.randn(n, len(mean))], 1).double())[0][:, 1:]
    return (n - 1) ** 0.5 * orthonormal @ torch.linalg.cholesky(covariance).T + mean


def fid_by_singular_values(real: torch.Tensor, fake: torch.Tensor) -> float:
    """FID without a matrix square root: tr (S_1 S_2)^(1/2) is the nuclear norm of X_1 X_2^T for centred, scaled X."""
    means = [features.double().mean(0) for features in (real, fake)]
    x, y = ((f.double() - m) / (len(f) - 1) ** 0.5 for f, m in zip((real, fake), means, strict=True))
    overlap = torch.linalg.svdvals(x @ y.T).sum()
    return (((means[0] - means[1]) ** 2).sum() + (x**2).sum() + (y**2).sum() - 2 * overlap).item()


def test_fid_of_known_gaussians():
    """The covariances do not commute."""
    a, b = (torch.randn(FEATURES, FEATURES).double() for _ in range(2))
    covariances = [a @ a.T + 0.1 * torch.eye(FEATURES), b @ b.T + 0.1 * torch.eye(FEATURES)]
    mean = torch.randn(FEATURES).double()
    root = torch.linalg.eigvals(covariances[0] @ covariances[1]).sqrt().real.sum()
    expected = (mean**2).sum() + covariances[0].trace() + covariances[1].trace() - 2 * root
    real, fake = (with_moments(m, c) for m, c in zip((0 * mean, mean), covariances, strict=True))
    assert fid(real, fake) == pytest.approx(expected.item(), rel=1e-6)


@pytest.mark.parametrize("counts", [(5, 5), (2, 40), (40, 12)])
def test_fid_of_fewer_images_than_features(counts):
    real, fake = gaussian(counts[0], 64), gaussian(counts[1], 64, shift=0.1)
    assert fid(real, fake) == pytest.approx(fid_by_singular_values(real, fake), rel=1e-5)


@pytest.mark.parametrize("n", [5, 200])
def test_fid_of_a_set_with_itself_is_zero_and_not_less(n):
    features = gaussian(n, 64)
    assert 0 <= fid(features, features) < 1e-4
    assert 0 <= fid(features, features.flip(0)) < 1e-4


def test_kid_is_unbiased_and_grows_with_the_distance():
    same = torch.tensor([kid(gaussian(30), gaussian(30)) for _ in range(100)])
    assert same.mean().abs() < 4 * same.std() / 10
    assert same.min() < 0 < same.max()
    real, fake = gaussian(30), gaussian(30)
    assert 10 * same.std() < kid(real, fake + 0.5) < kid(real, fake + 1.0)


def test_kid_equals_its_definition():
    real, fake = gaussian(20).double(), gaussian(20, shift=0.5).double()

    def kernel(a, b):
        return ((a @ b.T) / FEATURES + 1) ** 3

    within = sum((kernel(a, a).sum() - kernel(a, a).trace()) / (20 * 19) for a in (real, fake))
    expected = (within - 2 * kernel(real, fake).mean()).item()
    assert kid(real, fake) == pytest.approx(expected, rel=1e-9)
    assert kid(real, fake[torch.randperm(20)], seed=2) == pytest.approx(expected, rel=1e-9)


def test_kid_of_unequal_sets_is_the_mean_over_seeded_subsets():
    from torch_fidelity.metric_kid import kid_features_to_metric

    real, fake = gaussian(25), gaussian(20, shift=0.5)
    assert kid(real, fake, seed=1) == kid(real, fake, seed=1) != kid(real, fake, seed=2)
    options = dict(kid_subset_size=20, kid_subsets=100, rng_seed=1, verbose=False)
    expected = kid_features_to_metric(real.double(), fake.double(), **options)["kernel_inception_distance_mean"]
    assert kid(real, fake, seed=1) == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("distance", [fid, kid])
def test_invalid_sets_have_no_distance(distance, capfd):
    with pytest.raises(ValueError, match="at least 2 images in each set, got 1 and 5"):
        distance(gaussian(1), gaussian(5))
    with pytest.raises(ValueError, match=r"got \(5, 16\) and \(5, 8\)"):
        distance(gaussian(5), gaussian(5, 8))
    with_nan = gaussian(5)
    with_nan[2] = float("nan")
    assert distance(gaussian(5), with_nan) != distance(gaussian(5), with_nan)
    distance(gaussian(5), gaussian(6))
    assert capfd.readouterr() == ("", "")


@pytest.fixture
def squeezenet(torch_home):
    return Extractor("squeezenet")


@needs_lpips
def test_features_do_not_depend_on_the_batch(squeezenet):
    images = torch.rand(7, 3, 40, 32)
    features = squeezenet.features(images)
    assert features.shape == (7, 512) and features.dtype == torch.float32 and not features.requires_grad
    singles = torch.cat([squeezenet.features(image[None]) for image in images])
    assert (features - singles).norm(dim=1).max() < 1e-5 * features.norm(dim=1).min()
    assert (features[0] - features[1]).norm() > 0.01 * features[0].norm()
    images[0, 0, 0, 0] = float("nan")
    with_nan = squeezenet.features(images)
    assert with_nan[0].isnan().all() and torch.equal(with_nan[1:], features[1:])


@needs_lpips
def test_features_are_computed_from_8_bit_pixels(squeezenet):
    outside = 3 * torch.rand(2, 3, 32, 32) - 1
    saved = outside.clamp(0, 1).mul(255).round() / 255
    expected = squeezenet.features(saved)
    assert torch.equal(squeezenet.features(outside), expected)
    assert torch.equal(squeezenet.features(saved.double()), expected)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(squeezenet.features(saved), expected)


@needs_lpips
def test_features_equal_torchvision(squeezenet):
    from torchvision.models import SqueezeNet1_1_Weights, squeezenet1_1

    network = squeezenet1_1().eval()
    network.load_state_dict(torch.load(TORCH_HOME / "hub/checkpoints/squeezenet1_1-b8a52dc0.pth"))
    pixels = torch.randint(256, (2, 3, 64, 64), dtype=torch.uint8)
    prepare = SqueezeNet1_1_Weights.IMAGENET1K_V1.transforms(crop_size=64, resize_size=64)
    with torch.no_grad():
        expected = network.features(prepare(pixels)).mean((2, 3))
    assert torch.allclose(squeezenet.features(pixels / 255), expected, atol=1e-5)


@needs_lpips
def test_fid_and_kid_share_an_extractor(squeezenet):
    metrics = FID("squeezenet"), KID("squeezenet")
    assert metrics[0].extractor == metrics[1].extractor
    assert len({metric.extractor for metric in sort_metrics(metrics)}) == 1
    assert metrics[0].extractor is metrics[1].extractor
    real, fake = gaussian(25), gaussian(20, shift=0.5)
    assert [metric.score(real, fake, 3) for metric in metrics] == [fid(real, fake), kid(real, fake, seed=3)]
    assert FID.if_requested(None) is None and KID.if_requested(None) is None
    assert FID.if_requested("squeezenet").name == "fid_squeezenet"


@needs_lpips
def test_an_extractor_keeps_the_generator_state_and_refuses_invalid_images(torch_home):
    state = torch.get_rng_state()
    squeezenet = Extractor("squeezenet")
    assert torch.equal(torch.get_rng_state(), state)
    with pytest.raises(ValueError, match="must have 3 channels"):
        squeezenet.features(torch.rand(2, 1, 32, 32))
    with pytest.raises(ValueError, match="at least 17 pixels"):
        squeezenet.features(torch.rand(2, 3, 32, 16))
    squeezenet.features(torch.rand(2, 3, 17, 17))


def test_missing_weights_are_named(without_weights):
    with pytest.raises(ValueError, match=r"fid=inception .*weights-inception-2015-12-05-6726825d\.pth into .*hub/"):
        Extractor("inception")


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("inception", b"no weights", "must be the published file"),
        ("squeezenet", b"no weights", "must hold the weights of squeezenet"),
        ("squeezenet", {"weight": torch.zeros(1)}, "must hold the weights of squeezenet"),
    ],
)
def test_bad_weights_are_refused(name, content, message, tmp_path, monkeypatch):
    """Weights are read from the folder of torch hub."""
    files = {"inception": "weights-inception-2015-12-05-6726825d.pth", "squeezenet": "squeezenet1_1-b8a52dc0.pth"}
    path = tmp_path / "hub/checkpoints" / files[name]
    path.parent.mkdir(parents=True)
    path.write_bytes(content) if isinstance(content, bytes) else torch.save(content, path)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    with pytest.raises(ValueError, match=message) as error:
        Extractor(name)
    assert "\n" not in str(error.value)


def test_inception_reads_its_file(monkeypatch, tmp_path):
    """Random weights replace the published ones."""
    from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3

    with monkeypatch.context() as context, torch.device("meta"):
        context.setattr("torch_fidelity.feature_extractor_inceptionv3.load_state_dict_from_url", lambda *_, **__: {})
        context.setattr(FeatureExtractorInceptionV3, "load_state_dict", lambda *_: None)
        shapes = FeatureExtractorInceptionV3("inception-v3-compat", ["2048"]).state_dict()
    path = tmp_path / "hub/checkpoints/weights-inception-2015-12-05-6726825d.pth"
    path.parent.mkdir(parents=True)
    torch.save({name: 0.01 * torch.rand(value.shape).to(value.dtype) for name, value in shapes.items()}, path)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    monkeypatch.setattr(diracdiff.metrics.features, "INCEPTION_SHA256", digest)
    inception = FID("inception")
    features = inception.extractor.features(torch.rand(2, 3, 32, 32))
    assert inception.name == "fid_inception" and features.shape == (2, 2048)
    assert features.isfinite().all() and features.std() > 0


# sets


def test_names_determine_a_sample():
    features = np.random.default_rng(0).normal(size=(50, 4))
    images = {f"image{i}": features[i] for i in range(50)}
    samples = [FeatureSample(20) for _ in range(4)]
    whole, reverse, *parts = samples
    whole.add(images)
    for name in reversed(images):
        reverse.add({name: images[name]})
    for rank, part in enumerate(parts):
        part.add(dict(list(images.items())[rank::2]))
    parts[0].add(parts[1].features)
    assert len(whole.features) == 20 and not set(whole.features) <= set(list(images)[:25])
    assert torch.equal(whole.stack(), reverse.stack()) and torch.equal(whole.stack(), parts[0].stack())
    complete = FeatureSample(50)
    complete.add(images)
    assert np.array_equal(complete.stack(), [images[name] for name in sorted(images)])


@pytest.mark.parametrize("limit", [20, 100])
def test_an_evaluation_compares_a_sample_of_its_images(limit):
    class Means:
        def features(self, images):
            return images.mean((2, 3))

    metrics = [object.__new__(FID), object.__new__(KID)]
    for metric in metrics:
        metric.extractor, metric.name, metric.limit = Means(), metric.title, limit
    evaluation = Evaluation([PSNR(), *metrics], gallery_size=2)
    x, names = torch.rand(60, 3, 4, 4), [f"{i:04d}" for i in range(60)]
    for i in range(0, 60, 10):
        part = x[i : i + 10]
        evaluation.add(names[i : i + 10], range(10), [State(1.0, part, part + 0.1, 1, True)], Reference(part))
    names_kept = [int(name) for name in evaluation._sets._sets[0]["clean"].features]
    (row,) = [row for row in evaluation.finish() if row["output"] == "x_hat"]
    assert row["n"] == 60 and len(names_kept) == min(limit, 60)
    clean, restored = (Means().features(images[sorted(names_kept)]) for images in (x, x + 0.1))
    assert (row["FID"], row["KID"]) == (fid(clean, restored), kid(clean, restored))
