"""Processes that load data.

A fork server starts them: a process that has used libvips must not be forked. The server imports the data sets once,
so that each worker starts quickly. Signals that a terminal or SLURM sends to all processes are left to the command.
"""

import atexit
import multiprocessing.util  # its exit handler, which waits for these processes, must run after ours
import resource
import signal
import sys
from multiprocessing import forkserver, resource_tracker
from typing import Any

from diracdiff.utils.errors import UserError

COMMAND_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)
OPEN_FILES, OPEN_FILES_PER_WORKER = 64, 24
"""Open files of a command, and of each worker of its loaders, at most."""


def options(count: int) -> dict[str, Any]:
    """Return the arguments of a data loader with `count` workers.

    Raises:
        UserError: if the system allows too few open files.
    """
    if not count:
        return {"num_workers": 0}
    needed, allowed = OPEN_FILES + OPEN_FILES_PER_WORKER * count, resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    if 0 <= allowed < needed:
        raise UserError(
            f"loader.num_workers={count}: needs up to {needed} open files, but `ulimit -n` allows {allowed}. Raise it,"
            f" or lower loader.num_workers to {max(0, (allowed - OPEN_FILES) // OPEN_FILES_PER_WORKER)}."
        )
    # Workers import the main module: a command imports little, a script is likely to import what trains.
    is_command = "diracdiff.commands.command" in sys.modules
    imported = "diracdiff.commands.command" if is_command else "diracdiff.training.datamodule"
    multiprocessing.set_forkserver_preload(["diracdiff.data", imported])
    resource_tracker.ensure_running()  # its start would unblock the signals
    before = signal.pthread_sigmask(signal.SIG_BLOCK, COMMAND_SIGNALS)  # the server and its workers inherit this
    try:
        forkserver.ensure_running()
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
    atexit.unregister(_end)
    atexit.register(_end)
    return {"num_workers": count, "multiprocessing_context": "forkserver"}


def _end() -> None:
    """End the workers that an interrupted loader has left."""
    for process in multiprocessing.active_children():
        if process.daemon:  # Python would end them by a signal that they do not take; others belong to the user
            process.kill()
