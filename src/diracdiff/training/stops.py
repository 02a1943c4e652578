"""A test of stops that are known, without the rest of the curve."""

from collections.abc import Iterator, Sequence

from diracdiff.evaluation import Blend, Evaluation, Stop
from diracdiff.evaluation.measurement import Measured
from diracdiff.metrics import Metric
from diracdiff.restorer import Restorer
from diracdiff.samplers import State
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

    def walk(self, measured: Measured) -> Iterator[State]:
        """The states as far as the last one that is asked for."""
        where = (measured.y, measured.noise, self.last, self.last_output)
        return self.restorer.sampler.states(self.restorer.process, self.denoiser, *where)

    def on_validation_epoch_end(self) -> None:
        """Gather what was found."""
        self.evaluation.finish(self.restorer.seed)
