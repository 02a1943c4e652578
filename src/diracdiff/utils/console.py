"""Progress bars. They disappear at the end and are disabled without a terminal."""

import sys
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from rich.progress import Progress

T = TypeVar("T")


def progress_bar() -> "Progress":
    """Return a transient progress bar."""
    from rich.progress import Progress

    return Progress(transient=True, disable=not sys.stdout.isatty())


def track(items: Iterable[T], description: str, total: float | None = None) -> Iterator[T]:
    """Yield items and show a progress bar.

    Args:
        items: the items.
        description: text next to the bar.
        total: number of items, if `items` has no length.
    """
    with progress_bar() as progress:
        yield from progress.track(items, total, description=description)
