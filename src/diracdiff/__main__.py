"""Console command. `diracdiff train …` and `python -m diracdiff train …` run `diracdiff/commands/train.py`."""

import os
import sys
from importlib.metadata import version

from diracdiff.utils.errors import echo, fail

COMMANDS = {
    "train": "train a restorer and find its stopping times",
    "restore": "restore degraded images",
    "evaluate": "evaluate a restorer on a data set",
    "demo": "serve a web page that restores photographs, on this machine only",
    "calibrate": "calibrate intervals for the uncertainty of restored images",
    "compare": "compare a restorer with other methods on the same measurements",
    "export": "write a model as safetensors and JSON, with a model card",
    "import_official": "convert the authors' released weights to a checkpoint",
    "pack": "write a decoded data set into files that load faster",
    "schedule": "find a schedule of severities for a task",
}


def main() -> None:
    """Replace this process by the module of the requested command."""
    name, *arguments = sys.argv[1:] or [""]
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
        interpreter_flags = sys.orig_argv[1 : sys.orig_argv.index("-m")]
    else:  # The console script does not import from the working folder. Child processes inherit the variable.
        interpreter_flags, os.environ["PYTHONSAFEPATH"] = [], "1"
    # Hydra and Lightning's launcher read `sys.argv` and `__main__`, and start child processes from them.
    os.execv(sys.executable, [sys.executable, *interpreter_flags, "-m", f"diracdiff.commands.{name}", *arguments])


if __name__ == "__main__":
    main()
