"""Progress bars."""

import sys
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from rich.progress import Progress

T = TypeVar("T")


def bar() -> "Progress":
    """Return a progress bar that disappears at its end, and is not shown where there is no terminal."""
    from rich.progress import Progress

    return Progress(transient=True, disable=not sys.stdout.isatty())


def track(items: Iterable[T], description: str, total: float | None = None) -> Iterator[T]:
    """Yield items while a progress bar counts them."""
    with bar() as progress:
        yield from progress.track(items, total, description=description)
