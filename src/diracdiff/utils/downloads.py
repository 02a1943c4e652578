"""Files of pretrained weights: read from torch hub's folder, or downloaded into it once."""

import hashlib
import urllib.request
from pathlib import Path

import torch

from diracdiff.utils.files import write_atomically

TIMEOUT = 20
"""Seconds after which a silent connection is given up."""


def fetch_weights(url: str, model: str) -> Path:
    """Return the file of an address in torch hub's folder, $TORCH_HOME/hub/checkpoints, downloaded if it is missing.

    A download is compared with the eight digits of SHA-256 at the end of torch hub's file names; a file that exists
    is used as it is.

    Raises:
        ValueError: if the file is missing and cannot be downloaded; the message names the model and the remedy.
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
