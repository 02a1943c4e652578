"""Metrics of single images and of sets of images, in the order of every table.

A metric has a name, a direction, a unit and a way to measure. A new one is a class, a line in `METRICS` and a YAML file
in conf/metrics: tables, plots, reports and the choice of stopping times follow from its attributes.
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


def sort_metrics(metrics: Iterable[Metric]) -> list[Metric]:
    """Return metrics in the order of METRICS, custom ones last; metrics with equal feature networks share one."""
    places = {metric: place for place, metric in enumerate(METRICS)}
    found = sorted(metrics, key=lambda metric: places.get(type(metric), len(places)))
    networks: dict[FeatureNetwork, FeatureNetwork] = {}
    for metric in found:
        if isinstance(metric, SetMetric):
            metric.extractor = networks.setdefault(metric.extractor, metric.extractor)
    return found
