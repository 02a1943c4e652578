"""The pipeline of every measurement: states, results, records, means."""

from collections.abc import Iterable, Sequence

import torch
from torch import Tensor

from diracdiff.evaluation.metric import Metric, Reference, Row, image_metrics, set_metrics
from diracdiff.evaluation.records import FeatureSets, Key, Records
from diracdiff.evaluation.results import measured, results
from diracdiff.pixels import to_pixels
from diracdiff.samplers import State

Gallery = dict[Key, Tensor]
"""uint8 pictures on the CPU: those of the clean images under "clean", others under (t, output)."""


class Evaluation:
    """What the walks of a validation or a test find.

    Args:
        metrics: of single images and of sets, in the order of every table.
        gallery_size: number of images whose pictures are kept, those of the first batch.

    Attributes:
        records: metrics of single images.
        curve: the trade-off curve, see `Records.curve`, once all is gathered.
        gallery: pictures of a few images.
    """

    def __init__(self, metrics: Sequence[Metric], gallery_size: int = 6):
        self.metrics, self.gallery_size = list(metrics), gallery_size
        self.records = Records()
        self.curve: list[Row] = []
        self.gallery: Gallery = {}
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
            self.gallery["clean"] = self._picture(clean)
        self._sets.add("clean", names, clean)
        for result, values in measured(results(states, clean), reference, self.metrics):
            self.records.add(names, seeds, result, values)
            self._sets.add((result.t, result.output), names, result.images)
            if collect:
                self.gallery[result.t, result.output] = self._picture(result.images)

    def finish(self, seed: int = 0) -> list[Row]:
        """Gather the records of all processes and return the trade-off curve over all images.

        Args:
            seed: of metrics that draw at random.
        """
        self.records = self.records.gathered()
        self.curve = self.records.curve(self._sets.scores(seed)) if self.records.rows else []
        return self.curve

    def check_size(self, side: int) -> None:
        """Find out before any work whether images of so many pixels a side can be measured.

        Raises:
            UserError: if they are too small for one of the metrics.
        """
        for metric in image_metrics(self.metrics):
            metric.check_size(side)

    def _picture(self, images: Tensor) -> Tensor:
        return to_pixels(images[: self.gallery_size]).cpu()
