"""Processes that load data: signals that end a command reach them, too, and are the command's, which ends them."""

import atexit
import multiprocessing.util  # its farewell, which waits for such processes, must come after ours
import signal
from typing import Any

from diracdiff.console import protect_output

LEFT = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)
"""Signals that are left to the command: a terminal and SLURM send them to all of its processes."""


def options(count: int) -> dict[str, Any]:
    """Of a data loader with so many processes."""
    if count:
        atexit.unregister(_end)
        atexit.register(_end)
    return {"num_workers": count, "worker_init_fn": _leave_signals}


def _leave_signals(worker: int) -> None:
    protect_output()
    for number in LEFT:
        signal.signal(number, signal.SIG_IGN)


def _end() -> None:
    """End those that a loader, interrupted while it made them, does not know."""
    for process in multiprocessing.active_children():
        if process.daemon:  # Python would end these, too, by a signal that they ignore; others are the user's own
            process.kill()
