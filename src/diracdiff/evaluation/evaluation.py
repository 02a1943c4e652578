"""Evaluation of trajectories: metrics per image and the trade-off curve."""

from collections.abc import Collection, Iterable, Sequence

import torch
from torch import Tensor

from diracdiff.evaluation.records import FeatureSets, Key, Records
from diracdiff.evaluation.results import trajectory_results
from diracdiff.evaluation.stopping import StoppingPoint
from diracdiff.metrics.metric import Metric, Reference, Row, image_metrics, set_metrics
from diracdiff.samplers import State
from diracdiff.utils.pixels import to_pixels

Gallery = dict[Key, Tensor]
"""Images, uint8 (N, C, H, W) on the CPU, by "clean", "measurement" or (t, output)."""


class Evaluation:
    """Metrics and example images of a validation or a test.

    Args:
        metrics: metrics of single images and of sets of images, in the order of the tables.
        gallery_size: number of images in the gallery, taken from the first batch.
        eval_points: points of the trajectory to evaluate, see `snap_to_grid`; None: all points.

    Attributes:
        records: metrics of single images.
        curve: trade-off curve, see `Records.curve`; empty before `finish`.
        gallery: example images at all evaluated points.
        gallery_names: names of the images in the gallery.
    """

    def __init__(
        self, metrics: Sequence[Metric], gallery_size: int = 6, eval_points: Collection[StoppingPoint] | None = None
    ):
        self.metrics, self.gallery_size, self.eval_points = list(metrics), gallery_size, eval_points
        self.records = Records()
        self.curve: list[Row] = []
        self.gallery: Gallery = {}
        self.gallery_names: list[str] = []
        self._sets = FeatureSets(set_metrics(self.metrics))

    @torch.no_grad()
    def add(self, names: Sequence[str], seeds: Sequence[int], states: Iterable[State], reference: Reference) -> None:
        """Evaluate the trajectory of a batch.

        Args:
            names: name of each image.
            seeds: noise seed of each image, for the records.
            states: states of the trajectory.
            reference: clean images and measurements.
        """
        clean, collect = reference.clean, not self.gallery
        if collect:
            self.gallery["clean"], self.gallery_names = self._thumbnails(clean), list(names[: self.gallery_size])
            if reference.measurement is not None:
                self.gallery["measurement"] = self._thumbnails(reference.measurement)
        self._sets.add("clean", names, clean)
        for result in trajectory_results(states, clean):
            if self.eval_points is not None and StoppingPoint(result.t, result.output) not in self.eval_points:
                continue
            values = {metric.name: metric.values(result.images, reference) for metric in image_metrics(self.metrics)}
            self.records.add(names, seeds, result, values)
            self._sets.add((result.t, result.output), names, result.images)
            if collect:
                self.gallery[result.t, result.output] = self._thumbnails(result.images)

    def finish(self, seed: int = 0) -> list[Row]:
        """Gather the results of all processes and compute the trade-off curve.

        Args:
            seed: seed of metrics that sample subsets.

        Returns:
            Rows of the curve, see `Records.curve`.
        """
        self.records = self.records.gather()
        self.curve = self.records.curve(self._sets.scores(seed))
        return self.curve

    def _thumbnails(self, images: Tensor) -> Tensor:
        return to_pixels(images[: self.gallery_size]).cpu()
