"""The journal of a packing: what is on the disk for good, line by line, each with its CRC-32."""

import fcntl
import json
import os
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO, Self

from diracdiff.utils.errors import UserError


@dataclass
class Progress:
    """What is packed of a split.

    Attributes:
        seen: images of the split that were read or skipped.
        crc32: of those in the array.
        skipped: names of the others.
    """

    seen: int = 0
    crc32: list[int] = field(default_factory=list)
    skipped: list[str] = field(default_factory=list)

    def add(self, portion: "Progress") -> None:
        """Count a portion."""
        self.seen += portion.seen
        self.crc32 += portion.crc32
        self.skipped += portion.skipped


class Journal:
    """A file of lines, of which the first is the plan and each other a portion that is packed."""

    def __init__(self, path: Path, file: BinaryIO):
        self.path, self.file = path, file

    @classmethod
    @contextmanager
    def locked(cls, path: Path) -> Iterator[Self]:
        """The journal at a path, for this process alone.

        Raises:
            UserError: if another process has it.
        """
        with open(path, "a+b") as file:
            try:
                # Unlike flock's, this lock does not pass to loader processes, which may outlive a killed parent.
                fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except (BlockingIOError, PermissionError) as error:
                raise UserError(f"another process is packing into output={path.parent}: wait, or end it") from error
            yield cls(path, file)

    def begin(self, plan: dict[str, Any], splits: list[str], anew: bool) -> dict[str, Progress]:
        """What is packed of each split; what comes after the last whole line is cut off.

        Args:
            plan: of the packing.
            splits: their names.
            anew: forget all that is packed.
        """
        self.file.seek(0)  # to close another handle of the file would end the lock
        lines = [] if anew else list(whole_lines(self.file.read()))
        self.file.truncate(sum(len(_line(line)) for line in lines))
        if not lines:
            self.add(plan)
        done = {name: Progress() for name in splits}
        for line in lines[1:]:
            done[line.pop("split")].add(Progress(**line))
        return done

    def add(self, content: dict[str, Any]) -> None:
        """Write a line, and wait until it is on the disk."""
        self.file.write(_line(content))
        self.file.flush()
        os.fsync(self.file.fileno())


def whole_lines(journal: bytes) -> Iterator[dict[str, Any]]:
    """What a journal says, up to its first line that is not as it was written."""
    for line in journal.splitlines(keepends=True):
        try:
            content = json.loads(line[9:])
        except ValueError:
            return
        if _line(content) != line:
            return
        yield content


def _line(content: dict[str, Any]) -> bytes:
    text = json.dumps(content).encode()
    return f"{zlib.crc32(text):08x} ".encode() + text + b"\n"
