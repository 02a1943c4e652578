"""DnCNN weights of SCICO: equality of the networks, and refused files."""

import importlib.util
import pickle
from pathlib import Path

import msgpack
import pytest
import torch
import torch.nn.functional as F
from skimage import data

from diracdiff.baselines import load_prior


def pack(value) -> bytes:
    """Encode a value in the MessagePack format of Flax."""

    def extension(array):
        name = str(array.dtype).removeprefix("torch.")
        return msgpack.ExtType(1, pack((tuple(array.shape), name, array.numpy().tobytes())))

    return msgpack.packb(value, default=extension)


def flax(depth, channels=64):
    """Return random arrays with the names of a Flax DnCNN."""
    generator = torch.Generator().manual_seed(depth)

    def kernel(inputs, outputs):
        return {"kernel": torch.randn(3, 3, inputs, outputs, generator=generator) / (4 * inputs) ** 0.5}

    def numbers(minimum):
        return minimum + torch.rand(channels, generator=generator)

    params, stats = {"conv_start": kernel(1, channels), "conv_end": kernel(channels, 1)}, {}
    for i in range(depth - 2):
        norm = {"scale": numbers(0.5), "bias": numbers(-0.5)}
        params[f"ConvBNBlock_{i}"] = {"Conv_0": kernel(channels, channels), "BatchNorm_0": norm}
        stats[f"ConvBNBlock_{i}"] = {"BatchNorm_0": {"mean": numbers(-0.5), "var": numbers(0.5)}}
    return {"params": params, "batch_stats": stats}


def denoised(arrays, y):
    """Compute the output by its definition: y minus circular convolutions, normalised by running statistics."""

    def convolved(h, layer):
        return F.conv2d(F.pad(h, (1, 1, 1, 1), mode="circular"), layer["kernel"].permute(3, 2, 0, 1))

    params = arrays["params"]
    h = convolved(y.reshape(-1, 1, *y.shape[2:]), params["conv_start"]).relu()
    for name, stats in arrays["batch_stats"].items():
        stats, norm = stats["BatchNorm_0"], params[name]["BatchNorm_0"]
        scale = norm["scale"] / (stats["var"] + 1e-5).sqrt()
        h = convolved(h, params[name]["Conv_0"])
        h = ((h - stats["mean"].view(-1, 1, 1)) * scale.view(-1, 1, 1) + norm["bias"].view(-1, 1, 1)).relu()
    return y - convolved(h, params["conv_end"]).reshape(y.shape)


@pytest.mark.parametrize(("name", "depth", "sigma"), [("6L", 6, 0.06), ("17M", 17, 0.1), ("6H", 6, 0.2)])
def test_a_file_defines_the_network(tmp_path, name, depth, sigma):
    arrays, path = flax(depth), tmp_path / f"dncnn{name}.mpk"
    path.write_bytes(pack(arrays))
    prior = load_prior(path, key="dncnn")
    assert prior.sigma_min == prior.sigma_max == sigma
    y = torch.rand(2, 3, 9, 11)
    expected = denoised(arrays, y)
    assert (expected - y).abs().max() > 0.1
    assert torch.allclose(prior(y, sigma), expected, atol=1e-4 * expected.abs().max().item())
    prior.restorer.save(tmp_path / "ours.ckpt")
    assert torch.equal(load_prior(tmp_path / "ours.ckpt")(y, sigma), prior(y, sigma))


def test_other_files_are_refused(tmp_path):
    def refused(name, content, rule):
        path = tmp_path / name
        if content is not None:
            path.write_bytes(content)
        with pytest.raises(ValueError, match=rule) as error:
            load_prior(path, key="dncnn")
        assert str(error.value).startswith(f"dncnn={path}: must ") and "\n" not in str(error.value)

    whole = pack(flax(6))
    refused("dncnn17N.mpk", whole, "named as in SCICO")
    refused("dncnn17H.mpk", None, "must be a file")
    float64 = flax(6)
    float64["params"]["conv_end"]["kernel"] = float64["params"]["conv_end"]["kernel"].double()
    for content in (
        b"",
        whole[:-1],
        pickle.dumps({}),
        pack(flax(6, 32)),
        pack(flax(17)),
        pack(float64),
        b"\x91" * 5000,
    ):
        refused("dncnn6M.mpk", content, "must contain the 6 layers")


def test_the_published_network_denoises():
    spec = importlib.util.find_spec("scico")
    if spec is None:
        pytest.skip("needs the files of SCICO: pip install --no-deps scico==0.0.7")
    prior = load_prior(Path(spec.submodule_search_locations[0]) / "data/flax/dncnn17M.mpk", key="dncnn")
    x = torch.from_numpy(data.camera()[100:228, 200:328]).float().expand(1, 1, -1, -1) / 255
    y = x + 0.1 * torch.randn(x.shape, generator=torch.Generator().manual_seed(0))
    assert (prior(y, 0.1) - x).square().mean() < 0.2 * (y - x).square().mean()
