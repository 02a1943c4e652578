"""Distribution of the work of a command over the processes of torchrun."""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple, TypeVar

import torch
import torch.distributed as dist

T = TypeVar("T")


class Processes(NamedTuple):
    """Group of processes.

    Attributes:
        rank: index of this process, from 0.
        world_size: number of processes.
    """

    rank: int = 0
    world_size: int = 1

    def shard(self, items: Sequence[T]) -> list[T]:
        """Return the items of this process. Each item belongs to exactly one process."""
        return list(items[self.rank :: self.world_size])

    def wait(self) -> None:
        """Block until all processes reach this call."""
        if self.world_size > 1:
            dist.barrier()


def all_gather_objects(part: Any) -> list[Any]:
    """Return the objects of all processes, in the order of their ranks. Without a process group, there is one."""
    if not (dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1):
        return [part]
    parts: list[Any] = [None] * dist.get_world_size()
    dist.all_gather_object(parts, part)
    return parts


@contextmanager
def join_processes() -> Iterator[Processes]:
    """Initialise the process group of torchrun with gloo, and assign a GPU to each process if GPUs are available.

    Without torchrun, the group has one process.
    """
    if int(os.environ.get("WORLD_SIZE", 1)) < 2 or "RANK" not in os.environ:
        yield Processes()
        return
    if torch.cuda.is_available():
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]) % torch.cuda.device_count())
    dist.init_process_group("gloo")
    try:
        yield Processes(dist.get_rank(), dist.get_world_size())
    finally:
        dist.destroy_process_group()
