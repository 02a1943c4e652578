"""Compared methods: baselines with one result per measurement, and Dirac with one result per stopping time."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from diracdiff.baselines import Baseline, Prior
from diracdiff.comparison.measurements import Batch
from diracdiff.degradations import Operator
from diracdiff.evaluation.results import Result, synchronised_time, trajectory_results
from diracdiff.process import StochasticDegradation
from diracdiff.restorer import Restorer
from diracdiff.samplers import ImageNoise
from diracdiff.utils.seeds import image_seed

Setting = dict[str, Any]
"""{argument of a method: value}."""


@dataclass
class ComparedMethod(ABC):
    """Method of a comparison, with one or more rows of the table.

    Attributes:
        name: name of the row.
        search: {argument: values} of the tuning; may be empty.
        identity: plain containers that identify the method. Results depend only on it, the measurements and the
            setting.
    """

    name: str
    search: dict[str, list[Any]]
    identity: Any

    def check(self, measurement: Tensor) -> None:  # noqa: B027
        """Raise ValueError if the method does not support measurements like this one, (1, C, H, W)."""

    @abstractmethod
    def prepare(self, setting: Setting) -> Callable[[Batch], Iterator[Result]]:
        """Return a function from a batch of measurements to the results of a setting."""


@dataclass
class BaselineMethod(ComparedMethod):
    """Baseline of a comparison.

    Attributes:
        make: function from a setting to the baseline.
        process: degradation process of the measurements, at t = 1.
        prior: prior, for baselines that need one.
        seed: seed of the baseline, independent of the noise of the measurements.
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
            began, sigma = synchronised_time(batch.y), self.process.sigma_of_measurement(batch.y).item()
            operator = Operator(self.process.bind_images(batch.seeds, batch.x).degradation, batch.y)
            restored = method(batch.y, operator, sigma, self.prior, seeds)
            yield Result(restored.images, restored.nfe, (synchronised_time(batch.y) - began) / len(batch.y))

        return restore


@dataclass
class DiracMethod(ComparedMethod):
    """Reverse process of a restorer from t = 1, with one result per stopping time.

    Settings are arguments of the sampler.

    Attributes:
        restorer: the restorer.
    """

    restorer: Restorer

    def prepare(self, setting: Setting) -> Callable[[Batch], Iterator[Result]]:
        sampler = self.restorer.sampler.replace(t_start=1.0, sigma=None, **setting)

        def restore(batch: Batch) -> Iterator[Result]:
            noise = ImageNoise(batch.sample_seeds(batch.seeds), batch.y.device)
            noise.normal(batch.y.shape[1:], batch.y.dtype)  # skips the noise of the measurement
            process = self.restorer.process.bind_images(batch.seeds, batch.x)
            yield from trajectory_results(sampler.states(process, self.restorer.denoiser, batch.y, noise), batch.y)

        return restore
