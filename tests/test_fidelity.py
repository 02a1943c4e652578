"""FID, KID and the features they compare."""

import os

import pytest
import torch
from conftest import TORCH_HOME, needs_lpips

from diracdiff.metrics import FID, KID, in_order
from diracdiff.metrics.features import Extractor
from diracdiff.metrics.fid import fid, kid
from diracdiff.utils.errors import UserError

FEATURES = 16


def gaussian(n: int, d: int = FEATURES, shift: float = 0.0) -> torch.Tensor:
    """Features with a decaying spectrum."""
    return torch.randn(n, d) * torch.linspace(1, 0.01, d) + shift


def with_moments(mean: torch.Tensor, covariance: torch.Tensor, n: int = 60) -> torch.Tensor:
    """Features whose sample mean and sample covariance are exactly these."""
    orthonormal = torch.linalg.qr(torch.cat([torch.ones(n, 1), torch.randn(n, len(mean))], 1).double())[0][:, 1:]
    return (n - 1) ** 0.5 * orthonormal @ torch.linalg.cholesky(covariance).T + mean


def fid_by_singular_values(real: torch.Tensor, fake: torch.Tensor) -> float:
    """FID without a square root of matrices: tr (S_1 S_2)^(1/2) is the nuclear norm of X_1 X_2^T, X centred, scaled."""
    means = [features.double().mean(0) for features in (real, fake)]
    x, y = ((f.double() - m) / (len(f) - 1) ** 0.5 for f, m in zip((real, fake), means, strict=True))
    overlap = torch.linalg.svdvals(x @ y.T).sum()
    return (((means[0] - means[1]) ** 2).sum() + (x**2).sum() + (y**2).sum() - 2 * overlap).item()


def test_fid_of_known_gaussians():
    d = FEATURES
    mean, variances = torch.randn(d).double(), [torch.rand(d).double() + 0.1 for _ in range(2)]
    basis = torch.linalg.qr(torch.randn(d, d).double())[0]
    real, fake = (with_moments(m, basis * v @ basis.T) for m, v in zip((0 * mean, mean), variances, strict=True))
    closed_form = (mean**2).sum() + ((variances[0].sqrt() - variances[1].sqrt()) ** 2).sum()
    assert fid(real, fake) == pytest.approx(closed_form.item(), rel=1e-8)


def test_fid_of_covariances_that_do_not_commute():
    a, b = (torch.randn(FEATURES, FEATURES).double() for _ in range(2))
    covariances = [a @ a.T + 0.1 * torch.eye(FEATURES), b @ b.T + 0.1 * torch.eye(FEATURES)]
    mean = torch.zeros(FEATURES).double()
    root = torch.linalg.eigvals(covariances[0] @ covariances[1]).sqrt().real.sum()
    expected = covariances[0].trace() + covariances[1].trace() - 2 * root
    assert fid(*(with_moments(mean, c) for c in covariances)) == pytest.approx(expected.item(), rel=1e-6)


@pytest.mark.parametrize("counts", [(5, 5), (2, 40), (40, 12)])
def test_fid_of_fewer_images_than_features(counts):
    real, fake = gaussian(counts[0], 64), gaussian(counts[1], 64, shift=0.1)
    assert fid(real, fake) == pytest.approx(fid_by_singular_values(real, fake), rel=1e-5)


@pytest.mark.parametrize("n", [5, 200])
def test_fid_of_a_set_with_itself_is_zero_and_not_less(n):
    features = gaussian(n, 64)
    assert 0 <= fid(features, features) < 1e-4
    assert 0 <= fid(features, features.flip(0)) < 1e-4


def test_order_of_the_images_does_not_matter():
    real, fake = gaussian(40), gaussian(40, shift=0.3)
    shuffled = fake[torch.randperm(40)]
    assert fid(real, shuffled) == pytest.approx(fid(real, fake), rel=1e-9)
    assert kid(real, shuffled, seed=1) == pytest.approx(kid(real, fake, seed=2), rel=1e-9)


def test_kid_is_unbiased_and_grows_with_the_distance():
    same = torch.tensor([kid(gaussian(30), gaussian(30)) for _ in range(100)])
    assert same.mean().abs() < 4 * same.std() / 10
    assert same.min() < 0 < same.max()
    real, fake = gaussian(30), gaussian(30)
    assert 10 * same.std() < kid(real, fake + 0.5) < kid(real, fake + 1.0)


def test_kid_is_the_estimate_of_its_definition():
    real, fake = gaussian(20).double(), gaussian(20, shift=0.5).double()

    def kernel(a, b):
        return ((a @ b.T) / FEATURES + 1) ** 3

    within = sum((kernel(a, a).sum() - kernel(a, a).trace()) / (20 * 19) for a in (real, fake))
    assert kid(real, fake) == pytest.approx((within - 2 * kernel(real, fake).mean()).item(), rel=1e-9)


def test_kid_of_unequal_sets_is_the_mean_of_draws_by_the_seed():
    from torch_fidelity.metric_kid import kid_features_to_metric

    real, fake = gaussian(25), gaussian(20, shift=0.5)
    assert kid(real, fake, seed=1) == kid(real, fake, seed=1) != kid(real, fake, seed=2)
    options = dict(kid_subset_size=20, kid_subsets=100, rng_seed=1, verbose=False)
    expected = kid_features_to_metric(real.double(), fake.double(), **options)["kernel_inception_distance_mean"]
    assert kid(real, fake, seed=1) == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("distance", [fid, kid])
def test_sets_that_have_no_distance(distance, capfd):
    with pytest.raises(UserError, match="at least 2 images in each set, got 1 and 5"):
        distance(gaussian(1), gaussian(5))
    with pytest.raises(ValueError, match=r"got \(5, 16\) and \(5, 8\)"):
        distance(gaussian(5), gaussian(5, 8))
    broken = gaussian(5)
    broken[2] = float("nan")
    assert distance(gaussian(5), broken) != distance(gaussian(5), broken)
    distance(gaussian(5), gaussian(6))
    assert capfd.readouterr() == ("", "")


@pytest.fixture
def squeezenet(torch_home):
    return Extractor("squeezenet")


@needs_lpips
def test_features_belong_to_the_image(squeezenet):
    images = torch.rand(7, 3, 40, 32)
    features = squeezenet.features(images)
    assert (
        features.shape == (7, 512)
        and features.device.type == "cpu"
        and features.dtype == torch.float32
        and not features.requires_grad
    )
    singles = torch.cat([squeezenet.features(image[None]) for image in images])
    assert (features - singles).norm(dim=1).max() < 1e-5 * features.norm(dim=1).min()
    assert (features[0] - features[1]).norm() > 0.01 * features[0].norm()


@needs_lpips
def test_features_are_of_the_saved_image(squeezenet):
    beyond = 3 * torch.rand(2, 3, 32, 32) - 1
    saved = beyond.clamp(0, 1).mul(255).round() / 255
    assert torch.equal(squeezenet.features(beyond), squeezenet.features(saved))
    assert torch.equal(squeezenet.features(saved.double()), squeezenet.features(saved))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        under_autocast = squeezenet.features(saved)
    assert torch.equal(under_autocast, squeezenet.features(saved))


@needs_lpips
def test_features_are_of_the_trunk_of_torchvision(squeezenet):
    from torchvision.models import SqueezeNet1_1_Weights, squeezenet1_1

    network = squeezenet1_1().eval()
    network.load_state_dict(torch.load(TORCH_HOME / "hub/checkpoints/squeezenet1_1-b8a52dc0.pth"))
    pixels = torch.randint(256, (2, 3, 64, 64), dtype=torch.uint8)
    prepare = SqueezeNet1_1_Weights.IMAGENET1K_V1.transforms(crop_size=64, resize_size=64)
    with torch.no_grad():
        expected = network.features(prepare(pixels)).mean((2, 3))
    assert torch.allclose(squeezenet.features(pixels / 255), expected, atol=1e-5)


@needs_lpips
def test_a_broken_image_has_no_features(squeezenet):
    images = torch.rand(2, 3, 32, 32)
    whole = squeezenet.features(images)
    images[0, 0, 0, 0] = float("nan")
    features = squeezenet.features(images)
    assert features[0].isnan().all() and torch.equal(features[1], whole[1])


@needs_lpips
def test_the_metrics_are_the_distances_and_share_the_work(squeezenet):
    metrics = FID("squeezenet"), KID("squeezenet")
    assert metrics[0].extractor == metrics[1].extractor
    assert len({metric.extractor for metric in in_order(metrics)}) == 1 and metrics[0].extractor is metrics[1].extractor
    real, fake = gaussian(25), gaussian(20, shift=0.5)
    assert [metric.score(real, fake, 3) for metric in metrics] == [fid(real, fake), kid(real, fake, seed=3)]
    assert FID.if_requested(None) is None and KID.if_requested(None) is None
    assert FID.if_requested("squeezenet").name == "fid_squeezenet"


@needs_lpips
def test_images_that_have_no_features(squeezenet):
    with pytest.raises(UserError, match="must have 3 channels"):
        squeezenet.features(torch.rand(2, 1, 32, 32))
    with pytest.raises(UserError, match="at least 17 pixels"):
        squeezenet.features(torch.rand(2, 3, 32, 16))
    squeezenet.features(torch.rand(2, 3, 17, 17))


def test_without_weights_there_is_no_other_number(without_weights):
    with pytest.raises(UserError, match=r"weights-inception-2015-12-05-6726825d\.pth") as error:
        Extractor("inception")
    message = str(error.value)
    assert "\n" not in message and "fid=squeezenet" in message
    assert f"{os.environ['TORCH_HOME']}/hub/checkpoints" in message
