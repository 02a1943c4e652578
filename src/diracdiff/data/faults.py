"""Images that cannot be read, where `dataset.on_error=skip` leaves them out: each is named, all are counted."""

import os
from typing import Any

import torch
from torch.utils.data import Subset

from diracdiff.data.images import ImageError
from diracdiff.errors import warn

ON_ERROR = ("error", "skip")
NAMED = 10
"""Files that a process names; the others are counted."""


class Skipped:
    """The images of a split that were skipped, shared by the processes that load them.

    Args:
        length: images of the split.

    Attributes:
        reported: how many were when their number was last printed.
    """

    def __init__(self, length: int):
        self.reported = 0
        self._flags = torch.zeros(length, dtype=torch.bool).share_memory_()

    def add(self, index: int, error: ImageError) -> None:
        """Count an image, and name it if it is among the first."""
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


def report_skipped(images: Any, name: str) -> None:
    """Print how many images of a split, or of a part of one, this process has skipped, if any were since then."""
    indices = images.indices if isinstance(images, Subset) else range(len(images))
    skipped = getattr(images.dataset if isinstance(images, Subset) else images, "skipped", None)
    if skipped is None or len(skipped) == skipped.reported:
        return
    count = sum(index in skipped for index in indices)
    skipped.reported = len(skipped)
    rank = int(os.environ.get("LOCAL_RANK", 0))
    process = f" in process {rank}" if rank else ""
    rest = "others took their place" if name == "train" else "results are of the others"
    message = f"skipped {count} of {len(indices)} {name} images{process}, which cannot be read: {rest}"
    warn(message, from_every_process=True)
