"""Comparison methods that sample a bridge or a conditional diffusion: I2SB, InDI and Palette."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from types import MappingProxyType

from torch import Tensor

from diracdiff.baselines.base import Baseline, CountingNetwork
from diracdiff.degradations import Operator
from diracdiff.restorer import load
from diracdiff.samplers import I2SB, Bridge, BridgeSampler, ImageNoise, InDI, Palette
from diracdiff.utils.validate import check_option

BRIDGES: Mapping[str, type[Bridge]] = MappingProxyType({"i2sb": I2SB, "indi": InDI, "palette": Palette})
"""Bridges by the name of the method."""


class BridgeMethod(Baseline):
    """I2SB, InDI or Palette with a trained network and one function evaluation per step.

    Args:
        method: "i2sb", "indi" or "palette".
        checkpoint: file or folder of a model trained with experiment=METHOD on the task of the comparison.
        num_steps: number of steps, at least 1.
        eta: factor of the noise of a step, in [0, 1], see `diracdiff.samplers.BridgeSampler`.
        trusted_modules: modules outside this package whose classes the checkpoint may use, see `load`.

    Raises:
        ValueError: if the checkpoint is missing or of another method, or an argument is out of range.
    """

    needs_linear = False

    def __init__(
        self,
        method: str,
        checkpoint: str | Path | None,
        num_steps: int = 20,
        eta: float = 1.0,
        trusted_modules: Iterable[str] = (),
    ):
        check_option(tuple(BRIDGES), method=method)
        if checkpoint is None:
            raise ValueError(
                f"checkpoint=null: must be a checkpoint of {method}. Train one with experiment={method} task=…."
            )
        self.method, self.checkpoint = method, str(checkpoint)
        self.restorer = load(checkpoint, trusted_modules=trusted_modules)
        self.denoiser, sampler = self.restorer.denoiser, self.restorer.sampler
        if not isinstance(sampler, BridgeSampler) or not isinstance(sampler.bridge, BRIDGES[method]):
            raise ValueError(f"checkpoint={checkpoint}: must be of {method}. Use a checkpoint of experiment={method}.")
        self.bridge, self.sampler = sampler.bridge, sampler.replace(num_steps=num_steps, eta=eta)

    def restore(
        self, y: Tensor, operator: Operator, sigma: Tensor, prior: CountingNetwork, noise: ImageNoise
    ) -> Tensor:
        process, measurement = self.bridge.process, y if prior.condition_on_measurement else None

        def predictor(x_t: Tensor, t: Tensor) -> Tensor:
            return prior(process, x_t, t, None, measurement)

        return self.sampler.run(process, predictor, y, noise)
