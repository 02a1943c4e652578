"""Progress bars, which disappear at their end and are not shown where there is no terminal."""

import sys
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from rich.progress import Progress

T = TypeVar("T")


def progress_bar() -> "Progress":
    """Return a progress progress_bar."""
    from rich.progress import Progress

    return Progress(transient=True, disable=not sys.stdout.isatty())


def track(items: Iterable[T], description: str, total: float | None = None) -> Iterator[T]:
    """Yield items while a progress progress_bar counts them."""
    with progress_bar() as progress:
        yield from progress.track(items, total, description=description)
