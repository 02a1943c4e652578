"""Blur by per-image kernels: the degradation, its training, and kernels from files and text."""

import math

import numpy as np
import pytest
import torch
from conftest import refused
from PIL import Image
from scipy.ndimage import convolve

from diracdiff.data import Photos
from diracdiff.degradations import KernelBlur, LinearSeverity
from diracdiff.degradations.kernel_blur import make_periodic, pad_kernels
from diracdiff.degradations.kernels import parse_kernel
from diracdiff.models import Denoiser, NCSNpp, OperatorPreconditioning
from diracdiff.noise import GeometricNoise
from diracdiff.process import StochasticDegradation
from diracdiff.restorer import Restorer
from diracdiff.samplers import ReverseSampler

SIZES = [(32, 32), (31, 20), (9, 12)]


def degradation(size=32):
    return KernelBlur(LinearSeverity(0.0, 1.0), size)


def bound(count, like):
    """Return the degradation with `count` random kernels."""
    return degradation().bind(degradation().sample_params(range(count), like))


def skew():
    """Return a kernel without symmetry."""
    kernel = torch.tensor([[0.0, 0.1, 0.4], [0.0, 0.3, 0.1], [0.05, 0.05, 0.0]])
    return kernel[None, None]


# the degradation


def test_at_t_1_the_degradation_is_the_convolution_with_the_kernel():
    x = torch.rand(1, 1, 31, 21, dtype=torch.float64)
    blurred = degradation().bind(skew())(x, 1.0)
    expected = convolve(x[0, 0].numpy(), skew()[0, 0].double().numpy(), mode="wrap")
    assert np.allclose(blurred[0, 0].numpy(), expected, atol=1e-7)


@pytest.mark.parametrize("size", SIZES)
def test_random_kernels_are_exact_except_at_self_conjugate_frequencies(size):
    x = torch.rand(8, 3, *size, dtype=torch.float64)
    blur = bound(8, x)
    exact = torch.fft.ifft2(torch.fft.fft2(x) * torch.fft.fft2(pad_kernels(blur.params, *size))).real
    error = torch.fft.fft2(blur(x, 1.0) - exact).abs()
    rows, columns = (torch.arange(n) * 2 % n == 0 for n in size)
    self_conjugate = rows.unsqueeze(1) & columns
    assert error[..., ~self_conjugate].max() < 1e-3 * math.prod(size)
    assert error[..., 0, 0].max() < 1e-6 * math.prod(size)


def test_powers_of_a_gaussian_are_gaussians():
    position = torch.arange(31, dtype=torch.float64) - 15
    kernels = [torch.outer(line, line) for s in (2.0, 1.0) for line in [(-(position**2) / (2 * s**2)).exp()]]
    wide, narrow = (kernel[None, None] / kernel.sum() for kernel in kernels)
    blur, x = degradation(), torch.rand(1, 3, 40, 40, dtype=torch.float64)
    quarter = blur.bind(wide)(x, 0.25)  # a quarter of the variance
    assert torch.allclose(quarter, blur.bind(narrow)(x, 1.0), atol=3e-3)  # sampled Gaussians have aliasing


def test_a_transition_without_amplification_exists():
    x = torch.rand(4, 3, 32, 32, dtype=torch.float64)
    early, late = (bound(4, x).svd(x, t) for t in (0.3, 0.8))
    assert (late.values <= early.values + 1e-12).all() and early.values.max() <= 1


@pytest.mark.parametrize("size", SIZES)
def test_svd_reproduces_the_operator(size):
    x = torch.rand(3, 3, *size, dtype=torch.float64)
    blur = bound(3, x)
    for t in (0.0, 0.4, 1.0):
        svd = blur.svd(x, t)
        assert torch.allclose(svd.u(svd.values * svd.vt(x)), blur(x, t), atol=1e-12)
        for forward, inverse in ((svd.u, svd.ut), (svd.ut, svd.u), (svd.v, svd.vt)):
            assert torch.allclose(forward(inverse(x)), x, atol=1e-12)
            assert torch.allclose(inverse(x).square().sum(), x.square().sum())


def test_images_are_real_for_kernels_with_zero_frequencies():
    x = torch.rand(1, 3, 16, 16, dtype=torch.float64)
    blur = degradation().bind(torch.tensor([[0.0, 0, 1], [0, 2, 0], [1, 0, 0]])[None, None] / 4)
    for t in (0.1, 0.5, 1.0):
        svd = blur.svd(x, t)
        assert torch.allclose(svd.ut(svd.u(x)), x, atol=1e-12)
        assert torch.allclose(svd.u(svd.values * svd.vt(x)), blur(x, t), atol=1e-12)


def test_random_kernels_are_normalised_and_diverse():
    kernels = degradation().sample_params(range(300), torch.zeros(1))
    assert kernels.shape == (300, 1, 25, 25) and kernels.min() >= 0
    assert torch.allclose(kernels.sum((-2, -1)), torch.ones(300, 1), atol=1e-5)
    highest = kernels.flatten(1).amax(1)
    assert highest.min() < 0.03 and highest.max() > 0.4


def test_borders_are_made_periodic():
    y = torch.rand(2, 3, 20, 30)
    padded, margin = make_periodic(y, torch.zeros(2, 1, 5, 7))
    assert margin == 7 and padded.shape == (2, 3, 34, 44)
    assert torch.equal(padded[..., 7:-7, 7:-7], y)
    jump = (padded[..., 0] - padded[..., -1]).abs()[..., 7:-7]
    assert jump.max() < 0.1 and (y[..., 0] - y[..., -1]).abs().max() > 0.5


def test_an_untrained_network_is_the_wiener_filter():
    images, process = Photos(64).split("val"), StochasticDegradation(degradation(64), GeometricNoise(0.005, 0.02))
    x = torch.stack([image["x"] for image in map(images.__getitem__, range(32)) if "chelsea" in image["name"]])
    process = process.bind_images(range(16), x)
    y, t = process.measure(x, torch.randn_like(x)), torch.ones(16)
    _, scaled = OperatorPreconditioning(3.0)(process, y, t)
    mse = [(z - x).square().mean().item() for z in (y, scaled.x_hat(torch.zeros_like(x)))]
    assert mse[1] < 0.6 * mse[0]


# kernels from text


@pytest.mark.parametrize(
    ("text", "rows", "columns"),
    [
        ("gaussian:2.5", 2.5**2, 2.5**2),
        ("disc:6", 9.0, 9.0),
        ("line:12:0", 0.0, 12.0),
        ("line:12:90", 12.0, 0.0),
        ("line:16:30", 16 / 3, 16.0),
    ],
)
def test_a_kernel_from_text_has_its_variance(text, rows, columns):
    kernel = parse_kernel(text)
    height, width = kernel.shape
    assert height % 2 and width % 2 and kernel.min() >= 0 and kernel.sum() == pytest.approx(1)
    assert torch.allclose(kernel, kernel.flip(0, 1), atol=1e-6)
    for marginal, variance in ((kernel.sum(1), rows), (kernel.sum(0), columns)):
        position = torch.arange(len(marginal)) - len(marginal) // 2
        assert (marginal * position**2).sum().item() == pytest.approx(variance, rel=0.12, abs=1e-6)


def test_a_line_rises_counterclockwise():
    kernel = parse_kernel("line:9:45")
    upper, lower = kernel[:6], kernel[7:]
    assert upper[:, 7:].sum() + lower[:, :6].sum() > 10 * (upper[:, :6].sum() + lower[:, 7:].sum())


# commands


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    """Checkpoint of an untrained network, which is the Wiener filter."""
    network = NCSNpp(8, [1, 2], 1, [1], 0.0, images=2)
    preconditioning = OperatorPreconditioning(3.0)
    process = StochasticDegradation(degradation(), GeometricNoise(0.005, 0.02))
    path = tmp_path_factory.mktemp("kernels") / "best.ckpt"
    denoiser = Denoiser(network, "log_sigma", preconditioning=preconditioning)
    Restorer(process, denoiser, ReverseSampler(4), name="deblur_kernel").save(path)
    return path


@pytest.fixture
def pictures(tmp_path, image_folder):
    """Two photographs, each blurred with another kernel."""
    for part in ("photos", "kernels"):
        (tmp_path / part).mkdir()
    for i, name in enumerate(("00", "01")):
        kernel = np.zeros((7, 7))
        kernel[3, : 7 - 2 * i] = 255
        Image.fromarray(kernel.astype(np.uint8)).save(tmp_path / "kernels" / f"{name}.png")
        image = np.asarray(Image.open(image_folder / f"{name}.png").convert("RGB"), dtype=float)
        blurred = np.stack([convolve(image[..., c], kernel / kernel.sum(), mode="reflect") for c in range(3)], -1)
        Image.fromarray(blurred.round().astype(np.uint8)).save(tmp_path / "photos" / f"{name}.png")
    return tmp_path


def colours(path):
    return np.asarray(Image.open(path).convert("RGB"), dtype=float)


def test_photographs_are_restored_with_their_kernels(checkpoint, pictures, image_folder, call):
    """Kernels come from a folder, a file or text. A larger kernel of another photograph has no effect."""
    kernel = (65535 * parse_kernel("line:5:20") / parse_kernel("line:5:20").max()).round().numpy().astype(np.uint16)
    Image.fromarray(kernel).save(pictures / "line.png")
    options = ["restore", f"checkpoint={checkpoint}", "target=t:1", "device=cpu"]
    runs = {
        "both": "kernel=kernels",
        "one": "kernel=kernels/01.png",
        "file": "kernel=line.png",
        "text": "kernel=line:5:20",
    }
    for output, kernels in runs.items():
        assert call(*options, "input=photos", kernels, f"output={output}")[0] == 0
    wide = np.zeros((15, 15), dtype=np.uint8)
    wide[7] = 255
    Image.fromarray(wide).save(pictures / "kernels" / "01.png")
    assert call(*options, "input=photos", "kernel=kernels", "output=wide")[0] == 0
    results = {
        output: [colours(pictures / output / f"{name}.png") for name in ("00", "01")] for output in (*runs, "wide")
    }
    for name, restored in zip(("00", "01"), results["both"], strict=True):
        clean, blurred = colours(image_folder / f"{name}.png"), colours(pictures / "photos" / f"{name}.png")
        assert np.square(restored - clean).mean() < 0.8 * np.square(blurred - clean).mean()
    assert abs(results["one"][0] - results["both"][0]).max() > 2
    assert abs(results["one"][1] - results["both"][1]).max() <= 1
    assert max(abs(a - b).max() for a, b in zip(results["file"], results["text"], strict=True)) <= 1
    assert (results["wide"][0] == results["both"][0]).all()


@pytest.mark.parametrize(
    ("kernel", "message"),
    [
        ("line:5", "kernel=line:5: must be gaussian:STD"),
        ("absent.png", "absent.png: must be .* or an existing file or folder"),
        ("gaussian:1_0", "must be"),
        ("disc:201", "at most 200 pixels"),
    ],
)
def test_bad_kernels_are_refused(checkpoint, pictures, call, kernel, message):
    refused(call("restore", f"checkpoint={checkpoint}", "input=photos", f"kernel={kernel}", "device=cpu"), message)


def test_names_determine_the_kernels_of_clean_images(checkpoint, pictures, call):
    options = ["restore", f"checkpoint={checkpoint}", "input=photos", "degrade=true", "target=t:1", "device=cpu"]
    assert call(*options) == (0, []) and call(*options, "batch_size=1", "output=alone") == (0, [])
    for name in ("00", "01"):
        measured, alone = (colours(pictures / folder / f"{name}_measurement.png") for folder in ("restored", "alone"))
        assert (measured == alone).all()
        assert np.abs(measured - colours(pictures / "photos" / f"{name}.png")).max() > 20
