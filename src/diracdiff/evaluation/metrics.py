"""All metrics there are, in the order of every table."""

from collections.abc import Iterable

from diracdiff.evaluation.consistency import Consistency
from diracdiff.evaluation.fid import FID, KID
from diracdiff.evaluation.lpips import LPIPS
from diracdiff.evaluation.metric import Metric
from diracdiff.evaluation.psnr import PSNR
from diracdiff.evaluation.ssim import SSIM
from diracdiff.evaluation.swd import SWD

METRICS: tuple[type[Metric], ...] = (PSNR, SSIM, LPIPS, SWD, FID, KID, Consistency)


def in_order(metrics: Iterable[Metric]) -> list[Metric]:
    """Metrics in the order of METRICS, those of a user's own last."""
    places = {metric: place for place, metric in enumerate(METRICS)}
    return sorted(metrics, key=lambda metric: places.get(getattr(metric, "metric", type(metric)), len(places)))
