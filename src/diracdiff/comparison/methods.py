"""Contenders: methods with one result for a measurement, and Dirac, with one per stopping time."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from diracdiff.baselines import Baseline, Prior
from diracdiff.comparison.measurements import Batch
from diracdiff.degradations import Operator
from diracdiff.evaluation.results import Result, clock, results
from diracdiff.process import StochasticDegradation
from diracdiff.restorer import Restorer
from diracdiff.samplers import ImageNoise
from diracdiff.utils.seeds import image_seed

Setting = dict[str, Any]
"""Values of some arguments of a method."""


@dataclass
class ComparedMethod(ABC):
    """One or several rows of the table.

    Attributes:
        name: of the row.
        search: {argument: values} that tuning tries; may be empty.
        identity: all that results depend on except the measurements and the setting, in plain containers.
    """

    name: str
    search: dict[str, list[Any]]
    identity: Any

    def check(self, measurement: Tensor) -> None:  # noqa: B027
        """Raise ValueError if it cannot restore measurements like this one, (1, C, H, W)."""

    @abstractmethod
    def prepare(self, setting: Setting) -> Callable[[Batch], Iterator[Result]]:
        """Return a function that restores a batch with a setting."""


@dataclass
class BaselineMethod(ComparedMethod):
    """A comparison method.

    Attributes:
        make: builds it with a setting.
        process: the degradation process that made the measurements, at t = 1.
        prior: for methods that need one.
        seed: of its randomness, independent of the measurements' noise.
    """

    make: Callable[[Setting], Baseline]
    process: StochasticDegradation
    prior: Prior | None = None
    seed: int = 0

    def check(self, measurement: Tensor) -> None:
        self.make({}).check(Operator(self.process.degradation, measurement), self.prior)

    def prepare(self, setting: Setting) -> Callable[[Batch], Iterator[Result]]:
        method = self.make(setting)

        def restore(batch: Batch) -> Iterator[Result]:
            seeds = batch.sample_seeds([image_seed(self.seed, f"{self.name}/{name}") for name in batch.names])
            began, sigma = clock(batch.y), self.process.sigma_of_measurement(batch.y).item()
            operator = Operator(self.process.bind_images(batch.seeds, batch.x).degradation, batch.y)
            restored = method(batch.y, operator, sigma, self.prior, seeds)
            yield Result(restored.images, restored.calls, (clock(batch.y) - began) / len(batch.y))

        return restore


@dataclass
class DiracMethod(ComparedMethod):
    """The reverse process of a restorer from t = 1, where the measurements are, with every stopping time.

    Settings are arguments of the restorer's sampler.
    """

    restorer: Restorer

    def prepare(self, setting: Setting) -> Callable[[Batch], Iterator[Result]]:
        sampler = self.restorer.sampler.replace(t_start=1.0, sigma=None, **setting)

        def restore(batch: Batch) -> Iterator[Result]:
            noise = ImageNoise(batch.sample_seeds(batch.seeds), batch.y.device)
            noise.normal(batch.y.shape[1:], batch.y.dtype)  # the measurement's
            process = self.restorer.process.bind_images(batch.seeds, batch.x)
            yield from results(sampler.states(process, self.restorer.denoiser, batch.y, noise), batch.y)

        return restore
