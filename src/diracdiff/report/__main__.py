"""Open a report in a browser: `python -m diracdiff.report runs/latest`."""

import sys
from pathlib import Path

from diracdiff.report.page import NAME
from diracdiff.utils.console import protect_output, show_in_browser
from diracdiff.utils.errors import fail, say


def main() -> None:
    """Print where the report of a folder is, and open it where there is something to open it with."""
    protect_output()
    words = sys.argv[1:]
    if len(words) > 1 or (words and words[0].startswith("-")):
        fail(f"diracdiff.report takes one folder, got {' '.join(words)}: give that of a training or an evaluation")
    path = Path(words[0] if words else "runs/latest")
    path = path if path.suffix == ".html" else path / NAME
    if not path.is_file():
        fail(f"{path} does not exist: give the folder of a training, an evaluation or a comparison")
    say(str(path))
    show_in_browser(path.resolve().as_uri())


if __name__ == "__main__":
    main()
