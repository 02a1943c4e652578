"""Checkpoints that the authors released: their network and ours are one function, and what else a file says."""

import argparse
import json
import subprocess
import sys
from collections import defaultdict
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from conftest import ROOT
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

from diracdiff.__main__ import COMMANDS
from diracdiff.checkpoints import official
from diracdiff.checkpoints.official.importing import read
from diracdiff.checkpoints.registry import from_recipe
from diracdiff.commands.import_official import GIVEN
from diracdiff.models import NCSNpp
from diracdiff.restorer import load
from diracdiff.utils.errors import UserError

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


# their network, from what is published of it


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
    """Names and shapes in the order in which their modules are made."""
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
        at = f"enc.{side}x{side}"
        if level:
            yield from edm_block(f"{at}_down", current, current, width, resample=True)
            yield f"{at}_aux_residual.weight", (current, aux, 3, 3)
            yield f"{at}_aux_residual.bias", (current,)
            yield f"{at}_aux_residual.resample_filter", (1, 1, 4, 4)
            aux = current
            skips.append(current)
        for i in range(2):
            yield from edm_block(f"{at}_block{i}", current, channels * multiplier, width, attention=side in sides)
            current = channels * multiplier
            skips.append(current)
    for level in reversed(range(len(multipliers))):
        side = size >> level
        at = f"dec.{side}x{side}"
        if level == len(multipliers) - 1:
            yield from edm_block(f"{at}_in0", current, current, width, attention=True)
            yield from edm_block(f"{at}_in1", current, current, width)
        else:
            yield from edm_block(f"{at}_up", current, current, width, resample=True)
        for i in range(3):
            inputs, current = current + skips.pop(), channels * multipliers[level]
            attended = i == 2 and side in sides
            yield from edm_block(f"{at}_block{i}", inputs, current, width, attention=attended)
    yield f"dec.{size}x{size}_aux_norm.weight", (current,)
    yield f"dec.{size}x{size}_aux_norm.bias", (current,)
    yield f"dec.{size}x{size}_aux_conv.weight", (3, current, 3, 3)
    yield f"dec.{size}x{size}_aux_conv.bias", (3,)


def random_weights(seed=0) -> dict[str, torch.Tensor]:
    """A tiny network with no weight at zero, and activations so small at first that eps of the norms matters."""
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
    """What their network makes of images and noise levels, read off the names."""

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
            wanted = w[f"{name}.norm0.weight"].numel()
            x = block(name, x if wanted == x.shape[1] else torch.cat([x, skips.pop()], 1))
    assert not skips
    return x


def test_the_imported_network_is_theirs():
    weights, network = random_weights(), NCSNpp(**TINY["network"]).eval()
    network.load_state_dict(official.translate(weights, network, 32))
    y, level = torch.rand(3, 3, 32, 32), torch.tensor([0.01, 0.03, 0.05])
    with torch.no_grad():
        theirs, ours = edm_forward(weights, y, level), network(y, level)
    assert theirs.std() > 0.1
    assert (ours - theirs).abs().max() <= 1e-5 * theirs.abs().max()


@pytest.mark.parametrize(("name", "parameters"), [("tiny", None), ("base", 67_745_027), ("large", 520_915_459)])
def test_names_and_shapes_are_theirs(name, parameters):
    described = official.ARCHITECTURES.get(name, TINY)
    with torch.device("meta"):
        network = NCSNpp(**described["network"])
    ours, names = network.state_dict(), official.official_names(network, described["image_size"])
    theirs = {k: s for k, s in edm_shapes(*EDM[name]) if not k.endswith("resample_filter")}
    assert set(names) == set(ours)
    assert {names[key]: tuple(value.shape) for key, value in ours.items()} == theirs
    if parameters:
        assert sum(torch.Size(s).numel() for k, s in theirs.items() if k != "map_noise.freqs") == parameters


@pytest.mark.parametrize(("theirs", "ours"), [("base", "base"), ("large", "xlarge")])
def test_architectures_are_those_of_the_configuration(theirs, ours):
    with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
        described = OmegaConf.to_container(compose("train", [f"model={ours}"]).model.network)
    plain = {"_target_": "diracdiff.models.NCSNpp", "patch": 1, "local": False}
    assert described == plain | official.ARCHITECTURES[theirs]["network"]


# the command


def released(weights=None, hyper=BLUR, **more) -> dict:
    weights = random_weights() if weights is None else weights
    state = {f"denoiser_fn.{key}": value for key, value in weights.items()}
    return {"epoch": 3, "state_dict": state | {"lpips.x": torch.zeros(1)}, "hyper_parameters": hyper} | more


@pytest.fixture
def run(monkeypatch, tmp_path, capsys):
    """Import a checkpoint in this process: (exit status, what it printed, what it complained of)."""
    from diracdiff.commands.import_official import main

    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(official.ARCHITECTURES, "tiny", TINY)

    def run_here(checkpoint, *overrides):
        if checkpoint is not None:
            torch.save(checkpoint, "theirs.ckpt")
        given = ["checkpoint=theirs.ckpt", "output=ours.ckpt", *overrides]
        monkeypatch.setattr(sys, "argv", ["import_official", *given])
        status = 0
        try:
            main()
        except SystemExit as stop:
            status = stop.code
        return status, *capsys.readouterr()

    return run_here


def refused(result, *parts):
    status, printed, complaint = result
    assert status == 2 and printed == "" and complaint.startswith("error: ") and complaint.count("\n") == 1, complaint
    for part in parts:
        assert part in complaint, complaint


def test_a_checkpoint_becomes_one_of_ours(run):
    weights = random_weights()
    status, printed, complaint = run(released(weights, BLUR | {"loss_type": "weighted_mse_x_loss"}))
    assert (status, complaint) == (0, "")
    restorer = load("ours.ckpt")
    y, t = torch.rand(2, 3, 32, 32), torch.tensor([0.2, 0.9])
    expected = y + edm_forward(weights, y, 0.01 * 5**t)
    assert torch.allclose(restorer.denoiser(y, t), expected, atol=1e-5 * expected.abs().max().item())
    assert restorer.process.degradation.image_size == 32 and restorer.name == "deblur"
    assert restorer.process.degradation.severity(torch.tensor(0.5)).item() == pytest.approx(1.1010, abs=1e-3)
    assert from_recipe(restorer.training["loss"]).look_ahead == 1.0
    assert restorer.stops == dict.fromkeys(("psnr", "lpips", "swd", "fid"))
    parameters = f"{sum(p.numel() for p in restorer.denoiser.parameters()):,}"
    for part in ("tiny", parameters, "weights as saved", "deblur", "published_blur", "0.01 to 0.05", "split=val"):
        assert part in printed
    assert len(printed.splitlines()) <= 8


def test_an_imported_checkpoint_is_measured_and_restores(run, monkeypatch, image_folder, capsys):
    from diracdiff import evaluate, restore
    from diracdiff.utils.files import read_rows

    def call(module, *overrides):
        monkeypatch.setattr(sys, "argv", ["command", "checkpoint=ours.ckpt", *overrides])
        module.main()

    assert run(released())[0] == 0
    image = f"input={image_folder / '00.png'}"
    with pytest.raises(SystemExit):
        call(restore, image)
    assert "never validated: give target=t=T" in capsys.readouterr().err
    call(restore, image, "target=t=0.9")
    assert Path("restored/00.png").exists()
    data = ["dataset=folder", f"dataset.root={image_folder}", "dataset.val_fraction=0.125", "loader.val_images=2"]
    call(evaluate, *data, "split=val", "sampler.steps=3", "lpips=null", "trainer=cpu", "tuned=tuned.ckpt")
    tuned = load("tuned.ckpt").stops["psnr"]
    rows = read_rows("evaluation/images.csv")
    found = json.loads(Path("evaluation/evaluation.json").read_text())["do"]
    means = defaultdict(list)
    for row in rows:
        means[float(row["t"]), row["output"]].append(float(row["psnr"]))
    best = max(means, key=lambda key: sum(means[key]))
    assert (found["t"], found["output"]) == best == (tuned.t, tuned.output)


def test_the_restorer_that_is_read_equals_the_one_that_is_saved(tmp_path, monkeypatch):
    monkeypatch.setitem(official.ARCHITECTURES, "tiny", TINY)
    torch.save(released(), tmp_path / "theirs.ckpt")
    torch.full((2**20,), torch.nan)  # what uninitialised memory may hold
    restorer = read(tmp_path / "theirs.ckpt", dict.fromkeys(GIVEN)).restorer
    kernels = {name: kernel for name, kernel in restorer.denoiser.named_buffers() if name.endswith("kernel")}
    assert kernels and all(kernel.sum() == pytest.approx(1) for kernel in kernels.values())
    restorer.save(tmp_path / "ours.ckpt")
    y = torch.rand(2, 3, 32, 32)
    assert torch.equal(restorer.restore(y, "t=0.9"), load(tmp_path / "ours.ckpt").restore(y, "t=0.9"))


def averages(kind, trained, average):
    """A file with an average, as different callbacks write it."""
    names = [key for key in average if not key.endswith(("freqs", "resample_filter"))]
    listed = [average[key] for key in names]
    if kind == "weight averaging":
        file = released(average)
        return file | {"current_model_state": released(trained)["state_dict"], "averaging_state": {}}
    if kind == "optimizer":
        return released(trained, optimizer_states=[{"opt": {}, "ema": tuple(listed), "decay": 0.9999}])
    if kind == "shadow":
        return released(trained, ema={"decay": 0.9999, "shadow_params": listed})
    file = released(trained)
    file["state_dict"] |= {kind + key: average[key] for key in names}
    return file


KINDS = ["weight averaging", "optimizer", "shadow", "ema.", "ema.denoiser_fn.", "denoiser_fn_ema.", "ema_denoiser_fn."]


@pytest.mark.parametrize("kind", KINDS)
def test_averaged_weights_are_preferred(kind):
    trained, average = random_weights(0), random_weights(1)
    average["map_noise.freqs"] = trained["map_noise.freqs"]
    file = averages(kind, trained, average)
    for ema, expected, words in (
        ("auto", average, "averaged weights ("),
        (True, average, "averaged weights ("),
        (False, trained, "weights as saved, not their average"),
    ):
        weights, which = official.network_weights(file, ema)
        assert which.startswith(words) and weights.keys() == expected.keys()
        assert all(torch.equal(weights[key], value) for key, value in expected.items())


def test_the_command_writes_the_average(run):
    trained, average = random_weights(0), random_weights(1)
    for ema, expected in (("auto", average), ("false", trained)):
        status, printed, _ = run(averages("optimizer", trained, average), f"ema={ema}", "overwrite=true")
        assert status == 0 and ("averaged weights (optimizer_states.0.ema)" in printed) == (ema == "auto")
        bias = load("ours.ckpt").denoiser.network.head[2].bias
        assert torch.equal(bias, expected["dec.32x32_aux_conv.bias"])


def test_averages_that_cannot_be_used_are_refused():
    weights, short = random_weights(0), random_weights(1)
    with pytest.raises(UserError, match="ema=true asks for averaged weights, and the file holds none"):
        official.network_weights(released(), True)
    with pytest.raises(UserError, match=r"ema=false .* the average alone"):
        official.network_weights(averages("optimizer", weights, weights), False)
    del short["dec.8x8_in0.qkv.bias"]
    for kind, lacking in (("optimizer", "map_layer0.weight"), ("ema.", "dec.8x8_in0.qkv.bias")):
        file = averages(kind, weights, short)
        with pytest.raises(UserError, match=f"do not fit the network: .*{lacking}.* use ema=false"):
            official.network_weights(file)
        assert official.network_weights(file, False)[1] == "weights as saved, not their average"


# what a file says


def test_published_experiments_are_known():
    nothing = dict.fromkeys(("operator", "severity", "sigma_min", "sigma_max"))
    noise = {"sigma_min": 0.01, "sigma_max": 0.05}
    for name, operator, severity in (
        ("gaussian_blur", "deblur", "published_blur"),
        ("inpainting_gaussian", "inpaint", [0.1, 50]),
        ("inpainting_gaussian_imagenet", "inpaint", [0.1, 30]),
    ):
        for file in (f"configs/experiments/{name}.yaml", Path(name)):
            settled = official.settle({"experiment_config_file": file}, nothing)
            assert settled == {"operator": operator, "severity": severity} | noise
            degradation = official.build_process(settled, 256).degradation
            assert degradation.image_size == 256
            if operator == "inpaint":
                assert degradation(torch.ones(1, 1, 256, 256), 1.0)[0, 0, 128, 128] == 0


@pytest.mark.parametrize(
    ("config", "operator", "severity"),
    [
        ({"type": "gaussian_blur", "scheduling": "linear", "max_std": 2.0}, "deblur", [0.3, 2.0]),
        ({"type": "gaussian_blur", "scheduling": "from_file", "schedule_path": "a/blur_schedule.txt"}, "deblur", None),
        (
            {"type": "inpainting", "mask_type": "gaussian", "scheduling": "linear", "mask_min_std": 0.1}
            | {"mask_max_std": 40, "mask_pow": 4},
            "inpaint",
            [0.1, 40],
        ),
    ],
)
def test_operators_and_noise_in_full(config, operator, severity):
    hyper = {"operator_config": config, "noise_config": {"sigma_min": 0.02, "sigma_max": 0.1}}
    settled = official.settle(hyper, dict.fromkeys(("operator", "severity", "sigma_min", "sigma_max")))
    assert settled == {
        "operator": operator,
        "severity": severity or "published_blur",
        "sigma_min": 0.02,
        "sigma_max": 0.1,
    }


def test_what_the_file_does_not_say_is_given(run):
    unsaid = {"model_arch": "tiny", "experiment_config_file": "mine.yaml", "residual_prediction": False}
    given = ["operator=inpaint", "severity=[0.1,20]", "sigma_min=0.02", "sigma_max=0.02"]
    for i, key in enumerate(("operator", "severity", "sigma_min", "sigma_max")):
        refused(run(released(hyper=unsaid), *given[:i]), f"does not say its {key} (", "mine.yaml", f"give {key}=")
    assert run(released(hyper=unsaid | {"model_conditioning": "time"}), *given)[0] == 0
    restorer = load("ours.ckpt")
    assert restorer.name == "inpaint" and not restorer.denoiser.residual
    assert restorer.denoiser.conditioning == "time"
    assert restorer.process.degradation.severity(torch.tensor([0.0, 1.0])).tolist() == pytest.approx([0.1, 20])
    assert restorer.process.noise(torch.tensor(0.3)).item() == pytest.approx(0.02)


def test_look_ahead_is_read_or_unknown():
    for kind, expected in (("weighted_mse_loss", 0.0), ("weighted_mse_x_loss", 1.0), ("weighted_inc_recon_loss", 0.02)):
        assert official.look_ahead({"loss_type": kind, "dt": 0.02}) == expected
    assert official.look_ahead({"loss_type": "lpips_loss", "dt": 0.02}) is None
    assert official.look_ahead({}) is None


def test_namespaces_and_paths_are_read_and_other_objects_are_not(run):
    path = {"experiment_config_file": Path("configs/experiments/gaussian_blur.yaml")}
    assert run(released(hyper=argparse.Namespace(**BLUR | path)))[0] == 0
    refused(run(released(extra=subprocess.Popen), "overwrite=true"), "pickled objects", "refused")


# mistakes


def test_mistakes(run, tmp_path):
    refused(run(None), "theirs.ckpt does not exist")
    Path("theirs.ckpt").write_text("no weights")
    refused(run(None), "theirs.ckpt is not a checkpoint")
    refused(run([1, 2]), "is of another kind")
    refused(run({"state_dict": {"model.x": torch.zeros(1)}, "hyper_parameters": BLUR}), "denoiser_fn.")
    refused(run(released(hyper=BLUR | {"model_arch": "huge"})), "'huge'", "base", "large")
    refused(run(released(hyper=BLUR | {"model_conditioning": "class"})), "'class'", "noise", "time")
    jpeg = {"model_arch": "tiny", "operator_config": {"type": "jpeg", "scheduling": "linear"}}
    refused(run(released(hyper=jpeg)), "type=jpeg", "not one of ours")
    cubed = {"type": "inpainting", "mask_type": "gaussian", "scheduling": "linear", "mask_pow": 3}
    refused(run(released(hyper={"model_arch": "tiny", "operator_config": cubed})), "mask_pow=3")
    refused(run(released(), "operator=inpaint"), "operator=inpaint contradicts the file, which says deblur")
    refused(run(released(), "sigma_max=0.1"), "sigma_max=0.1 contradicts", "0.05")
    refused(run(released(), "sigma_max=lots"), "sigma_max must be a number from 0 to 1, got lots")
    refused(run(released(), "ema=maybe"), "ema must be auto, true or false, got maybe")
    refused(run(released(), "output=ours"), "must be the path of a .ckpt file, got ours")
    unsaid, noise = {"model_arch": "tiny"}, ["sigma_min=0.01", "sigma_max=0.05"]
    refused(run(released(hyper=unsaid), "operator=jpeg", "severity=[1,2]", *noise), "operator must be one of", "jpeg")
    refused(run(released(hyper=unsaid), "operator=deblur", "severity=[2,1]", *noise), "severity", "start=2")
    refused(run(released(hyper=unsaid), "operator=deblur", "severity=3", *noise), "severity must be", "3")
    refused(run(released(hyper=unsaid), "operator=deblur", "severity=[1,2]", "sigma_min=1", "sigma_max=0.1"), "noise")
    assert {path.name for path in tmp_path.iterdir()} == {"theirs.ckpt"}
    assert run(released())[0] == 0
    refused(run(released()), "ours.ckpt exists", "overwrite=true")


def test_another_network_is_refused_by_name():
    network = NCSNpp(**TINY["network"])

    def problem(change):
        weights = random_weights()
        change(weights)
        with pytest.raises(UserError) as caught:
            official.translate(weights, network, 32)
        return str(caught.value)

    assert "lacks enc.16x16_down.conv0.bias" in problem(lambda w: w.pop("enc.16x16_down.conv0.bias"))
    assert "the unexpected enc.4x4_x.weight" in problem(lambda w: w.update({"enc.4x4_x.weight": torch.zeros(1)}))
    shape = problem(lambda w: w.update({"map_layer1.bias": torch.zeros(5)}))
    assert "map_layer1.bias (5,) instead of (64,)" in shape
    box = torch.full((1, 1, 2, 2), 0.25)
    assert "filter" in problem(lambda w: w.update({"dec.16x16_up.skip.resample_filter": box}))
    assert "and 7 more" in problem(lambda w: [w.pop(k) for k in list(w) if k.startswith("enc.32x32_block0")][:0])


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_its_module_and_configuration(name):
    assert find_spec(f"diracdiff.commands.{name}") and (ROOT / "conf" / f"{name}.yaml").is_file()


def test_importing_is_a_command():
    assert "import_official" in COMMANDS
