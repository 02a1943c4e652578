"""Progress bars."""

import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from rich.progress import Progress

T = TypeVar("T")


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
