"""What a machine runs out of, memory or disk, in one line that says what to do."""

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from diracdiff.utils.errors import UserError

NO_MEMORY = (
    "out of memory",
    "can't allocate memory",
    "cannot allocate memory",
    "not enough memory",
    "bad_alloc",
    "could not allocate",
)
NOT_WRITTEN = tuple(
    getattr(errno, name)
    for name in ("ENOSPC", "EDQUOT", "EFBIG", "EROFS", "EACCES", "EPERM", "EIO")
    if hasattr(errno, name)
)


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an exception means that memory, of the machine or of a GPU, was refused."""
    if isinstance(error, MemoryError) or (isinstance(error, OSError) and error.errno == errno.ENOMEM):
        return True
    return isinstance(error, RuntimeError) and any(words in str(error).lower() for words in NO_MEMORY)


@contextmanager
def told(output: str | Path, lower: str) -> Iterator[None]:
    """Let a machine that refuses memory or disk end a command in one line.

    Args:
        output: what is written, for messages that know no file.
        lower: keys that make the command need less memory.

    Raises:
        UserError: naming what is short and the remedy.
    """
    try:
        yield
    except (MemoryError, RuntimeError, OSError) as error:
        if is_out_of_memory(error):
            raise UserError(f"out of memory: lower {lower}, or close other programs") from error
        writing = next((e for e in (error, error.__cause__, error.__context__) if _cannot_write(e)), None)
        if isinstance(writing, FileNotFoundError):
            raise UserError(f"no folder for temporary files can be written: set TMPDIR ({writing.strerror})") from error
        if isinstance(writing, OSError):
            where = writing.filename or output
            remedy = "free some space there, or give another output"
            raise UserError(f"{where} cannot be written ({writing.strerror}): {remedy}") from error
        raise


def _cannot_write(error: BaseException | None) -> bool:
    if isinstance(error, FileNotFoundError):  # as `tempfile` has it
        return "temporary directory" in str(error)
    return isinstance(error, OSError) and error.errno in NOT_WRITTEN
