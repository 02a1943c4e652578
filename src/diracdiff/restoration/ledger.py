"""What is said of every restored image: a line of JSON in the output folder, and a sentence at the end."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from diracdiff.data.inputs import LINES
from diracdiff.evaluation.certificate import LEVEL
from diracdiff.storage.json_lines import append_line, read_lines, write_lines

DIGITS = 6


class Ledger:
    """The lines of an output folder; those of earlier commands stay, but for images that are restored again.

    A line is written as soon as its image's results are. At the end the file is written anew, in the order of the
    images' paths.

    Args:
        output: the folder.
    """

    def __init__(self, output: Path):
        self.path = output / LINES
        self.rows: list[dict[str, Any]] = []

    def add(self, row: dict[str, Any]) -> None:
        """Write the line of an image.

        Raises:
            UserError: if it cannot be written.
        """
        self.rows.append(rounded(row))
        append_line(self.path, self.rows[-1])

    def close(self, rows: Iterable[dict[str, Any]]) -> None:
        """Put the rows of all processes and of earlier commands in order.

        Raises:
            UserError: if they cannot be written.
        """
        last = {str(row.get("path")): row for row in [*read_lines(self.path), *rows]}
        if last:
            write_lines(self.path, [last[path] for path in sorted(last)])


def rounded(value: Any) -> Any:
    """A value of JSON whose numbers have six digits."""
    if isinstance(value, float):
        return float(f"{value:.{DIGITS}g}")
    if isinstance(value, dict):
        return {key: rounded(item) for key, item in value.items()}
    return value


def sentence(rows: list[dict[str, Any]], most: int = 3) -> str:
    """How many images explain their measurement, and which do not."""
    against = [row for row in rows if not row["consistent"]]
    text = f"consistent with your measurement: {len(rows) - len(against)} of {len(rows)}"
    named = [
        f"{Path(row['image']).name}: residual {row['residual_over_sigma']:.3g} of its noise"
        + (", with structure" if row["p_structure"] < LEVEL / 2 else "")
        for row in against
    ]
    more = f" and {len(named) - most} more" if len(named) > most else ""
    return f"{text} (not {'; '.join(named[:most])}{more})" if against else text
