"""What to do on SIGINT and SIGTERM, for as long as something runs."""

import signal
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

from diracdiff.utils.errors import say

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


AGAIN = 0.02
"""Seconds after which a handler looks whether its exception is on its way."""

LOADING = "_MultiProcessingDataLoaderIter.__init__"
"""Of PyTorch: amid it, processes are started that nobody knows how to end."""

_told: list[int] = []


def stop(signum: int, frame: FrameType | None) -> None:
    """A handler that raises Stopped: after an import that is under way, and again where it was swallowed.

    Some packages, half imported, make an error of their own of it, and PyTorch aborts; in C, some calls forget it.
    Outside of `stoppable` nothing comes again, and nothing is waited for.
    """
    if signum != signal.SIGALRM:
        _told[:] = [signum]
    comes_again = signal.getsignal(signal.SIGALRM) is stop
    if comes_again:
        signal.setitimer(signal.ITIMER_REAL, AGAIN)
    if not (comes_again and _must_end(frame)) and _stopped(sys.exception()) is None:
        raise Stopped(_told[-1])


def _must_end(frame: FrameType | None) -> bool:
    """Whether something is under way that cannot be left amid: an import, or the start of processes that load data."""
    while frame is not None:
        code = frame.f_code
        if code.co_filename.startswith("<frozen importlib") or code.co_qualname == LOADING:
            return True
        frame = frame.f_back
    return False


def _stopped(error: BaseException | None) -> Stopped | None:
    """What led to an error, if that is a Stopped."""
    while error is not None and not isinstance(error, Stopped):
        error = error.__context__
    return error


@contextmanager
def not_mistaken() -> Iterator[None]:
    """Raise Stopped where a library has made an error of its own of it."""
    try:
        yield
    except Exception as error:
        if (stopped := _stopped(error)) is not None:
            raise stopped from None
        raise


@contextmanager
def stoppable() -> Iterator[None]:
    """Let SIGINT and SIGTERM raise Stopped."""
    unraisable = sys.unraisablehook

    def unless_stopped(lost: "sys.UnraisableHookArgs") -> None:
        if _stopped(lost.exc_value) is None:  # otherwise it comes again, and a finalizer's traceback says nothing
            unraisable(lost)

    put_back = on_signals(stop, (*SIGNALS, signal.SIGALRM))
    sys.unraisablehook = unless_stopped
    try:
        yield
    finally:
        sys.unraisablehook = unraisable
        signal.signal(signal.SIGALRM, lambda *_: None)  # one that is on its way must not set the timer again
        signal.setitimer(signal.ITIMER_REAL, 0)
        put_back()


def closing_signals() -> tuple[signal.Signals, ...]:
    """Return the signals that end a server: SIGINT, SIGTERM, and SIGHUP unless it is ignored, as by nohup."""
    ignored = signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    return SIGNALS if ignored else (*SIGNALS, signal.SIGHUP)


@contextmanager
def interruptible(message: str, numbers: Iterable[signal.Signals] = SIGNALS) -> Iterator[None]:
    """Let signals end what is within, and the command after it with a message.

    A second signal does not interrupt the end of what is within.

    Args:
        message: printed at the end.
        numbers: of the signals; SIGINT and SIGTERM by default.

    Raises:
        SystemExit: then, with 128 and the signal's number.
    """

    def interrupt(signum: int, frame: FrameType | None) -> None:
        for number in numbers:
            signal.signal(number, signal.SIG_IGN)
        raise KeyboardInterrupt(signum)

    put_back = on_signals(interrupt, numbers)
    try:
        yield
    except KeyboardInterrupt as stopped:
        say(message)
        raise SystemExit(128 + stopped.args[0]) from None
    finally:
        put_back()
