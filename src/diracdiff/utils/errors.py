"""Messages to the user: errors, warnings and results, one line each, with file names escaped."""

import sys
from typing import NoReturn

from diracdiff.processes import is_first_process, leave_reason
from diracdiff.utils.escaping import for_terminal


class UserError(ValueError):
    """A mistake in the input. Its message is one line that names the value, the rule and the remedy.

    Commands print the message alone, without a traceback, and exit with status 2.
    """


def warn(message: str, from_every_process: bool = False) -> None:
    """Print one line on stderr; of several processes, the first one does, unless all are to."""
    if from_every_process or is_first_process():
        print(f"warning: {for_terminal(message)}", file=sys.stderr, flush=True)


def say(message: str) -> None:
    """Print one line on stdout; of several processes, the first one does."""
    if is_first_process():
        print(for_terminal(message), flush=True)


def fail(message: str, status: int = 2) -> NoReturn:
    """Print one line on stderr and exit with a status; a process that the first one started lets that one print it."""
    if not leave_reason(message):
        print(f"error: {for_terminal(message)}", file=sys.stderr, flush=True)
    raise SystemExit(status)
