"""Processes that share the work of one command, as torchrun starts them."""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple, TypeVar

T = TypeVar("T")


class Ranks(NamedTuple):
    """This process among those of a command.

    Attributes:
        rank: its number, from 0.
        world: number of all.
    """

    rank: int = 0
    world: int = 1

    def share(self, items: Sequence[T]) -> list[T]:
        """Its part of the work: every item belongs to one process."""
        return list(items[self.rank :: self.world])

    def wait(self) -> None:
        """Wait until all processes are here."""
        if self.world > 1:
            import torch.distributed as dist

            dist.barrier()

    def gathered(self, part: Any) -> list[Any]:
        """The part of every process, in their order."""
        if self.world == 1:
            return [part]
        import torch.distributed as dist

        parts: list[Any] = [None] * self.world
        dist.all_gather_object(parts, part)
        return parts


@contextmanager
def joined() -> Iterator[Ranks]:
    """The processes that torchrun has started, joined through gloo, each with a GPU of its own where there are GPUs."""
    if int(os.environ.get("WORLD_SIZE", 1)) < 2 or "RANK" not in os.environ:
        yield Ranks()
        return
    import torch
    import torch.distributed as dist

    if torch.cuda.is_available():
        torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", 0)) % torch.cuda.device_count())
    dist.init_process_group("gloo")
    try:
        yield Ranks(dist.get_rank(), dist.get_world_size())
    finally:
        dist.destroy_process_group()
