"""All metrics there are, in the order of every table."""

from diracdiff.evaluation.consistency import Consistency
from diracdiff.evaluation.fid import FID, KID
from diracdiff.evaluation.lpips import LPIPS
from diracdiff.evaluation.metric import Metric
from diracdiff.evaluation.psnr import PSNR
from diracdiff.evaluation.ssim import SSIM

METRICS: tuple[type[Metric], ...] = (PSNR, SSIM, LPIPS, FID, KID, Consistency)
