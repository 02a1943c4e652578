"""Names and layout of the weights in released files.

Their network is the SongUNet of Karras et al. 2022 in its NCSN++ configuration, which is the function of `NCSNpp`:
blocks, order and shapes agree one to one. Two things differ. The rows of their `qkv` are interleaved (q, k, v of
channel 0, then of channel 1, …), those of `NCSNpp` are three blocks. And every layer that resamples keeps its filter
as a buffer, which is checked and left out.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from diracdiff.models import NCSNpp
from diracdiff.models.layers import FIR

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
"""Layers of a block: the name in `NCSNpp` to theirs."""

PREFIX = "denoiser_fn."
BUFFERS = ("freqs", "resample_filter")


def official_names(network: NCSNpp, image_size: int) -> dict[str, str]:
    """Return their name of every tensor, by that of `NCSNpp`: they count in sides of the images, we in levels."""
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
            tensor = "freqs" if tensor == "frequencies" else tensor
            names[f"{ours}.{key}"] = ".".join(filter(None, [theirs, PARTS[part], tensor]))
    return names


def translate(theirs: Mapping[str, Tensor], network: NCSNpp, image_size: int) -> dict[str, Tensor]:
    """Return their state of the network as that of `NCSNpp`, in float32.

    Args:
        theirs: tensors by their names, without prefix.
        network: the target, on any device; only names and shapes are used.
        image_size: side of the images that their names are made from.

    Raises:
        ValueError: naming the tensors that are missing, unexpected or of another shape, or another filter.
    """
    names, shapes = official_names(network, image_size), {k: v.shape for k, v in network.state_dict().items()}
    filters = {key: value for key, value in theirs.items() if key.endswith(".resample_filter")}
    if missing := [name for name in names.values() if name not in theirs]:
        raise ValueError(f"the network of the file lacks {_few(missing)}: it is not of the architecture that it names")
    wrong = sorted(theirs.keys() - set(names.values()) - filters.keys())
    wrong += [name for ours, name in names.items() if theirs[name].shape != shapes[ours]]
    wrong += [key for key, value in filters.items() if not _equal(value.float(), FIR("down").kernel)]
    if wrong:
        raise ValueError(
            f"the network of the file has unexpected names, shapes or filters: {_few(wrong)}. It is not of the "
            "architecture that it names"
        )
    state = {ours: theirs[name].float().clone() for ours, name in names.items()}
    return {key: _blocked(value) if ".qkv." in key else value for key, value in state.items()}


def _blocked(rows: Tensor) -> Tensor:
    """Reorder rows q0, k0, v0, q1, … to q0, q1, … k0, … v0, and so on."""
    blocks: Tensor = rows.unflatten(0, (-1, 3)).transpose(0, 1).flatten(0, 1).contiguous()
    return blocks


def network_weights(checkpoint: Mapping[str, Any], ema: str | bool = "auto") -> tuple[dict[str, Tensor], str]:
    """Return the network's tensors by their names, without prefix, and a text that names their origin.

    Args:
        checkpoint: the content of their file.
        ema: True for the averaged weights, False for those that were trained, "auto" for the average if there is one.

    Raises:
        ValueError: if there are no such weights, or an average does not fit the network.
    """
    saved = _under(checkpoint.get("state_dict"), PREFIX)
    if not saved:
        raise ValueError(f"the file holds no weights named {PREFIX}…: give one of the authors of DiracDiffusion")
    parameters = [key for key in saved if not key.endswith(BUFFERS)]
    average = _average(checkpoint)
    if ema is True and not average:
        raise ValueError("ema=true: the file holds no averaged weights of a known form. Use ema=auto.")
    if ema is False or not average:
        return saved, "weights as saved" + (", not their average" if average else "")
    if len(average) != len(parameters):
        raise ValueError(
            f"the averaged weights do not fit the network: {len(average)} tensors for {len(parameters)} parameters; "
            "use ema=false"
        )
    return saved | dict(zip(parameters, average, strict=True)), "averaged weights (optimizer_states.0.ema)"


def _average(checkpoint: Mapping[str, Any]) -> list[Tensor]:
    """Return the average that their EMA optimizer keeps, in the order of the parameters; empty if there is none."""
    match checkpoint.get("optimizer_states"):
        case [{"ema": [*values]}, *_] if all(isinstance(value, Tensor) for value in values):
            return values
    return []


def _under(state: Any, prefix: str) -> dict[str, Tensor]:
    """Return the tensors of a state whose names begin with a prefix, without it."""
    if not isinstance(state, Mapping):
        return {}
    return {
        key.removeprefix(prefix): value
        for key, value in state.items()
        if isinstance(key, str) and key.startswith(prefix) and isinstance(value, Tensor)
    }


def _equal(a: Tensor, b: Tensor) -> bool:
    return a.shape == b.shape and torch.allclose(a, b)


def _few(names: Sequence[str], most: int = 3) -> str:
    """Return the first names of a list, and the number of the others."""
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more
