"""What competes: methods that give one result for a measurement, and Dirac, which gives one per stopping time."""

import json
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from diracdiff.baselines import Baseline, Prior
from diracdiff.comparison.measurements import Batch
from diracdiff.degradations import Operator
from diracdiff.evaluation import Blend, StoppingPoint
from diracdiff.evaluation.results import Result, clock, results
from diracdiff.process import StochasticDegradation
from diracdiff.restorer import Restorer
from diracdiff.samplers import ImageNoise, State
from diracdiff.utils.seeds import image_seed

Setting = dict[str, Any]
"""Values of some arguments of a method."""


class Contender(ABC):
    """A row of the table, or several.

    Attributes:
        name: of the row.
        search: {argument: values}: what tuning tries; may be empty.
        identity: all that its results follow from besides the measurements and the setting, in plain containers.
    """

    name: str
    search: dict[str, list[Any]]
    identity: Any

    def check(self, measurement: Tensor) -> None:  # noqa: B027
        """Raise UserError if it cannot restore measurements like this one, (1, C, H, W)."""

    @abstractmethod
    def results(self, batch: Batch, setting: Setting) -> Iterator[Result]:
        """Restore a batch with a setting."""


class Method(Contender):
    """A comparison method.

    Args:
        name: of its row.
        make: builds it with a setting.
        search: what tuning tries.
        identity: see `Contender`.
        process: the degradation process that made the measurements, at t = 1.
        prior: for those that need one.
        seed: of its randomness, which has nothing to do with that of the measurements.
    """

    def __init__(
        self,
        name: str,
        make: Callable[[Setting], Baseline],
        search: dict[str, list[Any]],
        identity: Any,
        process: StochasticDegradation,
        prior: Prior | None = None,
        seed: int = 0,
    ):
        self.name, self.make, self.search, self.identity = name, make, search, identity
        self.process, self.prior, self.seed = process, prior, seed
        self._made: dict[str, Baseline] = {}

    def check(self, measurement: Tensor) -> None:
        self.make({}).check(Operator(self.process.degradation, measurement), self.prior)

    def results(self, batch: Batch, setting: Setting) -> Iterator[Result]:
        key = json.dumps(setting, sort_keys=True)
        if key not in self._made:
            self._made = {key: self.make(setting)}
        method = self._made[key]
        seeds = [image_seed(self.seed, f"{self.name}/{name}") for name in batch.names]
        began = clock(batch.y)
        sigma = self.process.sigma_of_measurement(batch.y).item()
        process = self.process.bind_images(batch.seeds, batch.x)
        restored = method(batch.y, Operator(process.degradation, batch.y), sigma, self.prior, seeds)
        yield Result(restored.images, restored.calls, (clock(batch.y) - began) / len(batch.y))


def _mean(states: Sequence[State]) -> State:
    """The mean of the states of several walks at one time; network calls are those of one."""
    if len(states) == 1:
        return states[0]
    y, x_hat = (torch.stack([getattr(state, name) for state in states]).mean(0) for name in ("y", "x_hat"))
    return replace(states[0], y=y, x_hat=x_hat)


class Dirac(Contender):
    """The walk of a restorer from t = 1, where the measurements are, with every stopping time.

    Args:
        name: of its rows.
        restorer: the network, the process and the sampler.
        search: values that tuning tries, of the sampler's arguments; of "samples", the number of walks whose mean is
            taken; and of "blend", a `Blend` in plain containers that is a further result.
        identity: see `Contender`.
    """

    def __init__(self, name: str, restorer: Restorer, search: dict[str, list[Any]], identity: Any):
        self.name, self.restorer, self.search, self.identity = name, restorer, search, identity

    def results(self, batch: Batch, setting: Setting) -> Iterator[Result]:
        setting = dict(setting)
        count, blend = int(setting.pop("samples", 1)), setting.pop("blend", None)
        sampler = self.restorer.sampler.replace(start=1.0, sigma=None, **setting)
        noise = ImageNoise(batch.seeds, batch.y.device)
        noise.normal(batch.y.shape[1:], batch.y.dtype)  # the measurement's
        others = [
            ImageNoise([image_seed(self.restorer.seed, f"{name}/sample{k}") for name in batch.names], batch.y.device)
            for k in range(1, count)
        ]
        process, denoiser = self.restorer.process.bind_images(batch.seeds, batch.x), self.restorer.denoiser
        walks = [sampler.states(process, denoiser, batch.y, each) for each in (noise, *others)]
        blends = (
            []
            if blend is None
            else [Blend(StoppingPoint(**blend["distortion"]), StoppingPoint(**blend["perception"]), blend["fraction"])]
        )
        for result in results(map(_mean, zip(*walks, strict=True)), batch.y, blends):
            yield replace(result, nfe=count * result.nfe)
