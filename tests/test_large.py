"""Large photographs and many of them: tiles, batches, and failures of a machine."""

from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import BRIEF, SMALL, refused
from PIL import Image
from torch import nn

from diracdiff.data.image_io import ImageInfo
from diracdiff.data.inputs import MAX_PIXELS, Input, batches
from diracdiff.degradations import GaussianBlur, LinearSeverity
from diracdiff.models import Denoiser, NCSNpp
from diracdiff.models.tiled import Tiled, Tiles, tile_spans
from diracdiff.noise import GeometricNoise
from diracdiff.process import StochasticDegradation
from diracdiff.restorer import Restorer
from diracdiff.samplers import Guidance, NetworkIncrement, ReverseSampler


class Local(nn.Module):
    """A network that looks 2 pixels far."""

    image_channels, multiple, images = 3, 4, 1

    def __init__(self, conditions=1):
        super().__init__()
        self.conditions = conditions
        self.first, self.second = nn.Conv2d(3, 8, 3, padding=1), nn.Conv2d(8, 3, 3, padding=1)
        self.seen = []

    def forward(self, y, level):
        self.seen.append(y.shape[-2] * y.shape[-1])
        return 0.3 * self.second(torch.tanh(self.first(y))) * level.reshape(len(y), -1).mean(1).reshape(-1, 1, 1, 1)


def restorer(network=None, **sampler):
    process = StochasticDegradation(GaussianBlur(LinearSeverity(0.3, 3.0), 64), GeometricNoise(0.02, 0.1))
    made = Denoiser(network if network is not None else Local())
    return Restorer(process, made, ReverseSampler(4, **sampler))


# tiles


@pytest.mark.parametrize(("side", "overlap"), [(32, 0), (32, 8), (32, 16), (64, 12), (20, 10), (4, 2)])
def test_tiles_cover_an_image_once(side, overlap):
    tiled = Tiled(Local(), Tiles(side, overlap))
    for length in (4, 20, 64, 68, 100, 1000):
        total = torch.zeros(length, dtype=torch.float64)
        for part, weight in tiled._spans_with_weights(length, total):
            assert part.start % 4 == part.stop % 4 == 0 and 0 < part.stop - part.start <= max(side, 4)
            assert (weight >= 0).all()
            total[part] += weight
        assert torch.allclose(total, torch.ones_like(total), atol=1e-12)


def test_parts_are_as_few_as_can_be():
    assert tile_spans(512, 512, 64, 16) == [(0, 512)]
    assert tile_spans(960, 512, 64, 16) == [(0, 512), (448, 960)]
    assert [last - first for first, last in tile_spans(976, 512, 64, 16)] == [368, 368, 368]


@pytest.mark.parametrize(
    "sampler",
    [
        {"eta": 1.0},
        {"eta": 1.0, "guidance": Guidance("std", 0.5)},
        {"eta": 0.0, "guidance": Guidance("error", 0.5)},
        {"increment": NetworkIncrement(Denoiser(Local(2)))},
    ],
    ids=["noise", "guided", "guided ode", "network increment"],
)
def test_tiles_beyond_the_reach_of_the_network_change_nothing(sampler):
    """Noise, operator, measurement and the gradient of guidance are those of the whole image."""
    module, y = restorer(**sampler), torch.rand(2, 3, 70, 90)
    module.tiles = Tiles(None)
    whole = module.restore(y, "t=0")
    module.denoiser.network.seen.clear()
    module.tiles = Tiles(32, 16, max_pixels=0)
    assert torch.allclose(module.restore(y, "t=0"), whole, atol=2e-6)
    assert max(module.denoiser.network.seen) <= 32 * 32
    module.tiles = Tiles(32, 0, max_pixels=0)
    assert not torch.allclose(module.restore(y, "t=0"), whole, atol=1e-4)


def test_a_local_network_is_the_same_in_tiles():
    network = NCSNpp(8, [1, 2], 1, [], 0.0, local=True)
    for parameter in network.parameters():
        nn.init.normal_(parameter, std=0.15)
    y, level = torch.rand(1, 3, 32, 400), torch.tensor([0.1])
    with torch.no_grad():
        whole = network.eval()(y, level)
        wide, narrow = (Tiled(network, Tiles(240, overlap))(y, level) for overlap in (96, 0))
    assert torch.allclose(wide, whole, atol=1e-5 * whole.std().item(), rtol=1e-5)
    assert not torch.allclose(narrow, whole, atol=1e-3 * whole.std().item(), rtol=1e-3)


def test_tiles_leave_no_edge():
    """A network whose normalisation and attention are those of the tile differs, smoothly."""
    network = NCSNpp(8, [1, 2, 2], 1, [2], 0.0)
    for parameter in network.parameters():
        nn.init.normal_(parameter, std=0.15)
    network = network.eval()
    y, level = torch.rand(1, 3, 96, 160), torch.tensor([0.1])
    with torch.no_grad():
        whole = network(y, level)
        fading, hard = (Tiled(network, Tiles(64, overlap))(y, level) - whole for overlap in (32, 0))

    def edge(gap):
        return max(gap.diff(dim=axis).mean([i for i in range(4) if i != axis % 4]).abs().max() for axis in (-1, -2))

    assert 0 < edge(fading) < edge(hard) / 3


def test_small_images_are_not_cut():
    assert not Tiles().needed_for(torch.empty(1, 3, 1024, 1024)) and Tiles().needed_for(torch.empty(1, 3, 1024, 1025))
    assert not Tiles(None).needed_for(torch.empty(1, 3, 5000, 5000))
    assert Tiles(64, 16, max_pixels=64**2).needed_for(torch.empty(1, 3, 60, 70))
    module = restorer()
    same = module.tiles.apply_to(module.denoiser, module.sampler, torch.empty(1, 3, 8, 8))
    assert same == (module.denoiser, module.sampler)


def test_a_local_network_is_trained_and_restores_in_tiles(folder, tmp_path, call):
    asked = [*folder, *SMALL, *BRIEF, "lpips=null", "experiment=local", "hydra.run.dir=local"]
    refused(call("train", *asked), r"local=true allows no attention: set attention_levels=\[\] \(now \[1\]\)")
    assert call("train", *asked, "model.network.attention_levels=[]") == (0, [])
    coarse = Image.fromarray(np.random.default_rng(0).integers(0, 255, (5, 20, 3), dtype=np.uint8))
    coarse.resize((200, 48), Image.Resampling.BICUBIC).save(tmp_path / "wide.png")
    for name, tile in (("whole", "null"), ("cut", "128")):
        options = [f"output={name}", f"tile={tile}", "overlap=64", "target=t:0.5"]
        assert call("restore", "checkpoint=local/best.ckpt", "input=wide.png", *options)[0] == 0
    whole, cut = (np.asarray(Image.open(tmp_path / name / "wide.png")).astype(int) for name in ("whole", "cut"))
    assert np.abs(whole - cut).max() <= 1


# batches


def test_batches_are_of_one_size_and_bounded_by_pixels():
    def image(name, *size):
        return Input(Path(name), Path(name), ImageInfo(size, 8, 3, False, "png", False), {})

    many = [image(f"{i}", 256, 256) for i in range(10)] + [image(f"large{i}", 1500, 1000) for i in range(3)]
    found = batches([*many, image("huge", 5000, 4000)], 8)
    assert [len(batch) for batch in found] == [8, 2, 1, 1, 1, 1]
    assert [len(b) for b in batches([image(f"{i}", 1024, 512) for i in range(8)], 8)] == [4, 4] and MAX_PIXELS == 2**21


# failures


def test_a_result_that_is_no_number_is_named_and_not_written(run, measured_folder, tmp_path, call, monkeypatch):
    sample = Restorer.sample

    def broken(self, measurement, *arguments, **named):
        samples = sample(self, measurement, *arguments, **named)
        samples.images[:, 1, 0, 0, 0] = torch.nan
        return samples

    monkeypatch.setattr(Restorer, "sample", broken)
    asked = [f"checkpoint={run[1]}/best.ckpt", f"input={measured_folder}", "output=out", "target=t:1", "batch_size=12"]
    status, lines = call("restore", *asked)
    assert status == 2 and len(lines) == 3 and lines[2].startswith("error: 2 of 24 images not restored")
    assert "01.png: its result is not a number" in lines[0] and "13.png: its result" in lines[1]
    assert len(list((tmp_path / "out").glob("*.png"))) == 22


def test_out_of_memory_says_what_to_lower(run, folder, measured_folder, tmp_path, call, monkeypatch):
    monkeypatch.setattr(NCSNpp, "forward", lambda *_: torch.empty(2**50))
    checkpoint, data = f"checkpoint={run[1]}/best.ckpt", [*folder[:2], *folder[3:], "lpips=null"]
    lower = {
        "restore": ([f"input={measured_folder}/05.png"], "batch_size"),
        "evaluate": ([*data, "trainer=cpu"], "data.eval_batch_size"),
        "compare": ([*data, "baseline=[measurement]", "tune_for=psnr", "device=cpu"], "batch_size"),
    }
    for name, (asked, keys) in lower.items():
        refused(call(name, checkpoint, *asked, f"output={name}"), f"^error: out of memory: lower .*{keys}")
        assert not [path for path in (tmp_path / name).rglob("*") if path.suffix in (".png", ".json", ".html")]
