"""Their network in our names.

It is the SongUNet of Karras et al. 2022 in its NCSN++ configuration, which is the function of our `NCSNpp`: blocks,
order and shapes agree one to one. Two things differ. The rows of their `qkv` are interleaved (q, k, v of channel
0, then of channel 1, …) where ours are three blocks. And they keep the resampling filter as a buffer of every
layer that resamples, which is checked and left out.
"""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from diracdiff.checkpoints.official.weights import few
from diracdiff.models import NCSNpp
from diracdiff.models.layers import FIR
from diracdiff.utils.errors import UserError

ARCHITECTURES: dict[str, dict[str, Any]] = {
    "base": {
        "image_size": 256,
        "network": {
            "channels": 128,
            "multipliers": [1, 1, 2, 2, 2, 2, 2],
            "blocks": 2,
            "attention_levels": [4],
            "dropout": 0.1,
        },
    },
    "large": {
        "image_size": 256,
        "network": {
            "channels": 256,
            "multipliers": [1, 1, 2, 2, 4, 4],
            "blocks": 2,
            "attention_levels": [3, 4, 5],
            "dropout": 0.0,
        },
    },
}
"""Their `model_arch`: the image size, whose sides name their layers, and the arguments of `NCSNpp`."""

TENSORS = {"frequencies": "freqs"}
PARTS = {
    "norm_in": "norm0",
    "conv_in": "conv0",
    "embed": "affine",
    "norm_out": "norm1",
    "conv_out": "conv1",
    "skip": "skip",
    "attention.norm": "norm2",
    "attention.qkv": "qkv",
    "attention.out": "proj",
    "": "",
}
"""Layers of a block: our name to theirs."""


def official_names(network: NCSNpp, image_size: int) -> dict[str, str]:
    """Our name of every tensor of the network, and theirs: theirs count in sides of the images, ours in levels."""
    last = len(network.multipliers) - 1
    sides = [f"{image_size >> level}x{image_size >> level}" for level in range(last + 1)]
    modules = {
        "embedding.0": "map_noise",
        "embedding.1": "map_layer0",
        "embedding.3": "map_layer1",
        "stem": f"enc.{sides[0]}_conv",
        "middle.0": f"dec.{sides[last]}_in0",
        "middle.1": f"dec.{sides[last]}_in1",
        "head.0": f"dec.{sides[0]}_aux_norm",
        "head.2": f"dec.{sides[0]}_aux_conv",
    }
    for level, side in enumerate(sides):
        modules |= {f"encoder.{level}.blocks.{i}": f"enc.{side}_block{i}" for i in range(network.blocks)}
        modules |= {f"decoder.{last - level}.{i}": f"dec.{side}_block{i}" for i in range(network.blocks + 1)}
        if level > 0:
            modules[f"encoder.{level}.down"] = f"enc.{side}_down"
            modules[f"encoder.{level}.pyramid.0"] = f"enc.{side}_aux_residual"
            modules[f"up.{last - level}"] = f"dec.{sides[level - 1]}_up"
    names = {}
    for ours, theirs in modules.items():
        for key in network.get_submodule(ours).state_dict():
            part, _, tensor = key.rpartition(".")
            names[f"{ours}.{key}"] = ".".join(filter(None, [theirs, PARTS[part], TENSORS.get(tensor, tensor)]))
    return names


def translate(theirs: Mapping[str, Tensor], network: NCSNpp, image_size: int) -> dict[str, Tensor]:
    """Their state of the network as ours, in float32.

    Args:
        theirs: tensors by their names, without prefix.
        network: ours, on any device: tells names and shapes.
        image_size: side of the images that their names are made from.

    Raises:
        UserError: naming the tensors that are missing, unexpected or of another shape, or another filter.
    """
    names, shapes = official_names(network, image_size), {k: v.shape for k, v in network.state_dict().items()}
    filters = {key: value for key, value in theirs.items() if key.endswith(".resample_filter")}
    problems = {
        "lacks": [name for name in names.values() if name not in theirs],
        "has the unexpected": sorted(theirs.keys() - set(names.values()) - filters.keys()),
        "has other shapes:": [
            f"{name} {tuple(theirs[name].shape)} instead of {tuple(shapes[ours])}"
            for ours, name in names.items()
            if name in theirs and theirs[name].shape != shapes[ours]
        ],
        "resamples with another filter than [1, 3, 3, 1]:": [
            key for key, value in filters.items() if not _same(value.float(), FIR("down").kernel)
        ],
    }
    found = [f"{problem} {few(keys)}" for problem, keys in problems.items() if keys]
    if found:
        raise UserError(f"the network of the file {'; '.join(found)}: it is not of the architecture that it names")
    state = {ours: theirs[name].float().clone() for ours, name in names.items()}
    return {key: _blocked(value) if ".qkv." in key else value for key, value in state.items()}


def _blocked(rows: Tensor) -> Tensor:
    """Rows q0, k0, v0, q1, … as q0, q1, … k0, … v0, and so on."""
    blocks: Tensor = rows.unflatten(0, (-1, 3)).transpose(0, 1).flatten(0, 1).contiguous()
    return blocks


def _same(a: Tensor, b: Tensor) -> bool:
    return a.shape == b.shape and torch.allclose(a, b)
