"""Exported models: weights as safetensors, all else as JSON, and a card; nothing in them can run code.

The files are named as the Hub's libraries name them. The JSON file holds the SHA-256 of the weights.
"""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from diracdiff.places import CARD, CONFIG, WEIGHTS
from diracdiff.storage.checkpoint import DENOISER, KIND, Checkpoint
from diracdiff.storage.files import check_output, together, write_json
from diracdiff.storage.weights import Damaged

INCREMENT = "increment."
"""What the names of weights begin with that the sampler's incremental network has; the denoiser's: `denoiser.`"""


def write_exported(checkpoint: Checkpoint, folder: Path, card: str, half: bool = False, overwrite: bool = False) -> int:
    """Write a folder with a model, all files or none.

    Args:
        checkpoint: the model; what a training goes on with is left out.
        folder: where to.
        card: the text of its card, Markdown.
        half: keep weights in float16: half the bytes; they are read as float32 again.
        overwrite: replace what is there.

    Returns:
        The size of the weights' file in bytes.

    Raises:
        UserError: if something is in the way, or cannot be written.
    """
    check_output(folder, [folder / name for name in (WEIGHTS, CONFIG, CARD)], overwrite)
    named = _named(checkpoint.weights, DENOISER) | _named(checkpoint.increment or {}, INCREMENT)
    kind = torch.float16 if half else None
    data = save({name: (w.to(kind) if kind and w.is_floating_point() else w) for name, w in named.items()})
    header = {key: value for key, value in checkpoint.header().items() if key != "increment"}
    with together(folder) as staging:
        (staging / WEIGHTS).write_bytes(data)
        write_json(staging / CONFIG, {KIND: header, "sha256": hashlib.sha256(data).hexdigest()})
        (staging / CARD).write_text(card)
    return len(data)


def read_exported(folder: Path) -> Checkpoint:
    """Read a folder that `write_exported` wrote.

    Raises:
        Damaged: if a file is missing, or not as it was written.
        UserError: if it is of a newer version.
    """
    name, again = str(folder), "export it again with diracdiff.export"
    try:
        data, content = (folder / WEIGHTS).read_bytes(), json.loads((folder / CONFIG).read_text())
        header, sum_of_weights = content[KIND], content["sha256"]
        if hashlib.sha256(data).hexdigest() != sum_of_weights:
            raise ValueError(f"{WEIGHTS} does not agree with its checksum")
        weights = load(data)
    except FileNotFoundError as error:
        missing = Path(error.filename).name
        raise Damaged(f"checkpoint={name} is a folder without {missing}: give a .ckpt file, or {again}") from error
    except (OSError, ValueError, KeyError, TypeError, RecursionError, SafetensorError) as error:
        raise Damaged(f"checkpoint={name} is damaged ({' '.join(str(error).split())}): {again}") from error
    state = {key: value.float() if value.dtype == torch.float16 else value for key, value in weights.items()}
    increment = {key.removeprefix(INCREMENT): value for key, value in state.items() if key.startswith(INCREMENT)}
    return Checkpoint.of({KIND: header | {"increment": increment or None}, "state_dict": state}, name)


def _named(weights: Mapping[str, Tensor], prefix: str) -> dict[str, Any]:
    return {f"{prefix}{name}": weight.detach().cpu().contiguous() for name, weight in weights.items()}


def difference(weights: Mapping[str, Tensor], others: Mapping[str, Tensor]) -> float:
    """The largest difference of two sets of weights, each divided by the largest of its tensor: 0 where equal."""
    pairs = ((weights[name].double(), others[name].double()) for name in weights)
    return max(((a - b).abs().max() / a.abs().max().clamp(min=1e-30)).item() for a, b in pairs if a.numel())
