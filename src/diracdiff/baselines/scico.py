"""Import of the DnCNN denoisers of SCICO (Balke et al. 2022).

The files `scico/data/flax/dncnn*.mpk` contain the float32 arrays of a Flax network in the MessagePack format. The
network is a `DnCNN` without biases and with circular padding that predicts y - x instead of x - y. The name of the file
determines the noise level.
"""

import importlib.util
import re
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from diracdiff.checkpoints.weights import load_weights
from diracdiff.degradations import Identity
from diracdiff.models import Denoiser, DnCNN
from diracdiff.noise import ConstantNoise
from diracdiff.process import StochasticDegradation
from diracdiff.restorer import Restorer

LEVELS = {"L": 0.06, "M": 0.10, "H": 0.20}
"""Standard deviations of the noise by the last letter of the name, in units of the [0, 1] range."""

MAX_FILE_SIZE = 2**24
"""Maximum file size in bytes; the published files have 2.2 MB."""

ARRAY_CODE = 1
"""Code of the MessagePack extension of Flax for arrays: shape, data type and content."""

NORM = {
    "weight": ("params", "scale"),
    "bias": ("params", "bias"),
    "running_mean": ("batch_stats", "mean"),
    "running_var": ("batch_stats", "var"),
}


def read_dncnn(path: str | Path, key: str = "dncnn") -> Restorer:
    """Read a DnCNN file of SCICO, such as `dncnn17M.mpk`.

    Args:
        path: file with its published name: "dncnn6" or "dncnn17", followed by "L", "M" or "H".
        key: configuration key of the path, for messages.

    Returns:
        Restorer for white noise of a single level.

    Raises:
        ValueError: if the file does not exist, has another name, or contains another network.
    """
    path = Path(path)
    name = re.fullmatch(r"dncnn(6|17)([LMH])\.mpk", path.name)
    if name is None:
        raise ValueError(f"{key}={path}: must be named as in SCICO. Use dncnn17M.mpk, 17L, 17H, 6L, 6M or 6H.")
    if not path.is_file():
        raise ValueError(f"{key}={path}: must be a file. Take it from the package scico, folder scico/data/flax.")
    if importlib.util.find_spec("msgpack") is None:
        raise ValueError(f"{key}={path}: must be read with msgpack. Run pip install 'diracdiff[baselines]'.")
    depth = int(name[1])
    with torch.device("meta"):
        denoiser = Denoiser(DnCNN(depth, circular=True))
    try:
        if path.stat().st_size > MAX_FILE_SIZE:
            raise ValueError("the file is too large")
        weights = _translate(_unpack(path.read_bytes()), depth)
        load_weights(denoiser, {f"network.{part}": weight for part, weight in weights.items()}, path)
    except Exception as error:  # any error of a parser of untrusted bytes
        raise ValueError(f"{key}={path}: must contain the {depth} layers of a DnCNN. Use the file of SCICO.") from error
    process = StochasticDegradation(Identity(), ConstantNoise(LEVELS[name[2]]))
    return Restorer(process, denoiser, name="denoise_fixed")


def _translate(arrays: dict[str, Any], depth: int) -> dict[str, Tensor]:
    """Convert the nested arrays of a Flax DnCNN to the state dictionary of `DnCNN`."""
    params = arrays["params"]
    if len(params) != depth:
        raise ValueError(f"{len(params)} layers")
    first, last = _kernel(params["conv_start"]), -_kernel(params["conv_end"])
    state = {"first.weight": first, "first.bias": first.new_zeros(len(first))}
    state |= {"last.weight": last, "last.bias": last.new_zeros(len(last))}
    for i in range(depth - 2):
        block = f"ConvBNBlock_{i}"
        state[f"middle.{i}.weight"] = _kernel(params[block]["Conv_0"])
        state[f"norms.{i}.num_batches_tracked"] = torch.tensor(0)
        for part, (group, name) in NORM.items():
            state[f"norms.{i}.{part}"] = arrays[group][block]["BatchNorm_0"][name]
    return state


def _kernel(layer: dict[str, Tensor]) -> Tensor:
    """Return a Flax kernel, (height, width, inputs, outputs), in the order (outputs, inputs, height, width)."""
    return layer["kernel"].permute(3, 2, 0, 1)


def _unpack(content: bytes) -> Any:
    import msgpack

    return msgpack.unpackb(content, ext_hook=_array, use_list=False)


def _array(code: int, content: bytes) -> Tensor:
    """Decode an array of the MessagePack extension of Flax."""
    if code != ARRAY_CODE:
        raise ValueError(f"extension {code}")
    shape, dtype, numbers = _unpack(content)
    if dtype != "float32":
        raise ValueError(f"an array of {dtype}")
    return torch.from_numpy(np.frombuffer(numbers, "<f4").astype(np.float32).reshape(shape))
