"""Files of weights and plain containers, read without running any code that they hold."""

import hashlib
import pickle
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from diracdiff.errors import UserError


def read_weights(path: str | Path, wanted: str, safe: Sequence[Any] = (), mmap: bool = False) -> Any:
    """Read a file of weights and plain containers without running any code that it holds.

    Args:
        path: the file.
        wanted: what to give instead, for messages.
        safe: classes that the file may hold besides, which must do nothing but store what they are given.
        mmap: leave tensors in the file until they are used, for files of which a part is wanted.

    Raises:
        UserError: if there is no such file, it is not a checkpoint, or holds a pickle.
    """
    path = Path(path)
    if not path.is_file():
        raise UserError(
            f"checkpoint={path} does not exist: give the path of a .ckpt file, such as runs/latest/best.ckpt"
        )
    try:
        with torch.serialization.safe_globals(list(safe)):
            return torch.load(path, map_location="cpu", weights_only=True, mmap=mmap)
    except pickle.UnpicklingError as error:
        if "Weights only load failed" in str(error) and "GLOBAL" in str(error):
            raise UserError(
                f"checkpoint={path} holds pickled objects besides weights, which could run code: refused; give {wanted}"
            ) from error
        raise UserError(f"checkpoint={path} is not a checkpoint: give {wanted}") from error
    except (RuntimeError, EOFError, ValueError, KeyError, OSError) as error:
        raise UserError(f"checkpoint={path} is not a checkpoint, or is damaged: give {wanted}") from error


def load_weights(module: nn.Module, weights: Mapping[str, Tensor], path: str | Path) -> None:
    """Give a module the weights of a checkpoint, and freeze it.

    Raises:
        UserError: if they do not fit.
    """
    try:
        module.load_state_dict(weights)
    except (RuntimeError, KeyError) as error:
        raise UserError(f"checkpoint={path}: its weights do not fit its recipe") from error
    module.eval().requires_grad_(False)


def fingerprint(weights: Mapping[str, Tensor]) -> str:
    """What tells the weights of two networks apart, whatever device they are on: 16 hexadecimal digits of a SHA-256."""
    digest = hashlib.sha256()
    for name in sorted(weights):
        digest.update(name.encode())
        digest.update(weights[name].detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()[:16]
