"""Write a packed set (`diracdiff.data.packed`), image by image; a run that is killed goes on where it was.

Images are appended to the arrays in portions. A portion is on the disk before the journal, `packing.jsonl`, says so;
what follows the journal's last whole line is written anew. The index, without which nothing is a packed set, is last.
"""

import hashlib
import json
import os
import shutil
import zlib
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
from torch.utils.data import DataLoader, Dataset

from diracdiff.data import workers
from diracdiff.data.datasets import StillImages
from diracdiff.data.images import ImageError
from diracdiff.data.journal import Journal, Progress, whole_lines
from diracdiff.data.packed import INDEX, VERSION, checksum, header, read_index
from diracdiff.utils.errors import UserError
from diracdiff.utils.files import write_atomically

JOURNAL = "packing.jsonl"
PORTION = 32 * 2**20
"""Bytes of images that are written at once: what a killed run repeats."""

Tracked = Callable[[Iterable[Any], str, int], Iterable[Any]]


class Pixels(Dataset[tuple[Any, str]]):
    """The pixels of images from `start` on, each with what is wrong with it; "" if nothing is."""

    def __init__(self, images: StillImages, start: int):
        self.images, self.start = images, start

    def __len__(self) -> int:
        return len(self.images) - self.start

    def __getitem__(self, index: int) -> tuple[Any, str]:
        if index >= len(self):
            raise IndexError(index)
        try:
            return self.images.pixels(self.start + index), ""
        except ImageError as error:
            return None, str(error)


class Packer:
    """Packs splits of a data set.

    Args:
        folder: of the packed set.
        splits: the images of each.
        source: recipe of the data set, to know it again.
        num_workers: processes that decode.
        skip: leave out images that cannot be read.

    Raises:
        UserError: if the images of a split are not the same in every epoch.
    """

    def __init__(
        self, folder: Path, splits: dict[str, StillImages], source: Any, num_workers: int = 0, skip: bool = False
    ):
        self.folder, self.splits, self.num_workers, self.skip = folder, splits, num_workers, skip
        for name, images in splits.items():
            if not isinstance(images, StillImages):
                raise UserError(
                    f"the {name} images of this data set are random crops, other ones in every epoch, which cannot be"
                    " packed: use dataset=folder, celebahq, ffhq or imagenet"
                )
        described = {name: [len(images), _digest(images.names)] for name, images in splits.items()}
        size = next(iter(splits.values())).image_size
        # As the journal's first line reads when it is read back.
        self.plan = json.loads(
            json.dumps({"version": VERSION, "image_size": size, "source": source, "splits": described, "skip": skip})
        )
        self.size, self.bytes = size, 3 * size * size

    def is_complete(self, overwrite: bool) -> bool:
        """Whether the folder holds this set already.

        Raises:
            UserError: if it holds another one, or the beginning of one, that may not be overwritten.
        """
        if overwrite:
            return False
        if (self.folder / INDEX).exists():
            if read_index(self.folder).get("plan") == self.plan:
                return True
            raise self._other("a packed set")
        journal = self.folder / JOURNAL
        if journal.exists() and next(whole_lines(journal.read_bytes()), self.plan) != self.plan:
            raise self._other("the beginning of a packed set")
        return False

    def pack(self, overwrite: bool = False, track: Tracked = lambda items, *_: items) -> dict[str, Progress]:
        """Pack what is missing, and write the index.

        Args:
            overwrite: begin anew.
            track: shows progress, given the images, a description and their number.

        Raises:
            UserError: if an image cannot be read and is not to be skipped, or the folder cannot be written.
        """
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            with Journal.locked(self.folder / JOURNAL) as journal:
                stale = list(self.folder.glob(f".{16 * '[0-9a-f]'}.tmp"))  # left by a process that was killed
                for path in [*stale, self.folder / INDEX] if overwrite else stale:
                    path.unlink(missing_ok=True)
                done = journal.begin(self.plan, list(self.splits), overwrite)
                self._check_space(done)
                for name, images in self.splits.items():
                    self._pack(name, images, done[name], journal, track)
                self._finish(done)
        except OSError as error:
            raise UserError(
                f"output={self.folder} cannot be written ({error.strerror}): what is done is kept; mend that and give"
                " the same command again"
            ) from error
        return done

    def _other(self, what: str) -> UserError:
        return UserError(
            f"output={self.folder} holds {what} of other images or settings: give another output, or overwrite=true"
        )

    def _check_space(self, done: dict[str, Progress]) -> None:
        missing = sum(len(images) - done[name].seen for name, images in self.splits.items()) * self.bytes
        free = shutil.disk_usage(self.folder).free
        if missing > free:
            raise UserError(
                f"output={self.folder} needs {missing / 1e9:.1f} GB more, but the disk has {free / 1e9:.1f} GB: give"
                " another output, or a smaller dataset.image_size"
            )

    def _pack(self, name: str, images: StillImages, done: Progress, journal: Journal, track: Tracked) -> None:
        beginning = len(header(len(images), self.size))
        kept = beginning + len(done.crc32) * self.bytes
        rest = Pixels(images, done.seen)
        options = workers.options(self.num_workers)
        loader: Any = DataLoader(rest, batch_size=None, **options) if self.num_workers else rest
        descriptor = os.open(self.folder / f"{name}.npy", os.O_RDWR | os.O_CREAT, 0o644)
        with open(descriptor, "r+b") as file:
            if done.seen and os.fstat(descriptor).st_size < kept:
                raise UserError(f"{self.folder / name}.npy is shorter than {JOURNAL} says: add overwrite=true")
            file.truncate(kept)
            file.seek(kept)
            portion = Progress()
            for number, (x, fault) in enumerate(track(loader, f"packing {name}", len(rest)), done.seen):
                if fault and not self.skip:
                    raise ImageError(fault)
                portion.seen += 1
                if fault:
                    portion.skipped.append(images.names[number])
                else:
                    pixels = np.ascontiguousarray(x.numpy()).data
                    portion.crc32.append(zlib.crc32(pixels))
                    file.write(pixels)
                if len(portion.crc32) * self.bytes >= PORTION or number + 1 == len(images):
                    file.flush()
                    os.fsync(file.fileno())
                    journal.add({"split": name, **vars(portion)})
                    done.add(portion)
                    portion = Progress()
            if not done.crc32:
                raise UserError(f"none of the {len(images)} {name} images can be read: check dataset.root")
            file.seek(0)
            file.write(header(len(done.crc32), self.size))
            file.flush()
            os.fsync(file.fileno())

    def _finish(self, done: dict[str, Progress]) -> None:
        splits = {}
        for name, images in self.splits.items():
            skipped = set(done[name].skipped)
            kept = [image for image in images.names if image not in skipped]
            splits[name] = {"names": kept, "crc32": done[name].crc32, "skipped": done[name].skipped}
        content = {"version": VERSION, "image_size": self.size, "plan": self.plan, "splits": splits}
        write_atomically(self.folder / INDEX, json.dumps(content | {"sha256": checksum(content)}).encode())
        (self.folder / JOURNAL).unlink()


def _digest(names: Iterable[str]) -> str:
    return hashlib.sha256("\0".join(names).encode("utf-8", "surrogateescape")).hexdigest()
