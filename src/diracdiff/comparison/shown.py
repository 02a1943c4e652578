"""A comparison as a command shows it: with a bar, and until it is interrupted."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from diracdiff.comparison.comparison import Plan, compare
from diracdiff.comparison.contenders import Contender
from diracdiff.comparison.measurements import Measurements
from diracdiff.comparison.runs import Runner
from diracdiff.signals import interruptible
from diracdiff.utils.console import bar

if TYPE_CHECKING:
    from rich.progress import Progress


def show(plan: Plan, runner: Runner, contenders: Sequence[Contender], splits: Mapping[str, Measurements]) -> None:
    """Compare, see `compare`, with a bar that tells what is run.

    Args:
        plan: of the comparison.
        runner: whose progress is shown.
        contenders: in the order of the table.
        splits: measurements by "val" and "test".

    Raises:
        SystemExit: if it is interrupted, with 128 and the signal's number; what is done is kept.
    """
    with (
        interruptible(f"interrupted: what is done is in {plan.folder}; go on with the same command"),
        bar() as progress,
    ):
        _follow(runner, progress)
        compare(plan, runner, contenders, splits["val"], splits["test"])


def _follow(runner: Runner, progress: Progress) -> None:
    task = progress.add_task("measuring")

    def told(description: str, done: int, of: int) -> None:
        progress.update(task, description=description, completed=done, total=of)

    runner.progress = told
