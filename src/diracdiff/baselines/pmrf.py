"""Trained networks that restore directly: regression, and PMRF, posterior-mean rectified flow (Ohayon et al. 2025)."""

from collections.abc import Iterable
from functools import partial
from pathlib import Path

import torch
from torch import Tensor

from diracdiff.baselines.base import Baseline, Counted
from diracdiff.checkpoints.weights import fingerprint
from diracdiff.degradations import Operator
from diracdiff.process import StochasticDegradation
from diracdiff.restorer import Restorer, load
from diracdiff.samplers import ImageNoise
from diracdiff.utils.shapes import as_time, per_image

REGRESSION = "regression"
"""Key in a flow's training settings: the fingerprint of its regression network's weights."""


class Regression(Baseline):
    """The plain regression network: x_hat in one step, trained on measurements alone.

    Args:
        checkpoint: that was trained with experiment=regression.
        trusted_modules: modules outside this package whose classes it may use, see `diracdiff.restorer.load`.

    Raises:
        ValueError: if there is none.
    """

    needs_linear = False

    def __init__(self, checkpoint: str | Path | None, trusted_modules: Iterable[str] = ()):
        if checkpoint is None:
            raise ValueError("regression=null: must be a checkpoint. Train one with experiment=regression task=….")
        self.checkpoint = str(checkpoint)
        self.restorer = load(checkpoint, trusted_modules=trusted_modules)
        self.denoiser = self.restorer.denoiser

    def restore(self, y: Tensor, operator: Operator, sigma: Tensor, prior: Counted, noise: ImageNoise) -> Tensor:
        return prior(self.process_for(operator), y, operator.t)

    def process_for(self, operator: Operator) -> StochasticDegradation:
        """Return the network's process with the per-image parameters of an operator."""
        return self.restorer.process.bind(getattr(operator.degradation, "params", None))


class PosteriorMeanFlow:
    """Z_t = (1 - t) x + t (f(y) + s z): from the output f(y) of a regression network, t = 1, to x, t = 0.

    It is the process y_t = x + s t z of a flow's restorer, shifted by t (f(y) - x).

    Args:
        regression: f and the process whose measurements it restores.
    """

    def __init__(self, regression: Restorer):
        self.regression = regression

    @torch.no_grad()
    def mean(self, process: StochasticDegradation, measurement: Tensor) -> Tensor:
        """Return f(y), (B, C, H, W), for measurements y of a process at t = 1."""
        one = torch.ones((), dtype=measurement.dtype, device=measurement.device)
        return self.regression.to(measurement.device).denoiser(process, measurement, one)

    def moved(self, noisy: Tensor, x: Tensor, mean: Tensor, t: float | Tensor) -> Tensor:
        """Return Z_t, (B, C, H, W), for noisy = x + s t z, clean images x, their f(y), and t, () or (B,)."""
        return noisy + per_image(as_time(t, x), x) * (mean - x)

    @property
    def fingerprint(self) -> str:
        """Fingerprint of f's weights."""
        return fingerprint(self.regression.denoiser.state_dict())


class PMRF(Baseline):
    """x_hat of a regression network and a little noise, then Euler's steps along the flow that was trained from there.

    One network call for the regression and one a step.

    Args:
        regression: checkpoint of the regression network, trained with experiment=regression.
        flow: checkpoint of the flow, trained with task=pmrf from that network.
        num_steps: K, of equal length.
        trusted_modules: modules outside this package whose classes the checkpoints may use, see `load`.

    Raises:
        ValueError: if a checkpoint is missing, is no flow, or the flow was trained from another regression network.
    """

    needs_linear = False
    extra_nfe = 1

    def __init__(
        self,
        regression: str | Path | None,
        flow: str | Path | None,
        num_steps: int = 25,
        trusted_modules: Iterable[str] = (),
    ):
        trusted_modules = list(trusted_modules)
        self.regression = Regression(regression, trusted_modules)
        if flow is None:
            raise ValueError("flow=null: must be a checkpoint. Train one with task=pmrf regression=…, or drop pmrf.")
        self.flow, self.num_steps = str(flow), num_steps
        self.restorer = load(flow, trusted_modules=trusted_modules)
        self.denoiser = self.restorer.denoiser
        if self.denoiser.preconditioning != "flow":
            raise ValueError(f"flow={flow}: is not a flow. Give a checkpoint that was trained with task=pmrf.")
        self.begin = PosteriorMeanFlow(self.regression.restorer)
        if self.restorer.training.get(REGRESSION) != self.begin.fingerprint:
            raise ValueError(f"flow={flow}: was trained from another network than regression={regression}.")
        self.sampler = self.restorer.sampler.replace(num_steps=num_steps)

    def restore(self, y: Tensor, operator: Operator, sigma: Tensor, prior: Counted, noise: ImageNoise) -> Tensor:
        mean = self.begin.mean(self.regression.process_for(operator), y)
        process = self.restorer.process
        begin = process.measure(mean, noise.normal(y.shape[1:], y.dtype))
        return self.sampler.run(process, partial(prior, process), begin, noise)
