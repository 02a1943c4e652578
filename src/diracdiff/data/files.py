"""The image files of a split, read one by one."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from diracdiff.data.datasets import Item, StillImages
from diracdiff.data.faults import Skipped, readable_items
from diracdiff.data.images import ImageError, load_square
from diracdiff.data.jpeg import JPEG, check_decoder, load_square_fast
from diracdiff.data.listing import fingerprint
from diracdiff.data.sampler import Key, epoch_and_index

DECODERS = ("fast", "pillow")


@dataclass(frozen=True)
class Reading:
    """How image files are read; see `diracdiff.data.folders.Folder`."""

    image_size: int
    on_error: str
    max_pixels: int
    decoder: str


class ImageFiles(StillImages):
    """The images `names` below `root`."""

    def __init__(self, root: Path, names: Sequence[str], reading: Reading, flip_seed: int | None = None):
        self.root, self.names, self.flip_seed = root, names, flip_seed
        self.image_size, self.reading = reading.image_size, reading
        self.skipped = Skipped(len(names)) if reading.on_error == "skip" else None

    def pixels(self, index: int) -> Tensor:
        return load_square(self.root / self.names[index], self.image_size, self.reading.max_pixels)

    def fingerprint(self) -> dict[str, Any]:
        return fingerprint(self.root, self.names)

    def for_training(self) -> "TrainingFiles":
        return TrainingFiles(self)

    def __getitems__(self, keys: list[Key]) -> list[Item]:
        """The items of a batch, without those that are skipped."""
        return readable_items(self, keys)


class TrainingFiles(StillImages):
    """Image files as a training reads them: by the decoder it may use, as uint8, each skipped one replaced by the next.

    Raises:
        UserError: if the decoder is not to be had.
    """

    def __init__(self, files: ImageFiles):
        if files.reading.decoder == "fast" and any(name.lower().endswith(JPEG) for name in files.names):
            check_decoder()
        self.files, self.skipped = files, files.skipped
        self.names, self.image_size, self.flip_seed = files.names, files.image_size, files.flip_seed

    def pixels(self, index: int) -> Tensor:
        reading = self.files.reading
        load = load_square_fast if reading.decoder == "fast" else load_square
        return load(self.files.root / self.names[index], self.image_size, reading.max_pixels)

    def __getitem__(self, key: Key) -> Item:
        """An image as uint8, or instead of one that is skipped, the next that can be read.

        Raises:
            UserError: if it cannot be read and is not to be skipped, or none can be read.
        """
        epoch, first = epoch_and_index(key)
        for index in (*range(first, len(self)), *range(first)):
            if self.skipped is not None and index in self.skipped:
                continue
            try:
                x = self.mirrored(self.pixels(index), epoch, index)
            except ImageError as error:
                if self.skipped is None:
                    raise
                self.skipped.add(index, error)
            else:
                return {"x": x, "name": self.names[index], "index": index}
        raise ImageError(f"none of the {len(self)} training images can be read: check dataset.root={self.files.root}")
