"""Messages to the user: errors, warnings and results, one escaped line each."""

import os
import sys
from typing import NoReturn

from diracdiff.utils.escaping import for_terminal

RANKS = ("RANK", "LOCAL_RANK", "NODE_RANK", "SLURM_PROCID")
"""Environment variables of torchrun, Lightning and SLURM with the index of a process or machine."""


def is_first_process() -> bool:
    """Return True if this process has rank 0, which writes files and prints."""
    return not any(int(os.environ.get(rank) or 0) for rank in RANKS)


def warn(message: str, from_every_process: bool = False) -> None:
    """Print a warning on stderr, in the first process or in every process."""
    if from_every_process or is_first_process():
        print(f"warning: {for_terminal(message)}", file=sys.stderr, flush=True)


def echo(message: str) -> None:
    """Print a line on stdout in the first process."""
    if is_first_process():
        print(for_terminal(message), flush=True)


def is_out_of_memory(error: BaseException) -> bool:
    """Return True if an allocation failed on the CPU or a GPU."""
    texts = ("out of memory", "can't allocate memory", "cannot allocate memory", "not enough memory")
    refused = isinstance(error, RuntimeError) and any(text in str(error).lower() for text in texts)
    return refused or isinstance(error, MemoryError)


def fail(message: str, status: int = 2) -> NoReturn:
    """Print an error on stderr and exit.

    Raises:
        SystemExit: with `status`.
    """
    print(f"error: {for_terminal(message)}", file=sys.stderr, flush=True)
    raise SystemExit(status)
