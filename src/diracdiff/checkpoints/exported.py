"""Exported models: weights as safetensors, all else as JSON, and a card; no code in them runs.

The files are named as the Hub's libraries name them. The JSON file holds the SHA-256 of the weights.
"""

import hashlib
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load, save
from torch import Tensor

from diracdiff.checkpoints.checkpoint import DENOISER, KIND, Checkpoint
from diracdiff.checkpoints.places import CARD, CONFIG, WEIGHTS, located
from diracdiff.checkpoints.weights import LARGEST_PICKLE, Damaged
from diracdiff.utils.errors import UserError
from diracdiff.utils.files import check_output, together, write_atomically, write_json

INCREMENT = "increment."
"""Prefix of the weights of the sampler's incremental network; that of the denoiser is `denoiser.`"""


def write_exported(checkpoint: Checkpoint, folder: Path, card: str, half: bool = False, overwrite: bool = False) -> int:
    """Write a folder with a model, all files or none.

    Args:
        checkpoint: the model; the state that training resumes from is left out.
        folder: the folder to write.
        card: the text of its card, Markdown.
        half: keep weights in float16: half the bytes; they are read as float32 again.
        overwrite: replace existing files.

    Returns:
        The size of the weights' file in bytes.

    Raises:
        UserError: if a file exists, or cannot be written.
    """
    check_output(folder, [folder / name for name in (WEIGHTS, CONFIG, CARD)], overwrite)
    named = _named(checkpoint.weights, DENOISER) | _named(checkpoint.increment or {}, INCREMENT)
    kind = torch.float16 if half else None
    stored = {name: (w.to(kind) if kind and w.is_floating_point() else w) for name, w in named.items()}
    if not all(weight.isfinite().all() for weight in stored.values()):
        raise UserError("half=true: a weight is beyond the range of float16. Use half=false.")
    data = save(stored)
    header = {key: value for key, value in checkpoint.header().items() if key != "increment"}
    with together(folder) as staging:
        write_atomically(staging / WEIGHTS, data)
        write_json(staging / CONFIG, {KIND: header, "sha256": hashlib.sha256(data).hexdigest()})
        write_atomically(staging / CARD, card.encode())
    return len(data)


def check_not_source(folder: Path, sources: Iterable[str | Path]) -> None:
    """Refuse to write an exported model over a file that it is made from, which `overwrite=true` does not allow either.

    Args:
        folder: the folder to write.
        sources: checkpoints, see `diracdiff.checkpoints.places`, and other files that are read.

    Raises:
        UserError: naming both.
    """
    written = [path for path in (folder / name for name in (WEIGHTS, CONFIG, CARD)) if path.exists()]
    for source in sources:
        place = located(source)
        read = [place / name for name in (WEIGHTS, CONFIG)] if place.is_dir() else [place]
        if any(path.exists() and path.samefile(target) for path in read for target in written):
            raise UserError(f"output={folder}: {source} is read from there. Give another output.")


def read_exported(folder: Path) -> dict[str, Any]:
    """Read the two files of a folder that `write_exported` wrote, as the content of a checkpoint.

    Raises:
        Damaged: if a file is missing, or not as it was written.
    """
    name, again = str(folder), "export it again with diracdiff export"
    missing = next((file for file in (WEIGHTS, CONFIG) if not (folder / file).is_file()), None)
    if missing is not None:
        raise Damaged(f"checkpoint={name} is a folder without {missing}: give a .ckpt file, or {again}")
    try:
        if (folder / CONFIG).stat().st_size > LARGEST_PICKLE:
            raise ValueError(f"{CONFIG} is larger than {LARGEST_PICKLE} bytes")
        data, content = (folder / WEIGHTS).read_bytes(), json.loads((folder / CONFIG).read_text())
        if hashlib.sha256(data).hexdigest() != content["sha256"]:
            raise ValueError(f"{WEIGHTS} does not agree with its checksum")
        weights, header = load(data), dict(content[KIND])
    except OSError as error:
        raise UserError(f"checkpoint={name} cannot be read ({error.strerror}): check its permissions") from error
    except Exception as error:  # of two parsers of untrusted bytes, whatever they raise
        raise Damaged(f"checkpoint={name} is damaged ({' '.join(str(error).split())[:200]}): {again}") from error
    state = {key: value.float() if value.dtype == torch.float16 else value for key, value in weights.items()}
    increment = {key.removeprefix(INCREMENT): value for key, value in state.items() if key.startswith(INCREMENT)}
    return {KIND: header | {"increment": increment or None}, "state_dict": state}


def _named(weights: Mapping[str, Tensor], prefix: str) -> dict[str, Any]:
    return {f"{prefix}{name}": weight.detach().cpu().contiguous() for name, weight in weights.items()}


def difference(weights: Mapping[str, Tensor], others: Mapping[str, Tensor]) -> float:
    """Return the largest difference of two sets of weights, each divided by the largest of its tensor: 0 if equal."""
    pairs = ((weights[name].double(), others[name].double()) for name in weights)
    return max(((a - b).abs().max() / a.abs().max().clamp(min=1e-30)).item() for a, b in pairs if a.numel())
