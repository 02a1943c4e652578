"""What to do on SIGINT and SIGTERM, for as long as something runs."""

import signal
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

from diracdiff.errors import say

SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Stopped(BaseException):
    """A command was told to end by a signal. Not an Exception, so that no library takes it for a mistake of its own.

    Attributes:
        signum: the signal.
        message: what the user is told.
    """

    def __init__(self, signum: int):
        super().__init__(signum)
        self.signum, self.message = signum, "interrupted"


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


_told: list[int] = []


def stop(signum: int, frame: FrameType | None) -> None:
    """A handler that raises Stopped."""
    _told.append(signum)
    raise Stopped(signum)


@contextmanager
def not_mistaken() -> Iterator[None]:
    """Raise Stopped where a library has swallowed it or made an error of its own of it, as some do half imported."""
    try:
        yield
    except Exception:
        if not _told:
            raise
    if _told:
        raise Stopped(_told[-1])


@contextmanager
def stoppable() -> Iterator[None]:
    """Let SIGINT and SIGTERM raise Stopped."""
    put_back = on_signals(stop)
    _told.clear()
    try:
        yield
    finally:
        put_back()


@contextmanager
def interruptible(message: str) -> Iterator[None]:
    """Let SIGINT and SIGTERM end what is within, and the command after it with a message.

    Raises:
        SystemExit: then, with 128 and the signal's number.
    """

    def interrupt(signum: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt(signum)

    put_back = on_signals(interrupt)
    try:
        yield
    except KeyboardInterrupt as stopped:
        say(message)
        raise SystemExit(128 + stopped.args[0]) from None
    finally:
        put_back()
