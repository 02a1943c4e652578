"""Import of the checkpoints that the authors of DiracDiffusion released.

The official network is the SongUNet of Karras et al. 2022 in its NCSN++ configuration. It computes the same function as
`NCSNpp`, and the blocks correspond one to one. There are two differences. The rows of the official `qkv` alternate
(q, k, v of channel 0, then of channel 1, …), while `NCSNpp` has three blocks. Official layers that resample keep
their filter as a buffer, which is checked and left out. The centre of the Gaussian mask is pixel 128 of 256 in both.
"""

from argparse import Namespace
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path, PosixPath, PurePath
from typing import Any

import torch
from torch import Tensor

from diracdiff.checkpoints import read_weights, to_recipe
from diracdiff.checkpoints.weights import load_weights
from diracdiff.degradations import Degradation, GaussianBlur, GaussianInpainting, LinearSeverity, TabulatedSeverity
from diracdiff.losses import IncrementalReconstructionLoss
from diracdiff.models import Denoiser, NCSNpp
from diracdiff.models.layers import FIR
from diracdiff.noise import GeometricNoise
from diracdiff.process import StochasticDegradation
from diracdiff.restorer import Restorer
from diracdiff.samplers import ReverseSampler

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
"""{official `model_arch`: image size and arguments of `NCSNpp`}. Layer names contain the sizes of their images."""

EXPERIMENTS: dict[str, tuple[str, int, Callable[[int], Degradation]]] = {
    "gaussian_blur": ("deblur", 50, lambda size: GaussianBlur(TabulatedSeverity.from_csv("published_blur"), size)),
    "inpainting_gaussian": ("inpaint", 100, partial(GaussianInpainting, LinearSeverity(0.1, 50), centre=0.0)),
    "inpainting_gaussian_imagenet": ("inpaint", 100, partial(GaussianInpainting, LinearSeverity(0.1, 30), centre=0.0)),
}
"""{official `experiment_config_file`: task, number of steps and degradation}."""

CONDITIONING = {"noise": "sigma", "time": "time"}
LOOK_AHEAD = {"weighted_mse_loss": 0.0, "weighted_mse_x_loss": 1.0}

LAYER_NAMES = {
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
"""{name of a layer in a block of `NCSNpp`: official name}."""

PREFIX = "denoiser_fn."
BUFFERS = ("freqs", "resample_filter")
SAFE_CLASSES = {"argparse.Namespace": Namespace, "pathlib.PosixPath": PosixPath, "pathlib._local.PosixPath": PosixPath}
"""Classes in official files, in addition to tensors and plain containers. They only store their arguments."""


def read_official(path: str | Path) -> Restorer:
    """Read an official checkpoint.

    Args:
        path: the file.

    Returns:
        A restorer. Its weights are the EMA if the file holds one.

    Raises:
        ValueError: if the file is not an official checkpoint, or its architecture or experiment is unknown.
    """
    wanted = "one that the authors of DiracDiffusion released"
    theirs = read_weights(path, wanted, safe=SAFE_CLASSES, mmap=True)
    if not isinstance(theirs, dict):
        raise ValueError(f"checkpoint={path}: is not an official checkpoint. Give {wanted}.")
    parameters = theirs.get("hyper_parameters")
    parameters = vars(parameters) if isinstance(parameters, Namespace) else parameters
    settings = dict(parameters) if isinstance(parameters, Mapping) else {}
    architecture = _lookup(ARCHITECTURES, "model_arch", settings.get("model_arch", "base"))
    experiment = PurePath(str(settings.get("experiment_config_file") or settings.get("operator_config"))).stem
    task, steps, degradation = _lookup(EXPERIMENTS, "experiment_config_file", experiment)
    conditioning = _lookup(CONDITIONING, "model_conditioning", settings.get("model_conditioning", "noise"))
    size = architecture["image_size"]
    with torch.device("meta"):
        network = NCSNpp(**architecture["network"])
    denoiser = Denoiser(network, conditioning, bool(settings.get("residual_prediction", True)))
    weights = convert_weights(extract_network_weights(theirs), network, size)
    load_weights(denoiser, {f"network.{name}": weight for name, weight in weights.items()}, path)
    process = StochasticDegradation(degradation(size), GeometricNoise(0.01, 0.05))
    restorer = Restorer(process, denoiser, ReverseSampler(steps), name=task)
    restorer.training = {"loss": to_recipe(IncrementalReconstructionLoss(parse_look_ahead(settings)))}
    return restorer


def _lookup(known: Mapping[str, Any], key: str, name: Any) -> Any:
    if not isinstance(name, str) or name not in known:
        raise ValueError(f"the file's {key} is {name!r}, must be one of {list(known)}")
    return known[name]


def parse_look_ahead(settings: Mapping[str, Any]) -> float:
    """Return the look-ahead of the loss; 0 if unknown. Only the incremental loss uses the official `dt`."""
    kind, dt = settings.get("loss_type"), settings.get("dt")
    if kind == "weighted_inc_recon_loss" and isinstance(dt, float | int) and 0 <= dt <= 1:
        return dt
    return LOOK_AHEAD.get(str(kind), 0.0)


def official_tensor_names(network: NCSNpp, image_size: int) -> dict[str, str]:
    """Return {tensor name in `NCSNpp`: official name}. Official names contain image sizes instead of levels.

    Args:
        network: the network.
        image_size: side of the images in pixels.
    """
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
            names[f"{ours}.{key}"] = ".".join(filter(None, [theirs, LAYER_NAMES[part], tensor]))
    return names


def convert_weights(theirs: Mapping[str, Tensor], network: NCSNpp, image_size: int) -> dict[str, Tensor]:
    """Convert official weights to a state dict of `NCSNpp` in float32.

    Args:
        theirs: {official name without prefix: tensor}.
        network: the target; only its names and shapes are used.
        image_size: side of the images in pixels, which official names contain.

    Raises:
        ValueError: if a tensor is missing, unexpected or of another shape, or a filter differs.
    """
    names, shapes = official_tensor_names(network, image_size), {k: v.shape for k, v in network.state_dict().items()}
    filters = {key: value for key, value in theirs.items() if key.endswith(".resample_filter")}
    kernel = FIR("down").kernel
    wrong = sorted((theirs.keys() - filters.keys()) ^ set(names.values()))
    wrong += [name for ours, name in names.items() if name in theirs and theirs[name].shape != shapes[ours]]
    wrong += [k for k, v in filters.items() if v.shape != kernel.shape or not torch.allclose(v.float(), kernel)]
    if wrong:
        raise ValueError(f"the network of the file is not of the architecture that it names: it differs in {wrong[0]}")
    state = {ours: theirs[name].float().clone() for ours, name in names.items()}
    return {key: _deinterleave_qkv(value) if ".qkv." in key else value for key, value in state.items()}


def _deinterleave_qkv(rows: Tensor) -> Tensor:
    """Reorder rows q0, k0, v0, q1, … to q0, q1, …, k0, k1, …, v0, v1, …."""
    blocks: Tensor = rows.unflatten(0, (-1, 3)).transpose(0, 1).flatten(0, 1).contiguous()
    return blocks


def extract_network_weights(checkpoint: Mapping[str, Any]) -> dict[str, Tensor]:
    """Return {name without prefix: tensor} of the network. The EMA in the optimiser state takes precedence.

    Args:
        checkpoint: content of an official file.

    Raises:
        ValueError: if there are no weights of the network, or the EMA has other shapes.
    """
    state = checkpoint.get("state_dict")
    saved = {
        str(key).removeprefix(PREFIX): value
        for key, value in (state.items() if isinstance(state, Mapping) else ())
        if str(key).startswith(PREFIX) and isinstance(value, Tensor)
    }
    if not saved:
        raise ValueError(f"the file holds no weights named {PREFIX}…: give one of the authors of DiracDiffusion")
    match checkpoint.get("optimizer_states"):
        case [{"ema": [*average]}, *_] if average:
            parameters = [key for key in saved if not key.endswith(BUFFERS)]
            if [getattr(value, "shape", None) for value in average] != [saved[key].shape for key in parameters]:
                raise ValueError("the averaged weights of the file do not fit its network: give an unchanged file")
            saved |= dict(zip(parameters, average, strict=True))
    return saved
