"""Output of commands: streams that cannot fail, progress bars, and commands to type next."""

import io
import os
import sys
import time
import webbrowser
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from rich.progress import Progress

T = TypeVar("T")


class _LossyFile(io.FileIO):
    """A file descriptor that discards what it cannot take, such as a pipe that was closed or a full device."""

    def write(self, data: Any) -> int:
        try:
            written = super().write(data)
        except OSError:
            written = None
        return memoryview(data).nbytes if written is None else written


def protect_output() -> None:
    """Let no print, log or progress bar of this process fail, whatever becomes of stdout and stderr.

    Standard streams that the shell has closed are opened to nowhere, so that no other file gets their number.
    """
    while (number := os.open(os.devnull, os.O_RDWR)) <= 2:
        pass
    os.close(number)
    for number, name in ((1, "stdout"), (2, "stderr")):
        stream = getattr(sys, name)
        if stream is getattr(sys, f"__{name}__"):  # not one that a test or a notebook has put there
            file = io.BufferedWriter(_LossyFile(number, "wb", closefd=False))
            encoding = "utf-8" if stream is None else stream.encoding
            setattr(sys, name, io.TextIOWrapper(file, encoding, "backslashreplace", line_buffering=True))


def run_and_leave(main: Callable[[], None]) -> None:
    """Run a command, and end the process at once: the interpreter's own end aborts while a thread uses a network."""
    try:
        main()
    except SystemExit as end:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(end.code if isinstance(end.code, int) else 0)


def python() -> str:
    """This interpreter as one types it: from the working folder if it lies there, a virtual environment's say."""
    return os.path.relpath(sys.executable) if Path(sys.executable).is_relative_to(Path.cwd()) else "python"


def show_in_browser(address: str) -> None:
    """Open a page, where there is a screen: without one the standard library would start a browser of the terminal."""
    if sys.platform != "linux" or any(os.environ.get(key) for key in ("BROWSER", "DISPLAY", "WAYLAND_DISPLAY")):
        webbrowser.open(address)


def bar() -> "Progress":
    """A progress bar that leaves nothing behind, and is none where there is no terminal."""
    from rich.progress import Progress

    return Progress(transient=True, disable=not sys.stdout.isatty())


def track(items: Iterable[T], description: str, total: float | None = None) -> Iterator[T]:
    """The items, with such a bar."""
    with bar() as progress:
        yield from progress.track(items, total, description=description)


@contextmanager
def track_images(total: int, description: str) -> Iterator[Callable[[int], None]]:
    """A function to be told of images that are done, with such a bar that shows how many they are a second."""
    with bar() as progress:
        task = progress.add_task(description, total=total)
        began, done = time.perf_counter(), 0

        def advance(count: int) -> None:
            nonlocal done
            done += count
            rate = done / max(time.perf_counter() - began, 1e-9)
            progress.update(task, advance=count, description=f"{description}, {rate:.3g} images/s")

        yield advance
