"""The console command: `diracdiff train …` and `python -m diracdiff train …` run `diracdiff/commands/train.py`."""

import os
import sys
from importlib.metadata import version

from diracdiff.utils.errors import echo, fail

COMMANDS = {
    "train": "train a restorer and find its stopping times",
    "restore": "restore images that are degraded",
    "evaluate": "measure a restorer on a data set",
    "demo": "serve a page to try a model on photographs, on this machine only",
    "calibrate": "find intervals for the uncertainty of restored images",
    "compare": "compare a restorer with other methods on the same measurements",
    "export": "write a model as safetensors and JSON, with a card",
    "import_official": "convert weights that the authors released to a checkpoint",
    "pack": "write a data set, decoded, into files that load faster",
    "schedule": "find how the severity of a task should grow with time",
}


def main() -> None:
    """Hand over to the module of the command."""
    name, *words = sys.argv[1:] or [""]
    if name in ("", "-h", "--help"):
        echo("usage: diracdiff COMMAND key=value …")
        for command, text in COMMANDS.items():
            echo(f"  {command:<16}  {text}")
        echo("diracdiff COMMAND --help lists the keys of a command, and diracdiff --version prints the version.")
        raise SystemExit(0 if name else 2)
    if name == "--version":
        echo(f"diracdiff {version('diracdiff')}")
        raise SystemExit(0)
    if name not in COMMANDS:
        fail(f"unknown command {name!r}, must be one of: {', '.join(COMMANDS)}")
    if __name__ == "__main__":
        flags = sys.orig_argv[1 : sys.orig_argv.index("-m")]  # of the interpreter
    else:  # the console script: unlike `python -m`, it does not import from the working folder
        flags, os.environ["PYTHONSAFEPATH"] = [], "1"  # which the processes that the command starts inherit
    # Replace this process by the command's module: Hydra and Lightning's launcher then find in `sys.argv` and
    # `__main__` what they expect, and the processes that the launcher starts run the same command.
    os.execv(sys.executable, [sys.executable, *flags, "-m", f"diracdiff.commands.{name}", *words])


if __name__ == "__main__":
    main()
