"""A benchmark as tables."""

from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import Any

from diracdiff.benchmarks.timing import YARDSTICK
from diracdiff.evaluation.tables import print_table
from diracdiff.metrics import Row


def finished(rows: Sequence[Row], peak: float | None) -> list[Row]:
    """The rows with what follows from seconds: images per second, TFLOP/s, and the share of the card's peak."""
    done = []
    for row in rows:
        rate: Row = {"images_per_second": row["images"] / row["seconds"][1] if row["seconds"][1] else None}
        if row.get("flops"):
            rate["tflops"] = row["flops"] / row["seconds"][1] / 1e12
            rate["share_of_peak"] = None if peak is None else rate["tflops"] / peak
        done.append(row | rate)
    return done


def _two(quartiles: Sequence[float] | None, digits: int, factor: float = 1.0) -> tuple[str, str]:
    if quartiles is None:
        return "", ""
    low, median, high = (f"{factor * value:.{digits}f}" for value in quartiles)
    return median, f"{low}–{high}"


def columns(rows: Sequence[Row]) -> list[str]:
    """Columns of the table of one group."""
    first = ["case", "ms", "quartiles"]
    if any("share" in row for row in rows):
        return [*first, "% of the step", "its quartiles"]
    others = {
        "ratio": "ratio",
        "its quartiles": "ratio",
        "predicted ms": "predicted",
        "MiB": "memory",
        "counted MiB": "counted",
    }
    others |= {"% of peak": "share_of_peak"}
    return [*first, "images/s", *(name for name, key in others.items() if any(key in row for row in rows))]


def cells(row: Row) -> dict[str, str]:
    """What a row says, by column: medians, and the first and third quartile."""
    peak = row.get("share_of_peak")
    memory, counted, rate = row.get("memory"), row.get("counted"), row["images_per_second"]
    seconds, share = _two(row["seconds"], 3 if row["seconds"][1] < 0.01 else 1, 1000), _two(row.get("share"), 2, 100)
    ratio = _two(row.get("ratio"), 3)
    return {
        "case": row["case"],
        "ms": seconds[0],
        "quartiles": seconds[1],
        "% of the step": share[0],
        "images/s": "" if rate is None else f"{rate:.4g}",
        "ratio": ratio[0],
        "its quartiles": share[1] or ratio[1],
        "predicted ms": f"{1000 * row['predicted']:.1f}" if "predicted" in row else "",
        "counted MiB": "" if counted is None else f"{counted / 2**20:.0f}",
        "MiB": "" if memory is None else f"{memory / 2**20:.0f}",
        "% of peak": "not known" if peak is None else f"{100 * peak:.1f}",
    }


def tables(rows: Sequence[Row]) -> Iterator[tuple[str, list[str], list[list[str]]]]:
    """Title, columns and lines of the table of every group, in order."""
    for group, of_group in groupby(sorted(rows, key=_order(rows)), key=lambda row: row["group"]):
        found = list(of_group)
        names = columns(found)
        yield str(group), names, [[cells(row)[name] for name in names] for row in found]


def _order(rows: Sequence[Row]) -> Any:
    first = list(dict.fromkeys(row["group"] for row in rows))
    return lambda row: first.index(row["group"])


def print_tables(rows: Sequence[Row]) -> None:
    """Print the table of every group."""
    for title, names, lines in tables(rows):
        if title != YARDSTICK:
            print_table(names, lines, title, "medians; on a CPU of its time in this process")


def markdown(rows: Sequence[Row]) -> str:
    """The same in Markdown."""
    parts = []
    for title, names, lines in tables(rows):
        table = [names, ["---"] * len(names), *lines]
        parts.append(f"**{title}**\n\n" + "\n".join("| " + " | ".join(line) + " |" for line in table))
    return "\n\n".join(parts) + "\n"
