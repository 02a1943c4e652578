"""The C library's memory: kept for the next tensor, and measured."""

import ctypes
import gc
from collections.abc import Callable
from pathlib import Path
from typing import Any

TRIM_THRESHOLD, MMAP_THRESHOLD = -1, -3
KEPT = 2**30
KEPT_AT_LEAST = 2**25
"""What C libraries accept that refuse more: the largest chunk that is taken from the heap, in bytes."""


def keep_freed_memory() -> bool:
    """Let this process keep what tensors on the CPU free, up to 1 GiB, instead of giving it back to the system.

    By default glibc gives large chunks back at once and asks for them anew, and the system fills every page with zeros:
    a seventh of the time of a small network that runs alone. A training's heap has grown by loading images and keeps
    its memory without being told, so what is timed alone must, too.

    Returns:
        Whether the C library can be asked to; others than glibc cannot.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError, TypeError):
        return False
    taken = mallopt(MMAP_THRESHOLD, KEPT) or mallopt(MMAP_THRESHOLD, KEPT_AT_LEAST)
    return bool(taken and mallopt(TRIM_THRESHOLD, KEPT))


def resident_peak(call: Callable[[], Any]) -> int | None:
    """How far the process's resident memory rises while something is called, in bytes; None where it is not known."""
    try:
        gc.collect()
        ctypes.CDLL(None).malloc_trim(0)
        Path("/proc/self/clear_refs").write_text("5")
        before = _status("VmRSS")
        call()
        return max(0, _status("VmHWM") - before)
    except (OSError, AttributeError, TypeError, StopIteration):
        return None


def _status(key: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return 1024 * next(int(line.split()[1]) for line in lines if line.startswith(key))
