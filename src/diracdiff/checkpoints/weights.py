"""Files of weights and plain containers, read without running any code that they hold."""

import hashlib
import pickletools
import re
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from diracdiff.utils.files import open_atomic

MAX_PICKLE_BYTES = 64 * 2**20
"""Bytes of the part of an archive that is not tensors: recipe, curves, names."""

SAFE_NAMES = re.compile(
    r"collections\.OrderedDict|torch\._utils\._rebuild_(tensor_v[23]|parameter)|torch\.(storage\.)?\w+Storage"
    r"|torch\.(Size|bool|bfloat16|u?int\d+|float\d+)"
)
"""Names in a file of weights: the parts of tensors, and the dictionary of a module's state."""


class DamagedFileError(ValueError):
    """A file of weights is not whole, or not as it was written."""


def read_weights(path: str | Path, wanted: str, safe: Mapping[str, Any] | None = None, mmap: bool = False) -> Any:
    """Read a file of weights and plain containers without running any code that it holds.

    Sizes and checksums of all parts are checked first, so that a file takes memory in proportion to its size.

    Args:
        path: the file.
        wanted: the kind of file to give instead, for messages.
        safe: further classes that the file may hold, {name: class}, which must only store their arguments.
        mmap: leave tensors in the file until they are used.

    Raises:
        DamagedFileError: if the file is not a PyTorch archive, is truncated, or does not match its checksums.
        ValueError: if there is no such file, it cannot be opened, or it holds a pickle.
    """
    path, safe = Path(path), safe or {}
    if not path.is_file():
        raise ValueError(f"checkpoint={path} does not exist: give a .ckpt file, such as runs/latest/best.ckpt")
    try:
        foreign = _named_classes(path) - safe.keys()
        if not foreign:
            with torch.serialization.safe_globals([(cls, name) for name, cls in safe.items()]):
                return torch.load(path, map_location="cpu", weights_only=True, mmap=mmap)
    except PermissionError as error:
        raise ValueError(f"checkpoint={path} cannot be read ({error.strerror}): check its permissions") from error
    except Exception as error:  # of three parsers of untrusted bytes, whatever they raise
        raise DamagedFileError(f"checkpoint={path} is not a checkpoint, or is damaged: give {wanted}") from error
    raise ValueError(
        f"checkpoint={path} holds pickled objects ({min(foreign)!r}), which could run code: refused; give {wanted}"
    )


def _named_classes(path: Path) -> set[str]:
    """Check an archive of PyTorch, and return the classes and functions that it names beyond those of weights.

    Raises:
        ValueError: if a part is compressed, overlaps another one, occurs twice or has another checksum.
    """
    with zipfile.ZipFile(path) as archive:
        parts = archive.infolist()
        names = {part.filename.casefold() for part in parts}
        pickles = [part for part in parts if part.filename.casefold().endswith(".pkl")]
        stored = all(part.compress_type == zipfile.ZIP_STORED for part in parts)
        if not stored or sum(part.file_size for part in parts) > path.stat().st_size or len(names) != len(parts):
            raise ValueError("PyTorch writes every part once, and none compressed")
        if len(pickles) != 1 or pickles[0].file_size > MAX_PICKLE_BYTES:
            raise ValueError("an archive of PyTorch has one pickle")
        if (part := archive.testzip()) is not None:  # torch.load does not compare checksums
            raise ValueError(f"{part} does not agree with its checksum")
        found = {
            str(argument).replace(" ", ".")
            for opcode, argument, _ in pickletools.genops(archive.read(pickles[0]))
            if opcode.name in ("GLOBAL", "INST", "STACK_GLOBAL")
        }
    return {name for name in found if not SAFE_NAMES.fullmatch(name)}


def write_weights(path: str | Path, content: Any) -> None:
    """Write weights and plain containers with a checksum per part, whole or not at all.

    Raises:
        ValueError: if the file cannot be written, as on a full disk, see `diracdiff.utils.files.open_atomic`.
    """
    with open_atomic(path) as file:
        try:
            torch.save(content, file)
        except RuntimeError as error:
            cause = error.__context__  # PyTorch's writer hides the error of a full disk
            raise (cause if isinstance(cause, OSError) else error) from None


def are_plain_tensors(tensors: Mapping[str, Any]) -> bool:
    """Return True if all values are ordinary tensors that together hold no more numbers than they store.

    A tensor with strides of 0, or many tensors of one storage, would need more memory than the file when copied.
    """
    values = tensors.values()
    if not all(type(tensor) in (Tensor, nn.Parameter) for tensor in values):
        return False
    if any(t.layout != torch.strided or t.device.type != "cpu" or t.is_quantized for t in values):
        return False
    storages = {storage.data_ptr(): storage.nbytes() for storage in (t.untyped_storage() for t in values)}
    return bool(sum(tensor.nbytes for tensor in values) <= sum(storages.values()))


def load_weights(module: nn.Module, weights: Mapping[str, Tensor], path: str | Path) -> None:
    """Load the weights of a checkpoint into a module, which may be on PyTorch's meta device, and freeze it.

    Names and shapes are compared before anything is allocated. Then the tensors, channels last, replace the module's.

    Raises:
        ValueError: if they do not fit.
    """
    expected = module.state_dict()
    shapes = [{k: (w.shape, w.is_floating_point()) for k, w in state.items()} for state in (expected, weights)]
    if shapes[0] != shapes[1]:
        raise ValueError(f"checkpoint={path}: its weights do not fit its recipe")
    module.load_state_dict({name: weights[name].to(expected[name].dtype) for name in expected}, assign=True)
    module.to(memory_format=torch.channels_last)
    module.eval().requires_grad_(False)


def fingerprint(weights: Mapping[str, Tensor]) -> str:
    """Return 16 hexadecimal digits of a SHA-256 that identify the weights of a network, on any device."""
    digest = hashlib.sha256()
    for name in sorted(weights):
        digest.update(name.encode())
        digest.update(weights[name].detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()[:16]
