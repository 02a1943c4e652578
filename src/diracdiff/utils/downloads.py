"""Download of pretrained weights into the folder of torch hub."""

import hashlib
import urllib.request
from pathlib import Path

import torch

from diracdiff.utils.files import write_atomically

TIMEOUT = 20
"""Timeout of a connection in seconds."""


def fetch_weights(url: str, model: str) -> Path:
    """Return the file of pretrained weights in $TORCH_HOME/hub/checkpoints. Download it if it is missing.

    A download is checked against the digits of the SHA-256 in its file name. An existing file is not checked.

    Args:
        url: address of the file.
        model: name of the model, for messages.

    Raises:
        ValueError: if the file is missing and the download fails.
    """
    path = Path(torch.hub.get_dir()) / "checkpoints" / url.rsplit("/", 1)[-1]
    if not path.exists():
        try:
            with urllib.request.urlopen(url, timeout=TIMEOUT) as response:
                data = response.read()
            if not hashlib.sha256(data).hexdigest().startswith(path.stem.rsplit("-", 1)[-1]):
                raise OSError(f"{url} has another checksum")
        except OSError as error:
            raise ValueError(
                f"the weights of {model} are missing and cannot be downloaded ({error}). "
                f"Connect once, or copy {path.name} into {path.parent}."
            ) from error
        write_atomically(path, data)
    return path
