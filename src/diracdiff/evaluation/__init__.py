"""How good a restoration is: metrics, records along the walk, the trade-off curve and its stops, tables, pictures."""

from diracdiff.evaluation.calibration import Calibration
from diracdiff.evaluation.consistency import Consistency
from diracdiff.evaluation.evaluation import Evaluation, Gallery
from diracdiff.evaluation.fid import FID, KID
from diracdiff.evaluation.lpips import LPIPS
from diracdiff.evaluation.metric import ImageMetric, Metric, Missing, Reference, Row, SetMetric
from diracdiff.evaluation.metrics import METRICS
from diracdiff.evaluation.psnr import PSNR
from diracdiff.evaluation.records import Records
from diracdiff.evaluation.results import Result, measured, results
from diracdiff.evaluation.ssim import SSIM
from diracdiff.evaluation.statistics import interval, mean
from diracdiff.evaluation.stops import TARGETS, Blend, Stop, Stops, blends_of, find_stops, reached, summarise
from diracdiff.evaluation.swd import SWD
from diracdiff.evaluation.targets import stop_for
from diracdiff.evaluation.uncertainty import Spread

__all__ = [
    "FID",
    "KID",
    "LPIPS",
    "METRICS",
    "PSNR",
    "SSIM",
    "SWD",
    "TARGETS",
    "Blend",
    "Calibration",
    "Consistency",
    "Evaluation",
    "Gallery",
    "ImageMetric",
    "Metric",
    "Missing",
    "Records",
    "Reference",
    "Result",
    "Row",
    "SetMetric",
    "Spread",
    "Stop",
    "Stops",
    "blends_of",
    "find_stops",
    "interval",
    "mean",
    "measured",
    "reached",
    "results",
    "stop_for",
    "summarise",
]
