"""Mistakes in Python: one clear error that names the argument, what was given and the remedy."""

import math

import numpy as np
import pytest
import torch
from conftest import SHARED, needs_shared
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


@pytest.fixture(scope="module")
def restorer():
    torch.manual_seed(0)
    process = StochasticDegradation(GaussianBlur(LinearSeverity(0.3, 3.0), SIZE), GeometricNoise())
    return Restorer(process, Denoiser(NCSNpp(8, [1], 1, [0])), ReverseSampler(2))


def images(count=2):
    return torch.rand(count, 3, SIZE, SIZE)


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


@pytest.mark.parametrize(("given", "message"), NOT_IMAGES)
def test_arguments_other_than_a_batch_of_images_are_refused(restorer, given, message):
    for call, name, further in (("restore", "measurement", ()), ("sample", "measurement", (2,)), ("measure", "x", ())):
        with pytest.raises(ValueError, match=f"^{name}: {message}"):
            getattr(restorer, call)(given(), *further)


def test_names_that_do_not_fit_are_refused(restorer):
    for names in (["a"], ["a", "a"], "ab"):
        for call in (restorer.restore, restorer.measure):
            with pytest.raises(ValueError, match="names: must"):
                call(images(), names=names)


def test_images_are_generated_for_names_that_differ():
    process = StochasticDegradation(Identity(image_size=SIZE), GeometricNoise(0.01, 10.0))
    prior = Restorer(process, Denoiser(NCSNpp(8, [1], 1, [0])), ReverseSampler(2))
    assert prior.generate(["a", "b"]).shape == (2, 3, SIZE, SIZE)
    for names in (["a", "a"], []):
        with pytest.raises(ValueError, match="names: must"):
            prior.generate(names)


def test_a_denoiser_and_a_process_refuse_other_precisions_and_times(restorer):
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
def test_no_measurement_of_a_photograph_is_refused_and_other_ranges_are(sigma):
    tried, found = 0, {"-1 … 1": 0, "0 … 2": 0, "0 … 255": 0}
    for x in photographs("imagenet-sample/val", 64, 25):
        for make in FAMILIES:
            process = StochasticDegradation(make(64), GeometricNoise(0.01, sigma))
            y = process.measure(x, torch.randn_like(x))
            assert not refused(y, process)
            tried += 1
            for scale, other in zip(found, (2 * y - 1, 2 * y, 255 * y), strict=True):
                found[scale] += refused(other, process)
    assert found["0 … 255"] == tried and found["-1 … 1"] >= 0.97 * tried and found["0 … 2"] >= 0.85 * tried


@pytest.mark.parametrize("sigma", [0.01, 1.0, 20.0])
def test_noise_alone_is_never_refused(sigma):
    """Noise moves zeros and ones furthest out of the range."""
    process = StochasticDegradation(Identity(image_size=SIZE), GeometricNoise(0.005, sigma))
    for level in [0.0, 0.5, 1.0] * 200:
        x = torch.full((2, 3, SIZE, SIZE), level)
        assert not refused(process.measure(x, torch.randn_like(x)), process)
