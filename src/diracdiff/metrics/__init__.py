"""Metrics of single images and of sets of images.

A new metric needs a class, an entry in `METRICS` and a YAML file in conf/metrics. Tables, plots, reports and stopping
times use its attributes.
"""

from collections.abc import Iterable

from diracdiff.metrics.artifacts import ResidualNoise, Seams
from diracdiff.metrics.fid import FID, KID
from diracdiff.metrics.fidelity import PSNR, SSIM, Consistency
from diracdiff.metrics.lpips import LPIPS
from diracdiff.metrics.metric import FeatureNetwork, ImageMetric, Metric, Reference, Row, SetMetric
from diracdiff.metrics.swd import SWD

__all__ = [
    "FID",
    "KID",
    "LPIPS",
    "METRICS",
    "PSNR",
    "SSIM",
    "SWD",
    "Consistency",
    "ImageMetric",
    "Metric",
    "Reference",
    "ResidualNoise",
    "Row",
    "Seams",
    "SetMetric",
    "sort_metrics",
]

METRICS: tuple[type[Metric], ...] = (PSNR, SSIM, LPIPS, SWD, FID, KID, ResidualNoise, Seams, Consistency)
"""Metrics in the order of the columns of tables."""


def sort_metrics(metrics: Iterable[Metric]) -> list[Metric]:
    """Return metrics in the order of `METRICS`, followed by custom metrics.

    Metrics with equal feature networks share one network afterwards.
    """
    positions = {metric: position for position, metric in enumerate(METRICS)}
    ordered = sorted(metrics, key=lambda metric: positions.get(type(metric), len(positions)))
    networks: dict[FeatureNetwork, FeatureNetwork] = {}
    for metric in ordered:
        if isinstance(metric, SetMetric):
            metric.extractor = networks.setdefault(metric.extractor, metric.extractor)
    return ordered
