"""Files of pretrained weights: found in torch hub's folder, or downloaded into it once."""

import contextlib
import socket
from collections.abc import Iterator
from pathlib import Path

import torch

DOWNLOAD_TIMEOUT = 20


def checkpoints() -> Path:
    """Return the folder of torch hub's weights, $TORCH_HOME/hub/checkpoints."""
    return Path(torch.hub.get_dir()) / "checkpoints"


def fetched(url: str) -> Path:
    """Return the file of an address in torch hub's folder, downloaded if it is missing.

    A download is compared with the eight digits of SHA-256 at the end of torch hub's file names; a file that exists
    is used as it is.

    Raises:
        OSError, RuntimeError: if the file is not there and cannot be downloaded.
    """
    path = checkpoints() / url.rsplit("/", 1)[-1]
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        with download_timeout():
            torch.hub.download_url_to_file(url, str(path), hash_prefix=path.stem.rsplit("-", 1)[-1], progress=False)
    return path


@contextlib.contextmanager
def download_timeout() -> Iterator[None]:
    """Give up on a connection that is silent for `DOWNLOAD_TIMEOUT` seconds."""
    timeout = socket.getdefaulttimeout()
    socket.setdefaulttimeout(DOWNLOAD_TIMEOUT)
    try:
        yield
    finally:
        socket.setdefaulttimeout(timeout)


def first_line(error: Exception) -> str:
    """Return the first line of an error's message, or its class if it has none."""
    return (str(error).splitlines() or [type(error).__name__])[0]
