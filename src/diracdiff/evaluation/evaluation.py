"""Evaluation of trajectories: states to results, records of single images, and the trade-off curve."""

from collections.abc import Collection, Iterable, Sequence

import torch
from torch import Tensor

from diracdiff.evaluation.records import FeatureSets, Key, Records
from diracdiff.evaluation.results import results
from diracdiff.evaluation.stopping import StoppingPoint
from diracdiff.metrics.metric import Metric, Reference, Row, image_metrics, set_metrics
from diracdiff.samplers import State
from diracdiff.utils.pixels import to_pixels

Gallery = dict[Key, Tensor]
"""uint8 images on the CPU: "clean", "measurement", and the results at (t, output)."""


class Evaluation:
    """Results of a validation or a test.

    Args:
        metrics: metrics of single images and of sets, in the order of every table.
        gallery_size: number of images that the gallery shows, taken from the first batch.
        only: points of the trajectory to measure, see `on_grid`; None: all.

    Attributes:
        records: metrics of single images.
        curve: the trade-off curve, see `Records.curve`; set by `finish`.
        gallery: a few images at every time.
        shown: names of the images in the gallery.
    """

    def __init__(self, metrics: Sequence[Metric], gallery_size: int = 6, only: Collection[StoppingPoint] | None = None):
        self.metrics, self.gallery_size, self.only = list(metrics), gallery_size, only
        self.records = Records()
        self.curve: list[Row] = []
        self.gallery: Gallery = {}
        self.shown: list[str] = []
        self._sets = FeatureSets(set_metrics(self.metrics))

    @torch.no_grad()
    def add(self, names: Sequence[str], seeds: Sequence[int], states: Iterable[State], reference: Reference) -> None:
        """Run the trajectory of a batch and record its results.

        Args:
            names: one per image.
            seeds: seeds of the images' noise, for the records.
            states: trajectory of the batch.
            reference: clean images and measurements.
        """
        clean, collect = reference.clean, not self.gallery
        if collect:
            self.gallery["clean"], self.shown = self._thumbnails(clean), list(names[: self.gallery_size])
            if reference.measurement is not None:
                self.gallery["measurement"] = self._thumbnails(reference.measurement)
        self._sets.add("clean", names, clean)
        for result in results(states, clean):
            if self.only is not None and StoppingPoint(result.t, result.output) not in self.only:
                continue
            values = {metric.name: metric.values(result.images, reference) for metric in image_metrics(self.metrics)}
            self.records.add(names, seeds, result, values)
            self._sets.add((result.t, result.output), names, result.images)
            if collect:
                self.gallery[result.t, result.output] = self._thumbnails(result.images)

    def finish(self, seed: int = 0) -> list[Row]:
        """Gather all processes and return the trade-off curve; `seed` is that of metrics that draw subsets."""
        self.records = self.records.gathered()
        self.curve = self.records.curve(self._sets.scores(seed))
        return self.curve

    def _thumbnails(self, images: Tensor) -> Tensor:
        return to_pixels(images[: self.gallery_size]).cpu()
