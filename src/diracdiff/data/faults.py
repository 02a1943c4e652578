"""Images that cannot be read, where `dataset.on_error=skip` leaves them out: each is named, all are counted."""

import os
from typing import Any

import torch
from torch.utils.data import Subset

from diracdiff.data.sampler import epoch_and_index
from diracdiff.utils.errors import UserError, warn

ON_ERROR = ("error", "skip")
NAMED = 10
"""Files that a process names; the others are counted."""


class Skipped:
    """The files of a split that were skipped, shared by the processes that load them.

    Args:
        total: number of files of the split.

    Attributes:
        reported: number that was printed last.
    """

    def __init__(self, total: int):
        self.total, self.reported = total, 0
        self._flags = torch.zeros(total, dtype=torch.bool).share_memory_()

    def add(self, index: int, error: UserError) -> None:
        """Count a file, and name it if it is among the first."""
        if self._flags[index]:
            return
        self._flags[index] = True
        if len(self) <= NAMED:
            more = "; further ones are counted only" if len(self) == NAMED else ""
            warn(f"skipped: {error}{more}", from_every_process=True)

    def __len__(self) -> int:
        return int(self._flags.sum())

    def __contains__(self, index: int) -> bool:
        return bool(self._flags[index])


def readable_items(images: Any, keys: list[Any]) -> list[Any]:
    """Return the items of a data set's keys, without those that cannot be read if these are to be skipped."""
    items = []
    for key in keys:
        try:
            items.append(images[key])
        except UserError as error:
            if images.skipped is None:
                raise
            images.skipped.add(images.source(epoch_and_index(key)[1]), error)
    return items


def report_skipped(images: Any, name: str) -> None:
    """Print how many files of a split, or of a part of one, this process has skipped, if the number has grown."""
    whole: Any = images.dataset if isinstance(images, Subset) else images
    skipped: Skipped | None = getattr(whole, "skipped", None)
    if skipped is None or len(skipped) == skipped.reported:
        return
    files = {whole.source(i) for i in images.indices} if isinstance(images, Subset) else range(skipped.total)
    count = sum(number in skipped for number in files)
    skipped.reported = len(skipped)
    rank = int(os.environ.get("LOCAL_RANK", 0))
    process = f" in process {rank}" if rank else ""
    rest = "others took their place" if name == "train" else "results are of the others"
    message = f"skipped {count} of {len(files)} {name} images{process}, which cannot be read: {rest}"
    warn(message, from_every_process=True)
