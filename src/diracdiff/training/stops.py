"""A test of stops that are known, without the rest of the curve."""

from collections.abc import Sequence
from typing import Any

from diracdiff.evaluation import Blend, Evaluation, Metric, Stop
from diracdiff.restorer import Restorer
from diracdiff.training.module import RestorerModule


class StopsModule(RestorerModule):
    """Walks as far as the last of some stops, and measures there alone. It finds no stopping times.

    Args:
        restorer: process, denoiser and sampler.
        metrics: what is measured.
        blends: of known stops, to measure besides.
        asked: the stops, at times of the walk, see `diracdiff.evaluation.reached`.
    """

    def __init__(self, restorer: Restorer, metrics: Sequence[Metric], blends: Sequence[Blend], asked: Sequence[Stop]):
        super().__init__(restorer, metrics=metrics, blends=blends)
        self.asked = frozenset(asked)
        self.last = min(stop.t for stop in asked)
        self.last_output = "mean" if Stop(self.last, "mean") in self.asked else "iterate"

    def on_validation_epoch_start(self) -> None:
        """Begin anew."""
        self.evaluation = Evaluation(self.metrics, ends=self.ends, blends=self.blends, only=self.asked)

    on_test_epoch_start = on_validation_epoch_start

    def validation_step(self, batch: dict[str, Any], batch_idx: int) -> None:
        """Measure the images of a batch, walk back from them, and keep what is asked for."""
        restorer, x = self.restorer, batch["x"]
        names = [str(name) for name in batch["name"]]
        measured = restorer.measure(x, names)
        where = (measured.y, measured.noise, self.last, self.last_output)
        states = restorer.sampler.states(restorer.process, self.denoiser, *where)
        self.evaluation.add(names, measured.seeds, states, restorer.reference(x, measured.y))

    test_step = validation_step

    def on_validation_epoch_end(self) -> None:
        """Gather what was found."""
        self.evaluation.finish(self.restorer.seed)
