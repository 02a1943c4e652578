"""Files of pretrained weights: found in torch hub's folder, or downloaded into it once."""

import contextlib
import socket
from collections.abc import Iterator
from pathlib import Path

import torch

DOWNLOAD_TIMEOUT = 20


def checkpoints() -> Path:
    """Where torch hub keeps weights: $TORCH_HOME/hub/checkpoints."""
    return Path(torch.hub.get_dir()) / "checkpoints"


def fetched(url: str) -> Path:
    """The file of this address in torch hub's folder, downloaded if it is not there.

    A download is checked by the eight digits of SHA-256 that torch hub's file names end with; a file that is there is
    taken as it is.

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
    """What an error says in its first line, or its class where it says nothing."""
    return (str(error).splitlines() or [type(error).__name__])[0]
