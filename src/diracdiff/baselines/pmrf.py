"""Regression and posterior-mean rectified flow (PMRF, Ohayon et al. 2025)."""

from collections.abc import Iterable
from functools import partial
from pathlib import Path

import torch
from torch import Tensor

from diracdiff.baselines.base import Baseline, CountingNetwork
from diracdiff.checkpoints.weights import fingerprint
from diracdiff.degradations import Operator
from diracdiff.process import StochasticDegradation
from diracdiff.restorer import Restorer, load
from diracdiff.samplers import ImageNoise
from diracdiff.utils.shapes import as_time, per_image

REGRESSION = "regression"
"""Key of the fingerprint of the regression network in the training settings of a flow."""


class Regression(Baseline):
    """Regression network that restores in one step, trained only on measurements.

    Args:
        checkpoint: file or folder of a model trained with experiment=regression.
        trusted_modules: modules outside this package whose classes the checkpoint may use, see
            `diracdiff.restorer.load`.

    Raises:
        ValueError: if the checkpoint is missing.
    """

    needs_linear = False

    def __init__(self, checkpoint: str | Path | None, trusted_modules: Iterable[str] = ()):
        if checkpoint is None:
            raise ValueError("regression=null: must be a checkpoint. Train one with experiment=regression task=….")
        self.checkpoint = str(checkpoint)
        self.restorer = load(checkpoint, trusted_modules=trusted_modules)
        self.denoiser = self.restorer.denoiser

    def restore(
        self, y: Tensor, operator: Operator, sigma: Tensor, prior: CountingNetwork, noise: ImageNoise
    ) -> Tensor:
        return prior(self.process_for(operator), y, operator.t)

    def process_for(self, operator: Operator) -> StochasticDegradation:
        """Return the process of the network, bound to the per-image parameters of an operator."""
        return self.restorer.process.bind(getattr(operator.degradation, "params", None))


class PosteriorMeanFlow:
    """Process Z_t = (1 - t) x + t (f(y) + s z) from the output f(y) of a regression network (t = 1) to x (t = 0).

    Z_t is the process y_t = x + s t z of the restorer of a flow, shifted by t (f(y) - x).

    Args:
        regression: restorer with the regression network f and the process of its measurements.
    """

    def __init__(self, regression: Restorer):
        self.regression = regression

    @torch.no_grad()
    def mean(self, process: StochasticDegradation, measurement: Tensor) -> Tensor:
        """Compute f(y).

        Args:
            process: degradation process.
            measurement: measurements y at t = 1, (B, C, H, W).

        Returns:
            Estimates of the posterior mean, (B, C, H, W).
        """
        one = torch.ones((), dtype=measurement.dtype, device=measurement.device)
        return self.regression.to(measurement.device).denoiser(process, measurement, one)

    def shift(self, noisy: Tensor, x: Tensor, mean: Tensor, t: float | Tensor) -> Tensor:
        """Compute Z_t from a noisy image.

        Args:
            noisy: x + s t z, (B, C, H, W).
            x: clean images, (B, C, H, W).
            mean: f(y), (B, C, H, W).
            t: times in [0, 1], () or (B,).

        Returns:
            Z_t, (B, C, H, W).
        """
        return noisy + per_image(as_time(t, x), x) * (mean - x)

    @property
    def fingerprint(self) -> str:
        """Fingerprint of the weights of f."""
        return fingerprint(self.regression.denoiser.state_dict())


class PMRF(Baseline):
    """Posterior-mean rectified flow (PMRF, Ohayon et al. 2025).

    The initial state is x_hat of a regression network plus noise. Euler steps then follow the flow. NFE are 1 for the
    regression plus 1 per step.

    Args:
        regression: checkpoint of the regression network, trained with experiment=regression.
        flow: checkpoint of the flow, trained with task=pmrf and this regression network.
        num_steps: number K of steps of equal length, at least 1.
        trusted_modules: modules outside this package whose classes the checkpoints may use, see `load`.

    Raises:
        ValueError: if a checkpoint is missing or no flow, or the flow belongs to another regression network.
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
            raise ValueError(f"flow={flow}: is not a flow. Use a checkpoint that was trained with task=pmrf.")
        self.mean_flow = PosteriorMeanFlow(self.regression.restorer)
        if self.restorer.training.get(REGRESSION) != self.mean_flow.fingerprint:
            raise ValueError(f"flow={flow}: was trained with another network than regression={regression}.")
        self.sampler = self.restorer.sampler.replace(num_steps=num_steps)

    def restore(
        self, y: Tensor, operator: Operator, sigma: Tensor, prior: CountingNetwork, noise: ImageNoise
    ) -> Tensor:
        mean = self.mean_flow.mean(self.regression.process_for(operator), y)
        process = self.restorer.process
        start = process.measure(mean, noise.normal(y.shape[1:], y.dtype))
        return self.sampler.run(process, partial(prior, process), start, noise)
