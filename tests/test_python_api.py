"""Mistakes in Python: one clear error that names the argument, what was given and the remedy."""

import math

import numpy as np
import pytest
import torch
from conftest import SHARED, needs_shared
from PIL import Image

from diracdiff import Denoiser, GaussianBlur, GeometricNoise, ImageNoise, LinearSeverity, NCSNpp, Restorer
from diracdiff.degradations import FourierUndersampling, GaussianInpainting, Identity, SuperResolution
from diracdiff.evaluation.measurement import check_measurement
from diracdiff.metrics import PSNR, SSIM, SWD, Reference
from diracdiff.process import StochasticDegradation
from diracdiff.samplers import ReverseSampler
from diracdiff.utils.errors import UserError

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
    (
        lambda: images().numpy(),
        r"must be a torch.Tensor \(B, C, H, W\), got numpy.ndarray. Convert 8-bit pixels .*/ 255",
    ),
    (lambda: [[0.5]], "must be a torch.Tensor .* got builtins.list"),
    (
        lambda: images()[0],
        r"must have the shape \(B, C, H, W\), got \(3, 16, 16\). Add the batch dimension: images\[None\]",
    ),
    (
        lambda: images()[0].permute(1, 2, 0),
        r"must have the shape .* got \(16, 16, 3\). Put channels first .*images.permute\(2, 0, 1\)\[None\]",
    ),
    (
        lambda: images().permute(0, 2, 3, 1),
        r"must have 3 channels, .*, got \(2, 16, 16, 3\). .*images.permute\(0, 3, 1, 2\)",
    ),
    (
        lambda: images()[:, :1],
        r"must have 3 channels, .*, got \(2, 1, 16, 16\). Convert grey images with images.expand",
    ),
    (lambda: torch.rand(1, 4, SIZE, SIZE), r"must have 3 channels, .*, got \(1, 4, 16, 16\). Select the channels"),
    (lambda: images(0), r"must hold at least one image and one pixel, got the shape \(0, 3, 16, 16\)"),
    (lambda: images()[..., :0], r"must hold at least one image and one pixel, got the shape \(2, 3, 16, 0\)"),
    (
        lambda: (255 * images()).byte(),
        r"must be floating-point in \[0, 1\], got torch.uint8. Divide 8-bit pixels by 255",
    ),
    (lambda: torch.ones(1, 3, 4, 4, dtype=torch.int64), "must be floating-point .* got torch.int64"),
    (lambda: torch.ones(1, 3, 4, 4, dtype=torch.bool), "must be floating-point .* got torch.bool"),
    (lambda: images().to(torch.complex64), "must be floating-point .* got torch.complex64"),
    (lambda: images().masked_fill(torch.arange(SIZE) == 3, math.nan), "must be finite, got NaN or infinity"),
    (lambda: images().masked_fill(torch.arange(SIZE) == 3, math.inf), "must be finite, got NaN or infinity"),
    (lambda: images() + 1.5, r"must lie in \[0, 1\].*, got values from 1.* to 2.*. Scale \[-1, 1\] with"),
    (lambda: 4 * images() - 2, r"must lie in \[0, 1\].*, got values from -.*"),
    (lambda: 255 * images(), r"must lie in \[0, 1\].*, got values from .* to 25.*. Divide 8-bit pixels by 255"),
]


@pytest.mark.parametrize(("given", "message"), NOT_IMAGES)
@pytest.mark.parametrize("call", ["restore", "sample", "measure"])
def test_what_is_no_batch_of_images_is_refused_by_a_restorer(restorer, call, given, message):
    further, name = ((2,) if call == "sample" else ()), ("x" if call == "measure" else "measurement")
    with pytest.raises(UserError, match=f"^{name}: {message}"):
        getattr(restorer, call)(given(), *further)


def test_another_device_is_refused(restorer):
    with pytest.raises(UserError, match=r"^measurement: must be on cpu, got meta. Move them: images.to\('cpu'\)"):
        restorer.restore(images().to("meta"))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_any_precision_is_restored_in_float32(restorer, dtype):
    y = images().to(dtype)
    restored = restorer.restore(y, "t=0")
    assert restored.dtype == torch.float32 and torch.equal(restored, restorer.restore(y.float(), "t=0"))
    assert restorer.measure(y).y.dtype == torch.float32


def test_results_carry_no_gradient(restorer):
    assert not restorer.restore(images().requires_grad_(), "t=0").requires_grad


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["a"], "names: must be as many as images, got 1 for 2"),
        (["a", "b", "c"], "names: must be as many as images, got 3 for 2"),
        (["a", "a"], "names: must differ, because noise follows from them, got 'a' twice"),
        ([1, "1"], "names: must differ"),
        ("ab", r"names: must be a list .*, got the text 'ab'. Use \['ab'\]"),
    ],
)
def test_names_that_do_not_fit_are_refused(restorer, names, message):
    for call in (restorer.restore, restorer.measure):
        with pytest.raises(UserError, match=message):
            call(images(), names=names)


def test_images_are_generated_for_names_that_differ():
    process = StochasticDegradation(Identity(image_size=SIZE), GeometricNoise(0.01, 10.0))
    prior = Restorer(process, Denoiser(NCSNpp(8, [1], 1, [0])), ReverseSampler(2))
    assert prior.generate(["a", "b"]).shape == (2, 3, SIZE, SIZE)
    for names, message in (
        (["a", "a"], "names: must differ"),
        ([], "names: must be at least one"),
        ("ab", "names: "),
    ):
        with pytest.raises(UserError, match=message):
            prior.generate(names)


@pytest.mark.parametrize("count", [0, -1, 2.0, True, None])
def test_a_number_of_samples_is_a_positive_integer(restorer, count):
    with pytest.raises(UserError, match=f"samples={count}: must be an integer of at least 1"):
        restorer.sample(images(), count)


def test_a_denoiser_refuses_what_its_network_cannot_take(restorer):
    denoiser = restorer.denoiser
    for y, message in (
        (images().double(), "y: must be torch.float32, got torch.float64. Convert with images.to"),
        (images().half(), "y: must be torch.float32, got torch.float16"),
        (images()[:, :1], "y: must have 3 channels"),
        (images()[0], "y: must have the shape"),
        (images(0), "y: must hold at least one image"),
        (images().numpy(), "y: must be a torch.Tensor"),
        (images().to("meta"), "y: must be on cpu, got meta"),
    ):
        with pytest.raises(UserError, match=message):
            denoiser(restorer.process, y, torch.tensor(0.5))


@pytest.mark.parametrize("make", FAMILIES)
def test_a_degradation_and_a_process_refuse_what_is_no_batch(make):
    process = StochasticDegradation(make(SIZE), GeometricNoise())
    for x, message in (
        (images()[0], "x: must have the shape"),
        (images().half(), "x: must be torch.float32 or torch.float64, got torch.float16"),
        (images().bfloat16(), "x: must be torch.float32 or torch.float64, got torch.bfloat16"),
        ((255 * images()).byte(), "x: must be floating-point"),
        (images(0), "x: must hold at least one image"),
        (images().numpy(), "x: must be a torch.Tensor"),
    ):
        for call in (process.degradation, process.mean):
            with pytest.raises(UserError, match=message):
                call(x, 1.0)
    for t in (-0.1, 1.5, math.nan):
        with pytest.raises(UserError, match=r"must lie in \[0, 1\]"):
            process.mean(images(), t)


def test_a_sampler_refuses_noise_of_another_batch(restorer):
    states = restorer.sampler.states(restorer.process, restorer.denoiser, images(), ImageNoise([1]))
    with pytest.raises(UserError, match="noise: must have one stream per image, got 1 for 2"):
        next(states)
    with pytest.raises(UserError, match="measurement: must have the shape"):
        restorer.sampler.run(restorer.process, restorer.denoiser, images()[0], ImageNoise([1]))


@pytest.mark.parametrize("metric", [PSNR(), SSIM()])
def test_metrics_compare_equal_batches_alone(metric):
    x = images()
    for other in (x[:1], x[:, :1], x[..., :12]):
        with pytest.raises(UserError, match="images: must have the shape of the clean images"):
            metric(other, Reference(x))
    with pytest.raises(UserError, match="clean: must have the shape"):
        Reference(x[0])
    with pytest.raises(UserError, match="images: must be floating-point"):
        metric((255 * x).byte(), Reference(x))
    assert metric(x.double(), Reference(x)).dtype == torch.float32
    with pytest.raises(UserError, match=r"images: must be a torch\.Tensor"):
        SWD.extractor.features(x.numpy())


@pytest.mark.parametrize(
    "make",
    [
        lambda: LinearSeverity(0.3, math.inf),
        lambda: LinearSeverity(math.nan, 1.0),
        lambda: GaussianBlur(LinearSeverity(0.3, 3.0), 0),
        lambda: GaussianBlur(LinearSeverity(0.3, 3.0), 32.5),
        lambda: GaussianBlur(lambda t: t * math.nan, 32),
        lambda: GaussianBlur(lambda t: t * math.inf, 32),
        lambda: ReverseSampler(sigma=-1.0),
        lambda: ReverseSampler(sigma=math.inf),
        lambda: ReverseSampler(sigma=127.5),
    ],
)
def test_constructors_refuse_values_without_sense(make):
    with pytest.raises(ValueError, match=r"must|finite"):
        make()


# the range of measurements


def photographs(folder, size, count):
    files = sorted((SHARED / "data" / folder).rglob("*.*"))
    for path in files[:: max(1, len(files) // count)][:count]:
        pixels = np.asarray(Image.open(path).convert("RGB").resize((size, size)))
        yield torch.from_numpy(pixels.copy()).permute(2, 0, 1)[None] / 255


def refused(y, process):
    try:
        check_measurement(y, process)
    except UserError as error:
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
@pytest.mark.parametrize("level", [0.0, 0.5, 1.0])
def test_noise_alone_is_never_refused(sigma, level):
    """Zeros and ones are what noise leads out of the range the furthest."""
    process = StochasticDegradation(Identity(image_size=SIZE), GeometricNoise(0.005, sigma))
    for _ in range(200):
        x = torch.full((2, 3, SIZE, SIZE), level)
        assert not refused(process.measure(x, torch.randn_like(x)), process)
