"""The console command: `diracdiff train …` is `python -m diracdiff.train …`."""

import os
import sys

COMMANDS = {
    "train": "train a restorer and find its stopping times",
    "restore": "restore images that are degraded",
    "evaluate": "measure a restorer on a data set",
    "demo": "a page to try models on your photographs, on this machine alone",
    "calibrate": "find intervals for the uncertainty of restored images",
    "compare": "compare a restorer with other methods on the same measurements",
    "sample": "generate images with a restorer of task=denoise",
    "export": "write a model as safetensors and JSON, with a card, and upload it",
    "import_official": "turn weights that the authors released into a checkpoint",
    "pack": "write a data set into files that load many times as fast",
    "bench": "measure speed, part by part",
    "schedule": "find how a task's severity should grow with time",
}


def main() -> None:
    """Hand over to the module of the command."""
    if len(sys.argv) < 2 or sys.argv[1] not in COMMANDS:
        asked = sys.argv[1:2] in (["-h"], ["--help"])
        lines = [f"  diracdiff {name} key=value …   {text}" for name, text in COMMANDS.items()]
        usage = "\n".join([*lines, "Every command shows its keys with --help."])
        if asked or len(sys.argv) < 2:
            print(usage)
            raise SystemExit(0 if asked else 2)
        print(f"error: unknown command {sys.argv[1]!r}, must be one of: {', '.join(COMMANDS)}", file=sys.stderr)
        raise SystemExit(2)
    if __name__ != "__main__":  # the console script: unlike `python -m`, it does not import from the working folder
        os.environ["PYTHONSAFEPATH"] = "1"  # the processes that the command starts inherit it
    os.execv(sys.executable, [sys.executable, "-m", f"diracdiff.{sys.argv[1]}", *sys.argv[2:]])


if __name__ == "__main__":
    main()
