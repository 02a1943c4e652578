"""What scheduling leaves: a table, its picture, and a word on how to use it."""

from pathlib import Path

from diracdiff.evaluation.pictures import draw_schedule
from diracdiff.scheduling.candidates import Candidates
from diracdiff.scheduling.distances import DegradationDistance
from diracdiff.scheduling.greedy import Placement, tabulate
from diracdiff.utils.errors import say, warn
from diracdiff.utils.files import check_output, write_rows


def check_table(path: Path, overwrite: bool) -> None:
    """Refuse a table that cannot be written, or that exists, it or its picture, and may not be replaced.

    Raises:
        ValueError: naming what is in the way.
    """
    if path.suffix != ".csv" or path.is_dir():
        raise ValueError(f"output must be a CSV file, got {path}: give output=table.csv")
    check_output(path.parent, [path, path.with_suffix(".png")], overwrite)


def report(path: Path, candidates: Candidates, first: Placement, last: Placement, budget: int, seconds: float) -> None:
    """Write the table, draw it, and print how far the neighbours are from one another.

    Args:
        path: of the table, a CSV file; the picture lies beside it.
        candidates: that were chosen from.
        first: the ends alone.
        last: what was chosen.
        budget: points that were to be placed.
        seconds: that it took.
    """
    distance, name, by = candidates.distance, candidates.name, candidates.distance.dissimilarity.name
    table, picture = tabulate(last.chosen, distance.candidates, candidates.line), path.with_suffix(".png")
    rows = zip(table.times, table.values, strict=True)
    write_rows(path, [{"t": f"{t:.8g}", "value": f"{value:.8g}"} for t, value in rows])
    title = f"{name}: {candidates.what} by {by}, {candidates.images} images"
    draw_schedule(picture, table, candidates.line, title, candidates.what)
    found = len(last.chosen) - 2
    if found < budget:
        warn(f"placed {found} of {budget}: with any more the largest distance would grow")
    say(f"{name}: {found} of {distance.candidates} candidates by {by} of {candidates.images} images")
    say(f"largest distance between neighbours: {first.largest:.4g} before, {last.largest:.4g} after")
    use = "evaluate or restore with sampler/grid=adaptive sampler.grid.path="
    if isinstance(distance, DegradationDistance):
        each = distance.degraded / candidates.images
        say(f"{seconds:.1f} s, {distance.degraded} degraded images ({each:.0f} of each)")
        use = "train with schedule=tabulated schedule.severity.path="
    say(f"written: {path} {picture}; {use}{path}")
