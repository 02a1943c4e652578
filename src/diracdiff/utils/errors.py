"""Messages to the user: errors, warnings and results, one line each, with file names escaped."""

import os
import sys
from typing import NoReturn

from diracdiff.utils.escaping import for_terminal

RANKS = ("RANK", "LOCAL_RANK", "NODE_RANK", "SLURM_PROCID")
"""Variables with which torchrun, Lightning and SLURM number processes or machines from 0."""


def is_first_process() -> bool:
    """Return True in the process that writes files and prints."""
    return not any(int(os.environ.get(rank) or 0) for rank in RANKS)


def warn(message: str, from_every_process: bool = False) -> None:
    """Print one line on stderr, in the first process or in all."""
    if from_every_process or is_first_process():
        print(f"warning: {for_terminal(message)}", file=sys.stderr, flush=True)


def echo(message: str) -> None:
    """Print one line on stdout, in the first process."""
    if is_first_process():
        print(for_terminal(message), flush=True)


def is_out_of_memory(error: BaseException) -> bool:
    """Return True if memory of the machine or of a GPU was refused."""
    texts = ("out of memory", "can't allocate memory", "cannot allocate memory", "not enough memory")
    refused = isinstance(error, RuntimeError) and any(text in str(error).lower() for text in texts)
    return refused or isinstance(error, MemoryError)


def fail(message: str, status: int = 2) -> NoReturn:
    """Print one line on stderr, and exit with a status."""
    print(f"error: {for_terminal(message)}", file=sys.stderr, flush=True)
    raise SystemExit(status)
