"""The processes that train or evaluate together: which one is the first, how others are started, watched and ended.

A command starts one process per device by itself, or is started so often by torchrun, SLURM or submitit. A process that
dies takes the others with it, and the first one says why.
"""

import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from signal import Signals

RANKS = ("RANK", "LOCAL_RANK", "NODE_RANK", "GROUP_RANK", "SLURM_PROCID", "JSM_NAMESPACE_RANK")
"""Variables that number processes or machines from 0: where one is not 0, this is not the first process."""

REASONS, PARENT = "DIRACDIFF_REASONS", "DIRACDIFF_PARENT"
OURS = ("LOCAL_RANK", "NODE_RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT", REASONS, PARENT)
LOST = re.compile(r"gloo|nccl|closed by peer|reset by peer|broken pipe|TCPStore|store-based barrier|timed out", re.I)
"""What PyTorch says where another process is gone."""

NOTICE, GRACE = 10.0, 5.0
"""Seconds for the first process to notice by itself that another one died, and for others to end by themselves."""


def is_first_process() -> bool:
    """Whether this is the process that makes folders, writes and speaks."""
    return not any(int(os.environ.get(rank) or 0) for rank in RANKS)


def is_started() -> bool:
    """Whether this process was started by the first one."""
    return PARENT in os.environ and not is_first_process()


class _Others:
    """Processes that this one has started."""

    def __init__(self) -> None:
        self.command: list[str] | None = None
        self.started: list[subprocess.Popen[bytes]] = []
        self.reasons: Path | None = None
        self.noticed = False
        self.world = 1

    def died(self) -> int | None:
        """The number of one that ended with an error, if any."""
        return next((rank for rank, process in enumerate(self.started, 1) if process.poll()), None)


_others = _Others()


def prepare(command: Sequence[str]) -> None:
    """Note the arguments with which Python runs what this process runs, for processes that are to join it."""
    _others.command = list(command)
    _others.world = int(os.environ.get("WORLD_SIZE") or 1)  # Lightning removes it


def start(devices: int, nodes: int = 1) -> None:
    """Start the other processes of this machine, unless they are started from outside, and watch them.

    They find their rank and the first process where Lightning looks for it: LOCAL_RANK, MASTER_ADDR and so on.

    Args:
        devices: processes on this machine.
        nodes: machines; with more than one, MASTER_ADDR, MASTER_PORT and NODE_RANK must be set on each.
    """
    if "LOCAL_RANK" in os.environ or devices * nodes < 2 or _others.command is None:
        return
    _others.noticed, _others.reasons = False, Path(tempfile.mkdtemp(prefix="diracdiff_"))
    environment = {
        "MASTER_ADDR": os.environ.get("MASTER_ADDR", "127.0.0.1"),
        "MASTER_PORT": os.environ.get("MASTER_PORT") or str(_free_port()),
        "NODE_RANK": os.environ.get("NODE_RANK", "0"),
        "WORLD_SIZE": str(devices * nodes),
        "LOCAL_RANK": "0",
        REASONS: str(_others.reasons),
        PARENT: str(os.getpid()),
    }
    os.environ.update(environment)
    for rank in range(1, devices):
        command = [sys.executable, *_others.command]
        _others.started.append(subprocess.Popen(command, env=os.environ | {"LOCAL_RANK": str(rank)}))
    threading.Thread(target=_watch, args=(list(_others.started),), daemon=True).start()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _watch(started: list[subprocess.Popen[bytes]]) -> None:
    """End this process when another one died and this one hangs in waiting for it."""
    while _others.started == started and _others.died() is None:
        time.sleep(0.5)
    time.sleep(NOTICE)
    if _others.started == started and not _others.noticed and (ended := why()):
        print(f"error: {ended[0]}", file=sys.stderr, flush=True)
        for process in started:
            process.kill()
        os._exit(1)


def follow() -> None:
    """In a process that the first one has started: end as soon as that one is gone."""

    def watch(parent: int) -> None:
        while os.getppid() == parent:
            time.sleep(1.0)
        os._exit(1)

    if is_started():
        threading.Thread(target=watch, args=(int(os.environ[PARENT]),), daemon=True).start()


def has_started() -> bool:
    """Whether this process has started others."""
    return _others.reasons is not None


def in_company() -> bool:
    """Whether this process is one of several, however they were started."""
    return has_started() or is_started() or _others.world > 1


def notice() -> None:
    """Say that this process is about to end, or has seen that another one did."""
    _others.noticed = True


def lost(error: BaseException) -> bool:
    """Whether an error says that another process is gone."""
    return in_company() and isinstance(error, RuntimeError | OSError) and bool(LOST.search(f"{type(error)} {error}"))


def why(wait: float = 0.0) -> tuple[str, int] | None:
    """Why another process ended, in one line, and the status to end with; None if none did.

    Args:
        wait: seconds to give it to do so.
    """
    deadline = time.monotonic() + wait
    while (rank := _others.died()) is None:
        if time.monotonic() >= deadline:
            return None
        time.sleep(0.1)
    code, world = _others.started[rank - 1].returncode, len(_others.started) + 1
    files = sorted(_others.reasons.glob("*")) if _others.reasons else []
    said = next((file.read_text() for file in files), None)
    if said:
        return said, max(code, 1)
    if code < 0:
        name = Signals(-code).name
        hint = ": was there too little memory?" if name == "SIGKILL" else ""
        return f"process {rank} of {world} (counted from 0) was ended by {name}{hint}", 1
    return f"process {rank} of {world} (counted from 0) ended with status {code}", 1


def leave_reason(reason: str) -> bool:
    """In a process that the first one has started: leave it to that one to say why this one ends.

    Returns:
        Whether this is such a process.
    """
    if not is_started():
        return False
    folder = Path(os.environ[REASONS])
    if folder.is_dir():
        (folder / os.environ["LOCAL_RANK"]).write_text(reason, errors="backslashreplace")
    return True


def end(patience: float = GRACE) -> None:
    """End what this process has started, and forget it, so that others can be started.

    Args:
        patience: seconds to give them to end by themselves.
    """
    if _others.reasons is None:
        return
    started, _others.started = _others.started, []
    deadline = time.monotonic() + patience
    for process in started:
        try:
            process.wait(max(0.0, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
    shutil.rmtree(_others.reasons, ignore_errors=True)
    _others.reasons = None
    for name in OURS:
        os.environ.pop(name, None)
    distributed = sys.modules.get("torch.distributed")
    if distributed is not None and distributed.is_available() and distributed.is_initialized():
        distributed.destroy_process_group()


def join_submitit() -> None:
    """As one of several tasks of a submitit job, take the rank that submitit gives."""
    if "SUBMITIT_EXECUTOR" not in os.environ or "LOCAL_RANK" in os.environ:
        return
    from submitit import JobEnvironment
    from submitit.helpers import TorchDistributedEnvironment

    if JobEnvironment().num_tasks > 1:
        TorchDistributedEnvironment().export(set_cuda_visible_devices=False)
