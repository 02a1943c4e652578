"""Files of pretrained weights: read from torch hub's folder, or downloaded into it once."""

import hashlib
import urllib.request
from pathlib import Path

import torch

from diracdiff.utils.files import write_atomically

TIMEOUT = 20
"""Seconds after which a silent connection is given up."""


def checkpoints() -> Path:
    """Return the folder of torch hub's weights, $TORCH_HOME/hub/checkpoints."""
    return Path(torch.hub.get_dir()) / "checkpoints"


def fetched(url: str) -> Path:
    """Return the file of an address in torch hub's folder, downloaded if it is missing.

    A download is compared with the eight digits of SHA-256 at the end of torch hub's file names; a file that exists
    is used as it is.

    Raises:
        OSError: if the file is missing and cannot be downloaded.
    """
    path = checkpoints() / url.rsplit("/", 1)[-1]
    if not path.exists():
        with urllib.request.urlopen(url, timeout=TIMEOUT) as response:
            data = response.read()
        if not hashlib.sha256(data).hexdigest().startswith(path.stem.rsplit("-", 1)[-1]):
            raise OSError(f"{url} has another checksum")
        write_atomically(path, data)
    return path


def first_line(error: Exception) -> str:
    """Return the first line of an error's message, or its class if it has none."""
    return (str(error).splitlines() or [type(error).__name__])[0]
