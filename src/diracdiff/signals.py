"""What to do on SIGINT and SIGTERM, for as long as something runs."""

import signal
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

SIGNALS = (signal.SIGINT, signal.SIGTERM)


def on_signals(
    handler: Callable[[int, FrameType | None], Any], numbers: Iterable[signal.Signals] = SIGNALS
) -> Callable[[], None]:
    """Let signals call a handler, also where the shell had SIGINT ignored.

    Args:
        handler: called with the number of the signal and the frame it interrupts.
        numbers: of the signals; SIGINT and SIGTERM by default.

    Returns:
        A function that puts back what was there before.
    """
    before = {number: signal.signal(number, handler) for number in numbers}

    def put_back() -> None:
        for number, previous in before.items():
            signal.signal(number, previous)
        before.clear()

    return put_back


@contextmanager
def interruptible() -> Iterator[None]:
    """Let SIGINT and SIGTERM raise KeyboardInterrupt(number)."""

    def interrupt(signum: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt(signum)

    put_back = on_signals(interrupt)
    try:
        yield
    finally:
        put_back()
