"""Files of weights and plain containers. Reading runs no code from the file."""

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
"""Maximum size in bytes of the pickle of an archive, which holds everything except tensors."""

SAFE_NAMES = re.compile(
    r"collections\.OrderedDict|torch\._utils\._rebuild_(tensor_v[23]|parameter)|torch\.(storage\.)?\w+Storage"
    r"|torch\.(Size|bool|bfloat16|u?int\d+|float\d+)"
)
"""Names of classes and functions that a file of weights may contain."""


class DamagedFileError(ValueError):
    """Error for a file of weights that is truncated or modified."""


def read_weights(path: str | Path, wanted: str, safe: Mapping[str, Any] | None = None, mmap: bool = False) -> Any:
    """Read a file of weights and plain containers without running code from the file.

    Sizes and checksums of all parts are checked first, so that memory is proportional to the size of the file.

    Args:
        path: the file.
        wanted: kind of file that is expected, for messages.
        safe: {name: class} of additional classes that the file may contain. They must only store their arguments.
        mmap: map tensors into memory instead of reading them.

    Raises:
        DamagedFileError: if the file is not a PyTorch archive, is truncated, or does not match its checksums.
        ValueError: if the file does not exist, cannot be opened, or contains other classes.
    """
    path, safe = Path(path), safe or {}
    if not path.is_file():
        raise ValueError(f"checkpoint={path}: does not exist. Give a .ckpt file, such as runs/latest/best.ckpt.")
    try:
        foreign = _named_classes(path) - safe.keys()
        if not foreign:
            with torch.serialization.safe_globals([(cls, name) for name, cls in safe.items()]):
                return torch.load(path, map_location="cpu", weights_only=True, mmap=mmap)
    except PermissionError as error:
        raise ValueError(f"checkpoint={path}: cannot be read ({error.strerror}). Check its permissions.") from error
    except Exception as error:  # parsers of untrusted bytes raise many types
        raise DamagedFileError(f"checkpoint={path}: is not a checkpoint, or is damaged. Give {wanted}.") from error
    raise ValueError(
        f"checkpoint={path}: holds pickled objects ({min(foreign)!r}), which could run code. Give {wanted}."
    )


def _named_classes(path: Path) -> set[str]:
    """Check a PyTorch archive, and return the names in its pickle that are not in `SAFE_NAMES`.

    Raises:
        ValueError: if a part is compressed, overlaps another part, occurs twice or has another checksum.
    """
    with zipfile.ZipFile(path) as archive:
        parts = archive.infolist()
        names = {part.filename.casefold() for part in parts}
        pickles = [part for part in parts if part.filename.casefold().endswith(".pkl")]
        stored = all(part.compress_type == zipfile.ZIP_STORED for part in parts)
        if not stored or sum(part.file_size for part in parts) > path.stat().st_size or len(names) != len(parts):
            raise ValueError("parts must be unique and uncompressed")
        if len(pickles) != 1 or pickles[0].file_size > MAX_PICKLE_BYTES:
            raise ValueError("a PyTorch archive must have one pickle")
        if (part := archive.testzip()) is not None:  # torch.load does not compare checksums
            raise ValueError(f"{part} does not match its checksum")
        classes = {
            str(argument).replace(" ", ".")
            for opcode, argument, _ in pickletools.genops(archive.read(pickles[0]))
            if opcode.name in ("GLOBAL", "INST", "STACK_GLOBAL")
        }
    return {name for name in classes if not SAFE_NAMES.fullmatch(name)}


def write_weights(path: str | Path, content: Any) -> None:
    """Write weights and plain containers atomically, with a checksum for each part.

    Raises:
        ValueError: if the file cannot be written, see `diracdiff.utils.files.open_atomic`.
    """
    with open_atomic(path) as file:
        try:
            torch.save(content, file)
        except RuntimeError as error:
            cause = error.__context__  # PyTorch's writer hides the error of a full disk
            raise (cause if isinstance(cause, OSError) else error) from None


def are_plain_tensors(tensors: Mapping[str, Any]) -> bool:
    """Return True if all values are dense CPU tensors whose total size is at most that of their storages.

    Copies of tensors with a stride of 0, or of many tensors with one storage, would need more memory than the file.
    """
    values = tensors.values()
    if not all(type(tensor) in (Tensor, nn.Parameter) for tensor in values):
        return False
    if any(t.layout != torch.strided or t.device.type != "cpu" or t.is_quantized for t in values):
        return False
    storages = {storage.data_ptr(): storage.nbytes() for storage in (t.untyped_storage() for t in values)}
    return bool(sum(tensor.nbytes for tensor in values) <= sum(storages.values()))


def load_weights(module: nn.Module, weights: Mapping[str, Tensor], path: str | Path) -> None:
    """Load weights into a module, which may be on the meta device, and freeze the module.

    Names and shapes are compared before memory is allocated. The memory format becomes channels last.

    Args:
        module: the module; it is changed in place.
        weights: {name: tensor}.
        path: file of the weights, for messages.

    Raises:
        ValueError: if names or shapes differ.
    """
    expected = module.state_dict()
    shapes = [{k: (w.shape, w.is_floating_point()) for k, w in state.items()} for state in (expected, weights)]
    if shapes[0] != shapes[1]:
        raise ValueError(f"checkpoint={path}: its weights do not match its recipe. Export or train the model again.")
    module.load_state_dict({name: weights[name].to(expected[name].dtype) for name in expected}, assign=True)
    module.to(memory_format=torch.channels_last)
    module.eval().requires_grad_(False)


def fingerprint(weights: Mapping[str, Tensor]) -> str:
    """Return the first 16 hexadecimal digits of the SHA-256 of weights. The device does not matter."""
    digest = hashlib.sha256()
    for name in sorted(weights):
        digest.update(name.encode())
        digest.update(weights[name].detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()[:16]
