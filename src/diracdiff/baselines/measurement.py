"""The measurement itself: the row that every method must beat."""

from torch import Tensor

from diracdiff.baselines.base import Baseline
from diracdiff.baselines.prior import Prior
from diracdiff.degradations import Operator
from diracdiff.samplers import ImageNoise


class Measurement(Baseline):
    """x = y."""

    needs_linear = False

    def restore(self, y: Tensor, operator: Operator, sigma: Tensor, prior: Prior | None, noise: ImageNoise) -> Tensor:
        return y
