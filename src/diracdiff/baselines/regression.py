"""The plain regression network: x_hat in one step, trained on measurements alone (conf/experiment/regression.yaml)."""

from collections.abc import Iterable
from pathlib import Path

from torch import Tensor

from diracdiff.baselines.base import Baseline, Counted
from diracdiff.baselines.prior import Prior
from diracdiff.degradations import Operator
from diracdiff.process import StochasticDegradation
from diracdiff.restorer import load
from diracdiff.samplers import ImageNoise
from diracdiff.utils.errors import UserError


class Regression(Baseline):
    """A network of a checkpoint, called once with the measurement.

    Args:
        checkpoint: that was trained with experiment=regression.
        trusted_modules: modules outside this package whose classes it may use, see `diracdiff.restorer.load`.

    Raises:
        UserError: if there is none.
    """

    needs_linear = False

    def __init__(self, checkpoint: str | Path | None, trusted_modules: Iterable[str] = ()):
        if checkpoint is None:
            raise UserError(
                "the regression network needs its checkpoint: train one with experiment=regression task=… and give "
                "regression=runs/…/best.ckpt"
            )
        self.checkpoint = str(checkpoint)
        self.restorer = load(checkpoint, trusted_modules=trusted_modules)
        self.denoiser = self.restorer.denoiser

    def restore(self, y: Tensor, operator: Operator, sigma: Tensor, prior: Prior | None, noise: ImageNoise) -> Tensor:
        assert isinstance(prior, Counted)
        return prior(self.process_for(operator), y, operator.t)

    def process_for(self, operator: Operator) -> StochasticDegradation:
        """Return the network's process with the per-image parameters of an operator."""
        return self.restorer.process.bind(getattr(operator.degradation, "params", None))
