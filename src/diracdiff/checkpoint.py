"""Reading checkpoints: weights and plain containers, nothing that could run code."""

import pickle
from pathlib import Path
from typing import Any

import torch

from diracdiff.errors import UserError

KIND = "diracdiff.restorer"
"""Key under which a checkpoint keeps version, recipe, stopping times and trade-off curve."""


def read_checkpoint(path: str | Path) -> dict[str, Any]:
    """Read a checkpoint of a restorer without running any code that it holds.

    Raises:
        UserError: if there is no such file, it is not a checkpoint, holds a pickle, or is of another kind.
    """
    path = Path(path)
    if not path.is_file():
        raise UserError(
            f"checkpoint={path} does not exist: give the path of a .ckpt file, such as runs/latest/best.ckpt"
        )
    try:
        checkpoint = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        if "Weights only load failed" in str(error) and "GLOBAL" in str(error):
            raise UserError(
                f"checkpoint={path} holds pickled objects besides weights, which could run code: refused; "
                "give a checkpoint that diracdiff wrote"
            ) from error
        raise UserError(f"checkpoint={path} is not a checkpoint: give one that diracdiff wrote") from error
    except (RuntimeError, EOFError, ValueError, KeyError, OSError) as error:
        raise UserError(
            f"checkpoint={path} is not a checkpoint, or is damaged: give one that diracdiff wrote"
        ) from error
    if not isinstance(checkpoint, dict) or KIND not in checkpoint:
        raise UserError(f"checkpoint={path} is of another kind: give one that diracdiff.train wrote")
    return checkpoint
