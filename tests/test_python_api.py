"""Errors of the Python API name the argument, its value and a remedy."""

import math
import runpy

import numpy as np
import pytest
import torch
from conftest import ROOT, SHARED, needs_shared
from PIL import Image

from diracdiff import Denoiser, GaussianBlur, GeometricNoise, LinearSeverity, NCSNpp, Restorer
from diracdiff.degradations import FourierUndersampling, GaussianInpainting, Identity, SuperResolution
from diracdiff.evaluation.measurement import check_measurement
from diracdiff.process import StochasticDegradation
from diracdiff.samplers import ReverseSampler

SIZE = 16
FAMILIES = [
    lambda size: GaussianBlur(LinearSeverity(0.3, 3.0), size),
    lambda size: GaussianInpainting(LinearSeverity(0.1, 50.0), size),
    lambda size: SuperResolution(LinearSeverity(1.0, 4.0), size),
    lambda size: FourierUndersampling(LinearSeverity(0.0, 0.75), size),
]


def test_the_smoke_test_of_other_systems_passes():
    assert runpy.run_path(str(ROOT / ".github" / "smoke.py"))["restored"].shape == (2, 3, 32, 32)


@pytest.fixture(scope="module")
def restorer():
    torch.manual_seed(0)
    process = StochasticDegradation(GaussianBlur(LinearSeverity(0.3, 3.0), SIZE), GeometricNoise())
    return Restorer(process, Denoiser(NCSNpp(8, [1], 1, [0])), ReverseSampler(2))


def images(count=2):
    return torch.rand(count, 3, SIZE, SIZE)


@pytest.mark.parametrize("eta", [0.0, 1.0])
def test_restoring_a_simulated_measurement_continues_its_noise(restorer, eta):
    one, x, names = restorer.replace(sampler=restorer.sampler.replace(eta=eta)), images(), ["a", "b"]
    measured = one.measure(x, names)
    *_, last = one.sampler.states(measured.process, one.denoiser.eval(), measured.y, measured.noise)
    assert torch.equal(one.restore(measured.y, "t:0", names=names), last.x_hat.detach().clamp(0, 1))


def test_a_measurement_has_the_noise_level_of_the_sampler(restorer):
    x, quiet = torch.full((8, 3, SIZE, SIZE), 0.5), restorer.replace(sampler=restorer.sampler.replace(sigma=0.01))
    assert (quiet.measure(x).y - 0.5).std().item() == pytest.approx(0.01, rel=0.1)
    assert (restorer.measure(x).y - 0.5).std().item() == pytest.approx(0.05, rel=0.1)


def test_equal_samples_are_refused(restorer):
    noisy, y = restorer.replace(sampler=restorer.sampler.replace(eta=1.0)), restorer.measure(images()).y
    assert noisy.sample(y, 2, "t:0").images.std(0).max() > 0
    with pytest.raises(ValueError, match=r"samples=2: would all be the same .* such as target=t:0"):
        noisy.sample(y, 2, "t:1")
    with pytest.raises(ValueError, match=r"samples=2: would all be the same .* Use sampler.eta=1"):
        restorer.replace(sampler=restorer.sampler.replace(eta=0.0)).sample(y, 2, "t:0")


NOT_IMAGES = [
    (lambda: images().numpy(), "must be a torch.Tensor"),
    (lambda: images()[0], "must have the shape"),
    (lambda: images()[:, :1], "must have 3 channels"),
    (lambda: images(0), "must hold at least one image"),
    (lambda: (255 * images()).byte(), "must be floating-point"),
    (lambda: images().masked_fill(torch.arange(SIZE) == 3, math.nan), "must be finite"),
    (lambda: 4 * images() - 2, r"must lie in \[0, 1\]"),
    (lambda: 255 * images(), r"must lie in \[0, 1\].*Divide 8-bit pixels by 255"),
]


@pytest.mark.parametrize(("make_images", "message"), NOT_IMAGES)
def test_invalid_images_are_refused(restorer, make_images, message):
    for call, name, extra in (("restore", "measurement", ()), ("sample", "measurement", (2,)), ("measure", "x", ())):
        with pytest.raises(ValueError, match=f"^{name}: {message}"):
            getattr(restorer, call)(make_images(), *extra)


def test_invalid_names_are_refused(restorer):
    for names in (["a"], ["a", "a"], "ab"):
        for call in (restorer.restore, restorer.measure):
            with pytest.raises(ValueError, match="names: must"):
                call(images(), names=names)


def test_names_of_generated_images_must_differ():
    process = StochasticDegradation(Identity(image_size=SIZE), GeometricNoise(0.01, 10.0))
    prior = Restorer(process, Denoiser(NCSNpp(8, [1], 1, [0])), ReverseSampler(2))
    assert prior.generate(["a", "b"]).shape == (2, 3, SIZE, SIZE)
    for names in (["a", "a"], []):
        with pytest.raises(ValueError, match="names: must"):
            prior.generate(names)


def test_invalid_types_and_times_are_refused(restorer):
    process = restorer.process
    with pytest.raises(ValueError, match=r"y: must be torch\.float32, got torch\.float64"):
        restorer.denoiser(process, images().double(), torch.tensor(0.5))
    with pytest.raises(ValueError, match=r"x: must be torch\.float32 or torch\.float64"):
        process.mean(images().half(), 1.0)
    for t in (-0.1, 1.5, math.nan):
        with pytest.raises(ValueError, match=r"must lie in \[0, 1\]"):
            process.mean(images(), t)


# the range of measurements


def photographs(folder, size, count):
    files = sorted((SHARED / "data" / folder).rglob("*.*"))
    for path in files[:: max(1, len(files) // count)][:count]:
        pixels = np.asarray(Image.open(path).convert("RGB").resize((size, size)))
        yield torch.from_numpy(pixels.copy()).permute(2, 0, 1)[None] / 255


def refused(y, process):
    try:
        check_measurement(y, process)
    except ValueError as error:
        assert "measurement: must lie in [0, 1] up to noise of sigma" in str(error)
        return True
    return False


@needs_shared
@pytest.mark.parametrize("sigma", [0.05, 0.3])
def test_measurements_in_other_ranges_are_refused(sigma):
    trials, refusals = 0, {"-1 … 1": 0, "0 … 2": 0, "0 … 255": 0}
    for x in photographs("imagenet-sample/val", 64, 25):
        for make in FAMILIES:
            process = StochasticDegradation(make(64), GeometricNoise(0.01, sigma))
            y = process.measure(x, torch.randn_like(x))
            assert not refused(y, process)
            trials += 1
            for scale, other in zip(refusals, (2 * y - 1, 2 * y, 255 * y), strict=True):
                refusals[scale] += refused(other, process)
    assert refusals["0 … 255"] == trials and refusals["-1 … 1"] >= 0.97 * trials and refusals["0 … 2"] >= 0.85 * trials


@pytest.mark.parametrize("sigma", [0.01, 1.0, 20.0])
def test_pure_noise_is_never_refused(sigma):
    """The levels 0 and 1 exceed the range most often."""
    process = StochasticDegradation(Identity(image_size=SIZE), GeometricNoise(0.005, sigma))
    for level in [0.0, 0.5, 1.0] * 200:
        x = torch.full((2, 3, SIZE, SIZE), level)
        assert not refused(process.measure(x, torch.randn_like(x)), process)
