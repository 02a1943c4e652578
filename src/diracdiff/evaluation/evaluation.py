"""The pipeline of every measurement: states, results, records, means."""

from collections.abc import Collection, Iterable, Sequence

import torch
from torch import Tensor

from diracdiff.evaluation.records import FeatureSets, Key, Records, of_all_processes
from diracdiff.evaluation.results import Result, measured, results
from diracdiff.evaluation.stops import Blend, Stop, taken_for
from diracdiff.metrics.metric import Metric, Reference, Row, image_metrics, set_metrics
from diracdiff.samplers import OUTPUTS, State
from diracdiff.utils.pixels import to_pixels

Gallery = dict[Key, Tensor]
"""uint8 pictures on the CPU: "clean" and "measurement", and what a walk gives under (t, output)."""


class Evaluation:
    """What the walks of a validation or a test find.

    Args:
        metrics: of single images and of sets, in the order of every table.
        gallery_size: number of images whose pictures are kept, those of the first batch.
        ends: the faithful and the good-looking stop, where they are known, for `excess`.
        blends: of two stops, to be measured besides.
        only: measure these stops of the walk alone, see `reached`; None: every one.

    Attributes:
        records: metrics of single images.
        curve: the trade-off curve, see `Records.curve`, once all is gathered.
        gallery: pictures of a few images.
        shown: the names of these images.
        excess: {name: P - c} where both ends are known, with P the mean square error of x_DO and
            c = <x_DO - x, x_PO - x> / n: where its mean is above 0, x_DO is not the posterior mean.
    """

    def __init__(
        self,
        metrics: Sequence[Metric],
        gallery_size: int = 6,
        ends: tuple[Stop, Stop] | None = None,
        blends: Sequence[Blend] = (),
        only: Collection[Stop] | None = None,
    ):
        self.metrics, self.gallery_size, self.only = list(metrics), gallery_size, only
        self.ends, self.blends = ends, list(blends)
        self.excess: dict[str, float] = {}
        self.records = Records()
        self.curve: list[Row] = []
        self.gallery: Gallery = {}
        self.shown: list[str] = []
        self._sets = FeatureSets(set_metrics(self.metrics))

    @torch.no_grad()
    def add(self, names: Sequence[str], seeds: Sequence[int], states: Iterable[State], reference: Reference) -> None:
        """Walk with a batch, and keep what is found.

        Args:
            names: of the images.
            seeds: of their noise, for the records.
            states: their reverse process.
            reference: clean images and measurement.
        """
        clean, collect = reference.clean, not self.gallery
        if collect:
            self.gallery["clean"], self.shown = self._picture(clean), list(names[: self.gallery_size])
            if reference.measurement is not None:
                self.gallery["measurement"] = self._picture(reference.measurement)
        self._sets.add("clean", names, clean)
        ends: dict[Stop, Tensor] = {}
        found = (r for r in results(states, clean, self.blends) if self._asked(r))
        for result, values in measured(found, reference, self.metrics):
            for end in self.ends or ():
                ends |= dict.fromkeys(taken_for(end, result.t, result.output, ends), result.images)
            self.records.add(names, seeds, result, values)
            self._sets.add((result.t, result.output), names, result.images)
            if collect:
                self.gallery[result.t, result.output] = self._picture(result.images)
        if self.ends:
            faithful, perceptual = (ends[end].to(clean.dtype) for end in self.ends)
            excess = ((faithful - clean) * (faithful - perceptual)).flatten(1).mean(1)
            self.excess |= dict(zip(names, excess.tolist(), strict=True))

    def finish(self, seed: int = 0) -> list[Row]:
        """Gather the records of all processes and return the trade-off curve over all images.

        Args:
            seed: of metrics that draw at random.
        """
        self.records = self.records.gathered()
        self.excess = {name: v for part in of_all_processes(self.excess) for name, v in sorted(part.items())}
        self.curve = self.records.curve(self._sets.scores(seed)) if len(self.records) else []
        return self.curve

    def check_size(self, side: int) -> None:
        """Find out before any work whether images of so many pixels a side can be measured.

        Raises:
            UserError: if they are too small for one of the metrics.
        """
        for metric in image_metrics(self.metrics):
            metric.check_size(side)

    def _asked(self, result: Result) -> bool:
        return self.only is None or result.output not in OUTPUTS or Stop(result.t, result.output) in self.only

    def _picture(self, images: Tensor) -> Tensor:
        return to_pixels(images[: self.gallery_size]).cpu()
