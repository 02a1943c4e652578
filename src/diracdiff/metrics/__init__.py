"""Metrics of single images and of sets of images, in the order of every table."""

from collections.abc import Iterable

from diracdiff.metrics.consistency import Consistency
from diracdiff.metrics.fid import FID, KID
from diracdiff.metrics.lpips import LPIPS
from diracdiff.metrics.metric import ImageMetric, Metric, Missing, Reference, Row, SetMetric
from diracdiff.metrics.psnr import PSNR
from diracdiff.metrics.ssim import SSIM
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
    "Missing",
    "Reference",
    "Row",
    "SetMetric",
    "in_order",
]

METRICS: tuple[type[Metric], ...] = (PSNR, SSIM, LPIPS, SWD, FID, KID, Consistency)


def in_order(metrics: Iterable[Metric]) -> list[Metric]:
    """Metrics in the order of METRICS, those of a user's own last."""
    places = {metric: place for place, metric in enumerate(METRICS)}
    return sorted(metrics, key=lambda metric: places.get(getattr(metric, "metric", type(metric)), len(places)))
