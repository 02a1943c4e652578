"""Large images: tiles, batches, and errors of memory and numbers."""

from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import BRIEF, SMALL, refused
from PIL import Image
from torch import nn

from diracdiff.data.image_io import ImageInfo
from diracdiff.data.inputs import MAX_PIXELS, Input, group_by_size
from diracdiff.degradations import GaussianBlur, LinearSeverity
from diracdiff.models import Denoiser, NCSNpp
from diracdiff.models.tiled import Tiled, Tiles, tile_spans
from diracdiff.noise import GeometricNoise
from diracdiff.process import StochasticDegradation
from diracdiff.restorer import Restorer
from diracdiff.samplers import Guidance, NetworkIncrement, ReverseSampler


class Local(nn.Module):
    """Network with a receptive field of 2 pixels on each side."""

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
    denoiser = Denoiser(network if network is not None else Local())
    return Restorer(process, denoiser, ReverseSampler(4, **sampler))


# tiles


@pytest.mark.parametrize(("side", "overlap"), [(32, 0), (32, 8), (32, 16), (64, 12), (20, 10), (4, 2)])
def test_weights_of_tiles_sum_to_one(side, overlap):
    tiled = Tiled(Local(), Tiles(side, overlap))
    for length in (4, 20, 64, 68, 100, 1000):
        total = torch.zeros(length, dtype=torch.float64)
        for part, weight in tiled._spans_with_weights(length, total):
            assert part.start % 4 == part.stop % 4 == 0 and 0 < part.stop - part.start <= max(side, 4)
            assert (weight >= 0).all()
            total[part] += weight
        assert torch.allclose(total, torch.ones_like(total), atol=1e-12)


def test_the_number_of_tiles_is_minimal():
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
def test_overlap_beyond_the_receptive_field_gives_equal_results(sampler):
    """Noise, operator, measurement and guidance gradient apply to the whole image."""
    module, y = restorer(**sampler), torch.rand(2, 3, 70, 90)
    module.tiles = Tiles(None)
    expected = module.restore(y, "t=0")
    module.denoiser.network.seen.clear()
    module.tiles = Tiles(32, 16, max_pixels=0)
    assert torch.allclose(module.restore(y, "t=0"), expected, atol=2e-6)
    assert max(module.denoiser.network.seen) <= 32 * 32
    module.tiles = Tiles(32, 0, max_pixels=0)
    assert not torch.allclose(module.restore(y, "t=0"), expected, atol=1e-4)


def test_tiles_keep_the_precision():
    denoiser = Denoiser(Local(2))
    denoiser.autocast = torch.bfloat16
    assert Tiles(32, 16).wrap(denoiser).autocast == torch.bfloat16


def test_a_local_network_gives_equal_results_in_tiles():
    network = NCSNpp(8, [1, 2], 1, [], 0.0, local=True)
    for parameter in network.parameters():
        nn.init.normal_(parameter, std=0.15)
    y, level = torch.rand(1, 3, 32, 400), torch.tensor([0.1])
    with torch.no_grad():
        expected = network.eval()(y, level)
        wide, narrow = (Tiled(network, Tiles(240, overlap))(y, level) for overlap in (96, 0))
    assert torch.allclose(wide, expected, atol=1e-5 * expected.std().item(), rtol=1e-5)
    assert not torch.allclose(narrow, expected, atol=1e-3 * expected.std().item(), rtol=1e-3)


def test_tiles_have_no_visible_edges():
    """A network with normalisation and attention per tile differs smoothly from the whole image."""
    network = NCSNpp(8, [1, 2, 2], 1, [2], 0.0)
    for parameter in network.parameters():
        nn.init.normal_(parameter, std=0.15)
    network = network.eval()
    y, level = torch.rand(1, 3, 96, 160), torch.tensor([0.1])
    with torch.no_grad():
        expected = network(y, level)
        fading, hard = (Tiled(network, Tiles(64, overlap))(y, level) - expected for overlap in (32, 0))

    def edge(gap):
        return max(gap.diff(dim=axis).mean([i for i in range(4) if i != axis % 4]).abs().max() for axis in (-1, -2))

    assert 0 < edge(fading) < edge(hard) / 3


def test_small_images_are_not_tiled():
    assert not Tiles().needed_for(torch.empty(1, 3, 1024, 1024)) and Tiles().needed_for(torch.empty(1, 3, 1024, 1025))
    assert not Tiles(None).needed_for(torch.empty(1, 3, 5000, 5000))
    assert Tiles(64, 16, max_pixels=64**2).needed_for(torch.empty(1, 3, 60, 70))
    module = restorer()
    unchanged = module.tiles.apply_to(module.denoiser, module.sampler, torch.empty(1, 3, 8, 8))
    assert unchanged == (module.denoiser, module.sampler)


def test_a_local_network_is_trained_and_restores_in_tiles(folder, tmp_path, call):
    options = [*folder, *SMALL, *BRIEF, "lpips=null", "experiment=local", "hydra.run.dir=local"]
    refused(call("train", *options), r"local=true: must be false with attention_levels=\[1\]. Use attention")
    assert call("train", *options, "model.network.attention_levels=[]") == (0, [])
    coarse = Image.fromarray(np.random.default_rng(0).integers(0, 255, (5, 20, 3), dtype=np.uint8))
    coarse.resize((200, 48), Image.Resampling.BICUBIC).save(tmp_path / "wide.png")
    for name, tile in (("whole", "null"), ("cut", "128")):
        options = [f"output={name}", f"tile={tile}", "overlap=64", "target=t:0.5"]
        assert call("restore", "checkpoint=local/best.ckpt", "input=wide.png", *options)[0] == 0
    expected, cut = (np.asarray(Image.open(tmp_path / name / "wide.png")).astype(int) for name in ("whole", "cut"))
    assert np.abs(expected - cut).max() <= 1


# batches


def test_batches_have_one_size_and_a_limited_number_of_pixels():
    def image(name, *size):
        return Input(Path(name), Path(name), ImageInfo(size, 8, 3, False, "png", False), {})

    images = [image(f"{i}", 256, 256) for i in range(10)] + [image(f"large{i}", 1500, 1000) for i in range(3)]
    grouped = group_by_size([*images, image("huge", 5000, 4000)], 8)
    assert [len(batch) for batch in grouped] == [8, 2, 1, 1, 1, 1]
    halves = group_by_size([image(f"{i}", 1024, 512) for i in range(8)], 8)
    assert [len(batch) for batch in halves] == [4, 4] and MAX_PIXELS == 2**21


# errors


def test_results_with_nan_are_named_and_not_written(run, measured_folder, tmp_path, call, monkeypatch):
    sample = Restorer.sample

    def with_nan(self, measurement, *arguments, **named):
        samples = sample(self, measurement, *arguments, **named)
        samples.images[:, 1, 0, 0, 0] = torch.nan
        return samples

    monkeypatch.setattr(Restorer, "sample", with_nan)
    options = [
        f"checkpoint={run[1]}/best.ckpt",
        f"input={measured_folder}",
        "output=out",
        "target=t:1",
        "batch_size=12",
    ]
    status, lines = call("restore", *options)
    assert status == 2 and len(lines) == 3 and lines[2].startswith("error: 2 of 24 images not restored")
    assert "01.png: its result is not a number" in lines[0] and "13.png: its result" in lines[1]
    assert len(list((tmp_path / "out").glob("*.png"))) == 22


def test_out_of_memory_names_the_key_to_lower(run, folder, measured_folder, tmp_path, call, monkeypatch):
    monkeypatch.setattr(NCSNpp, "forward", lambda *_: torch.empty(2**50))
    checkpoint, data = f"checkpoint={run[1]}/best.ckpt", [*folder[:2], *folder[3:], "lpips=null"]
    keys_of = {
        "restore": ([f"input={measured_folder}/05.png"], "batch_size"),
        "evaluate": ([*data, "trainer=cpu"], "data.eval_batch_size"),
        "compare": ([*data, "baseline=[measurement]", "tune_for=psnr", "device=cpu"], "batch_size"),
    }
    for name, (options, keys) in keys_of.items():
        refused(call(name, checkpoint, *options, f"output={name}"), f"^error: out of memory: lower .*{keys}")
        assert not [path for path in (tmp_path / name).rglob("*") if path.suffix in (".png", ".json", ".html")]
