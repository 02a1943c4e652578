"""Files of weights and plain containers, read without running any code that they hold."""

import hashlib
import pickle
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO, cast

import torch
from torch import Tensor, nn

from diracdiff.errors import UserError
from diracdiff.storage.files import replacing

DAMAGE = (zipfile.BadZipFile, NotImplementedError, RuntimeError, EOFError, ValueError, KeyError, OSError)
"""What zipfile and torch.load raise on a file that is not whole: the second where its method of compression is none."""


class Damaged(UserError):
    """A file of weights is not whole, or not as it was written."""


def read_weights(path: str | Path, wanted: str, safe: Sequence[Any] = (), mmap: bool = False) -> Any:
    """Read a file of weights and plain containers without running any code that it holds.

    Args:
        path: the file.
        wanted: what to give instead, for messages.
        safe: classes that the file may hold besides, which must do nothing but store what they are given.
        mmap: leave tensors in the file until they are used, for files of which a part is wanted.

    Raises:
        Damaged: if what it holds does not agree with its checksums, or ends too early.
        UserError: if there is no such file, it is not a checkpoint, or holds a pickle.
    """
    path = Path(path)
    if not path.is_file():
        raise UserError(
            f"checkpoint={path} does not exist: give the path of a .ckpt file, such as runs/latest/best.ckpt"
        )
    try:
        _check_sums(path)
        with torch.serialization.safe_globals(list(safe)):
            return torch.load(path, map_location="cpu", weights_only=True, mmap=mmap)
    except pickle.UnpicklingError as error:
        if "Weights only load failed" in str(error) and "GLOBAL" in str(error):
            raise UserError(
                f"checkpoint={path} holds pickled objects besides weights, which could run code: refused; give {wanted}"
            ) from error
        raise UserError(f"checkpoint={path} is not a checkpoint: give {wanted}") from error
    except DAMAGE as error:
        raise Damaged(f"checkpoint={path} is not a checkpoint, or is damaged: give {wanted}") from error


def _check_sums(path: Path) -> None:
    """Compare every part of PyTorch's zip archive with the CRC-32 that it was written with; torch.load does not."""
    if not zipfile.is_zipfile(path):
        return  # of PyTorch's format before 1.6, or damaged: torch.load finds out
    with zipfile.ZipFile(path) as archive:
        part = archive.testzip()
    if part is not None:
        raise zipfile.BadZipFile(f"{part} does not agree with its checksum")


class _File:
    """Passes what is written on, and keeps the error that PyTorch would hide."""

    def __init__(self, file: BinaryIO):
        self._file = file
        self.error: OSError | None = None

    def write(self, data: bytes) -> int:
        try:
            return self._file.write(data)
        except OSError as error:
            self.error = error
            raise

    def flush(self) -> None:
        """Nothing: the file is flushed when all is written."""


def write_weights(path: str | Path, content: Any) -> None:
    """Write weights and plain containers, whole or not at all, see `diracdiff.storage.files.replacing`.

    Raises:
        UserError: if the file cannot be written, as on a full disk.
    """
    with replacing(path) as file:
        watched = _File(file)
        try:
            torch.save(content, cast(BinaryIO, watched))
        except (OSError, RuntimeError) as error:
            raise watched.error or error from error


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
