"""What a user is told: mistakes to correct, and warnings. One line each."""

import os
import sys
from typing import NoReturn


class UserError(ValueError):
    """A mistake in the input. Its message is one line that names the value, the rule and the remedy.

    Commands print the message alone, without a traceback, and exit with status 2.
    """


def warn(message: str) -> None:
    """Print one line on stderr; of several processes, the first one does."""
    if int(os.environ.get("LOCAL_RANK", 0)) == 0:
        print(f"warning: {message}", file=sys.stderr, flush=True)


def fail(message: str) -> NoReturn:
    """Print one line on stderr and exit with status 2."""
    print(f"error: {message}", file=sys.stderr)
    raise SystemExit(2)
