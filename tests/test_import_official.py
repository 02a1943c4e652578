"""Checkpoints of the authors: equality of the networks, and settings of a file."""

import argparse
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from conftest import run_here

from diracdiff.checkpoints import official
from diracdiff.checkpoints.registry import from_recipe
from diracdiff.models import NCSNpp
from diracdiff.restorer import load

TINY = {
    "image_size": 32,
    "network": {"channels": 16, "multipliers": [1, 2, 2], "blocks": 2, "attention_levels": [1], "dropout": 0.1},
}
EDM = {  # image size, channels, multipliers, sides with attention
    "tiny": (32, 16, [1, 2, 2], [16]),
    "base": (256, 128, [1, 1, 2, 2, 2, 2, 2], [16]),
    "large": (256, 256, [1, 1, 2, 2, 4, 4], [32, 16, 8]),
}
BLUR = {"experiment_config_file": "configs/experiments/gaussian_blur.yaml", "model_arch": "tiny"}


# network of the authors, from its published description


def edm_block(name, inputs, outputs, width, resample=False, attention=False) -> Iterator[tuple[str, tuple]]:
    def layer(part, *weight, filtered=False):
        yield f"{name}.{part}.weight", weight
        yield f"{name}.{part}.bias", weight[:1]
        if filtered:
            yield f"{name}.{part}.resample_filter", (1, 1, 4, 4)

    yield from layer("norm0", inputs)
    yield from layer("conv0", outputs, inputs, 3, 3, filtered=resample)
    yield from layer("affine", outputs, width)
    yield from layer("norm1", outputs)
    yield from layer("conv1", outputs, outputs, 3, 3)
    if resample or inputs != outputs:
        yield from layer("skip", outputs, inputs, 1, 1, filtered=resample)
    if attention:
        yield from layer("norm2", outputs)
        yield from layer("qkv", 3 * outputs, outputs, 1, 1)
        yield from layer("proj", outputs, outputs, 1, 1)


def edm_shapes(size, channels, multipliers, sides) -> Iterator[tuple[str, tuple]]:
    """Yield (name, shape) of the weights in the order of their modules."""
    width = 4 * channels
    yield "map_noise.freqs", (channels,)
    for layer, inputs in (("map_layer0", 2 * channels), ("map_layer1", width)):
        yield f"{layer}.weight", (width, inputs)
        yield f"{layer}.bias", (width,)
    yield f"enc.{size}x{size}_conv.weight", (channels, 3, 3, 3)
    yield f"enc.{size}x{size}_conv.bias", (channels,)
    current, aux, skips = channels, 3, [channels]
    for level, multiplier in enumerate(multipliers):
        side = size >> level
        prefix = f"enc.{side}x{side}"
        if level:
            yield from edm_block(f"{prefix}_down", current, current, width, resample=True)
            yield f"{prefix}_aux_residual.weight", (current, aux, 3, 3)
            yield f"{prefix}_aux_residual.bias", (current,)
            yield f"{prefix}_aux_residual.resample_filter", (1, 1, 4, 4)
            aux = current
            skips.append(current)
        for i in range(2):
            yield from edm_block(f"{prefix}_block{i}", current, channels * multiplier, width, attention=side in sides)
            current = channels * multiplier
            skips.append(current)
    for level in reversed(range(len(multipliers))):
        side = size >> level
        prefix = f"dec.{side}x{side}"
        if level == len(multipliers) - 1:
            yield from edm_block(f"{prefix}_in0", current, current, width, attention=True)
            yield from edm_block(f"{prefix}_in1", current, current, width)
        else:
            yield from edm_block(f"{prefix}_up", current, current, width, resample=True)
        for i in range(3):
            inputs, current = current + skips.pop(), channels * multipliers[level]
            attended = i == 2 and side in sides
            yield from edm_block(f"{prefix}_block{i}", inputs, current, width, attention=attended)
    yield f"dec.{size}x{size}_aux_norm.weight", (current,)
    yield f"dec.{size}x{size}_aux_norm.bias", (current,)
    yield f"dec.{size}x{size}_aux_conv.weight", (3, current, 3, 3)
    yield f"dec.{size}x{size}_aux_conv.bias", (3,)


def random_weights(seed=0) -> dict[str, torch.Tensor]:
    """Weights of a small network without zeros. Small activations in the first layer make eps of the norms matter."""
    generator = torch.Generator().manual_seed(seed)
    taps = torch.tensor([1.0, 3.0, 3.0, 1.0])
    weights = {}
    for name, shape in edm_shapes(*EDM["tiny"]):
        value = torch.randn(shape, generator=generator)
        if name.endswith("resample_filter"):
            value = (torch.outer(taps, taps) / 64)[None, None]
        elif name == "map_noise.freqs":
            value = 16 * value
        elif ".norm" in name or "aux_norm" in name:
            value = 0.3 * value + float(name.endswith("weight"))
        elif len(shape) > 1:
            value = value / value[0].numel() ** 0.5
        weights[name] = value * (0.005 if "32x32_conv" in name else 1.0)
    return weights


def edm_forward(w: dict[str, torch.Tensor], y: torch.Tensor, level: torch.Tensor) -> torch.Tensor:
    """Compute the output of the authors' network for images and noise levels, from its published description."""

    def norm(name, x):
        groups = min(32, x.shape[1] // 4)
        return F.group_norm(x, groups, w[f"{name}.weight"], w[f"{name}.bias"], eps=1e-6)

    def dense(name, x):
        return F.silu(F.linear(x, w[f"{name}.weight"], w[f"{name}.bias"]))

    def resampled(x, direction):
        channels = x.shape[1]
        kernel = torch.tensor([1.0, 3.0, 3.0, 1.0]).outer(torch.tensor([1.0, 3.0, 3.0, 1.0])) / 64
        kernel = kernel.expand(channels, 1, 4, 4)
        if direction == "down":
            return F.conv2d(x, kernel, stride=2, padding=1, groups=channels)
        if direction == "up":
            return F.conv_transpose2d(x, 4 * kernel, stride=2, padding=1, groups=channels)
        return x

    def convolved(name, x, direction=None):
        weight = w[f"{name}.weight"]
        return F.conv2d(resampled(x, direction), weight, w[f"{name}.bias"], padding=weight.shape[-1] // 2)

    def aux_residual(name, x):
        x = F.conv2d(x, w[f"{name}.weight"], padding=1 + 1)
        kernel = w[f"{name}.resample_filter"].repeat(x.shape[1], 1, 1, 1)
        return F.conv2d(x, kernel, stride=2, groups=x.shape[1]) + w[f"{name}.bias"][:, None, None]

    def block(name, x):
        direction = name.rsplit("_", 1)[1]
        h = convolved(f"{name}.conv0", F.silu(norm(f"{name}.norm0", x)), direction)
        h = h + F.linear(embedding, w[f"{name}.affine.weight"], w[f"{name}.affine.bias"])[:, :, None, None]
        h = convolved(f"{name}.conv1", F.silu(norm(f"{name}.norm1", h)))
        x = ((convolved(f"{name}.skip", x, direction) if f"{name}.skip.weight" in w else x) + h) * 0.5**0.5
        if f"{name}.qkv.weight" not in w:
            return x
        n, c, *_ = x.shape
        q, k, v = convolved(f"{name}.qkv", norm(f"{name}.norm2", x)).reshape(n, c, 3, -1).unbind(2)
        attention = torch.einsum("ncq,nck->nqk", q, k / c**0.5).softmax(2)
        a = torch.einsum("nqk,nck->ncq", attention, v).reshape(x.shape)
        return (convolved(f"{name}.proj", a) + x) * 0.5**0.5

    phase = torch.outer(level, 2 * torch.pi * w["map_noise.freqs"])
    embedding = torch.cat([phase.cos(), phase.sin()], 1).reshape(len(y), 2, -1).flip(1).reshape(len(y), -1)
    embedding = dense("map_layer1", dense("map_layer0", embedding))
    x = aux = y
    skips = []
    for name in dict.fromkeys(".".join(key.split(".")[:2]) for key in w if key.startswith("enc.")):
        if name.endswith("aux_residual"):
            x = skips[-1] = aux = (x + aux_residual(name, aux)) / 2**0.5
        else:
            x = convolved(name, x) if name.endswith("_conv") else block(name, x)
            skips.append(x)
    for name in dict.fromkeys(".".join(key.split(".")[:2]) for key in w if key.startswith("dec.")):
        if name.endswith("aux_norm"):
            x = F.silu(norm(name, x))
        elif name.endswith("aux_conv"):
            x = convolved(name, x)
        else:
            width = w[f"{name}.norm0.weight"].numel()
            x = block(name, x if width == x.shape[1] else torch.cat([x, skips.pop()], 1))
    assert not skips
    return x


def test_the_imported_network_equals_the_network_of_the_authors():
    weights, network = random_weights(), NCSNpp(**TINY["network"]).eval()
    network.load_state_dict(official.convert_weights(weights, network, 32))
    y, level = torch.rand(3, 3, 32, 32), torch.tensor([0.01, 0.03, 0.05])
    with torch.no_grad():
        expected, actual = edm_forward(weights, y, level), network(y, level)
    assert expected.std() > 0.1
    assert (actual - expected).abs().max() <= 1e-5 * expected.abs().max()


@pytest.mark.parametrize(("name", "parameters"), [("tiny", None), ("base", 67_745_027), ("large", 520_915_459)])
def test_names_and_shapes_equal_those_of_the_authors(name, parameters):
    architecture = official.ARCHITECTURES.get(name, TINY)
    with torch.device("meta"):
        network = NCSNpp(**architecture["network"])
    actual, names = network.state_dict(), official.official_tensor_names(network, architecture["image_size"])
    expected = {k: s for k, s in edm_shapes(*EDM[name]) if not k.endswith("resample_filter")}
    assert set(names) == set(actual)
    assert {names[key]: tuple(value.shape) for key, value in actual.items()} == expected
    if parameters:
        assert sum(torch.Size(s).numel() for k, s in expected.items() if k != "map_noise.freqs") == parameters


# files


def released(weights=None, settings=BLUR, **extra) -> dict:
    weights = random_weights() if weights is None else weights
    state = {f"denoiser_fn.{key}": value for key, value in weights.items()}
    return {"epoch": 3, "state_dict": state | {"lpips.x": torch.zeros(1)}, "hyper_parameters": settings} | extra


@pytest.fixture
def read(monkeypatch, tmp_path):
    """Return a function that writes a file and imports it."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(official.ARCHITECTURES, "tiny", TINY)

    def read(content):
        torch.save(content, "theirs.ckpt")
        return official.read_official("theirs.ckpt")

    return read


def test_the_command_writes_a_usable_checkpoint(read, tmp_path, capsys):
    weights = random_weights()
    imported = read(released(weights, BLUR | {"loss_type": "weighted_mse_x_loss"}))
    torch.full((2**20,), torch.nan)  # freed memory with NaN exposes uninitialised tensors
    command = ["import_official", "checkpoint=theirs.ckpt", "output=ours.ckpt"]
    assert run_here(tmp_path, *command) == 0
    printed, restorer = capsys.readouterr().out, load("ours.ckpt")
    assert "deblur at 32 px" in printed and "split=val" in printed
    y, t = torch.rand(2, 3, 32, 32), torch.tensor([0.2, 0.9])
    expected = y + edm_forward(weights, y, 0.01 * 5**t)
    assert torch.allclose(restorer.denoiser(restorer.process, y, t), expected, atol=1e-5 * expected.abs().max().item())
    assert torch.equal(imported.restore(y, "t=0.9"), restorer.restore(y, "t=0.9"))
    assert restorer.process.degradation.severity(torch.tensor(0.5)).item() == pytest.approx(1.1010, abs=1e-3)
    assert from_recipe(restorer.training["loss"]).look_ahead == 1.0
    assert not any(restorer.stopping_points.values())
    assert run_here(tmp_path, *command) == 2
    assert "ours.ckpt: exists" in capsys.readouterr().err


@pytest.mark.parametrize("container", [tuple, list])
def test_averaged_weights_are_preferred(container):
    trained, average = random_weights(0), random_weights(1)
    average["map_noise.freqs"] = trained["map_noise.freqs"]
    values = container(value for key, value in average.items() if not key.endswith(("freqs", "resample_filter")))
    weights = official.extract_network_weights(released(trained, optimizer_states=[{"opt": {}, "ema": values}]))
    assert weights.keys() == average.keys() and all(torch.equal(weights[key], average[key]) for key in average)
    with pytest.raises(ValueError, match="averaged weights of the file do not fit"):
        official.extract_network_weights(released(trained, optimizer_states=[{"ema": values[1:]}]))
    saved = official.extract_network_weights(released(trained))
    assert all(torch.equal(saved[key], trained[key]) for key in trained)


@pytest.mark.parametrize(
    ("name", "task", "severity"),
    [
        ("gaussian_blur", "deblur", [0.3, 3.0]),
        ("inpainting_gaussian", "inpaint", [0.1, 50]),
        ("inpainting_gaussian_imagenet", "inpaint", [0.1, 30]),
    ],
)
def test_published_experiments_are_known(read, name, task, severity):
    settings = argparse.Namespace(**BLUR | {"experiment_config_file": Path(f"configs/experiments/{name}.yaml")})
    restorer = read(released(settings=settings))
    process = restorer.process
    assert restorer.name == task and restorer.sampler.num_steps == (50 if task == "deblur" else 100)
    assert process.degradation.severity(torch.tensor([0.0, 1.0])).tolist() == pytest.approx(severity)
    assert process.noise(torch.tensor([0.0, 1.0])).tolist() == pytest.approx([0.01, 0.05])
    if task == "inpaint":
        assert process.degradation(torch.ones(1, 1, 32, 32), 1.0)[0, 0, 16, 16] == 0


def test_conditioning_residual_and_look_ahead_are_read(read):
    denoiser = read(released(settings=BLUR | {"model_conditioning": "time", "residual_prediction": False})).denoiser
    assert denoiser.conditioning == "time" and not denoiser.residual
    for kind, expected in (("weighted_mse_loss", 0.0), ("weighted_mse_x_loss", 1.0), ("weighted_inc_recon_loss", 0.02)):
        assert official.parse_look_ahead({"loss_type": kind, "dt": 0.02}) == expected
    assert official.parse_look_ahead({"loss_type": "lpips_loss", "dt": 0.02}) == 0


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ([1, 2], "is not an official checkpoint"),
        (released(extra=subprocess.Popen), r"pickled objects .* Give"),
        ({"state_dict": {"model.x": torch.zeros(1)}, "hyper_parameters": BLUR}, "denoiser_fn."),
        (released(settings=BLUR | {"model_arch": "huge"}), "model_arch is 'huge', must be one of .*base"),
        (released(settings=BLUR | {"model_conditioning": "class"}), "'class'.*noise.*time"),
        (released(settings=BLUR | {"experiment_config_file": "mine.yaml"}), "'mine', must be one of .*gaussian_blur"),
    ],
)
def test_errors(read, content, message):
    with pytest.raises(ValueError, match=message):
        read(content)


@pytest.mark.parametrize(
    "name", ["enc.16x16_down.conv0.bias", "enc.4x4_x.weight", "map_layer1.bias", "dec.16x16_up.skip.resample_filter"]
)
def test_another_network_is_refused(name):
    weights = random_weights()
    weights[name] = torch.full((1, 1, 2, 2), 0.25)
    if name.startswith("enc.16"):
        del weights[name]
    with pytest.raises(ValueError, match=f"differs in {name}"):
        official.convert_weights(weights, NCSNpp(**TINY["network"]), 32)
