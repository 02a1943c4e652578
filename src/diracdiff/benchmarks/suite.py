"""Everything that is measured, table by table."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pytorch_lightning as pl
import torch
from torch import Tensor, nn

from diracdiff.benchmarks.cost import cost, predicted
from diracdiff.benchmarks.networks import inputs, network_cases
from diracdiff.benchmarks.parts import Parts
from diracdiff.benchmarks.pieces import degradation_and_loss, evaluation, loading
from diracdiff.benchmarks.profile import profile_rows
from diracdiff.benchmarks.sampling import sampler_steps
from diracdiff.benchmarks.timing import Case, timed
from diracdiff.benchmarks.training import training_step
from diracdiff.data.datasets import Splits
from diracdiff.metrics import Metric, Row
from diracdiff.restorer import Restorer
from diracdiff.samplers import ReverseSampler
from diracdiff.training import ImageDataModule, RestorerModule
from diracdiff.utils.errors import UserError
from diracdiff.utils.memory import resident_peak

TABLES = ("network", "loading", "degradation", "evaluation", "cost", "profile", "sampling", "training")


@dataclass
class Suite:
    """What is measured, and how long.

    Attributes:
        module: with restorer, loss and metrics, on the device; its training is measured last and changes it.
        data: its data.
        trainer: makes a trainer for a number of steps.
        samplers: by name.
        sets: further data sets whose loading is compared, by name.
        metrics: of evaluation.
        batch: images, where the number is not the subject.
        batches: numbers of images for the network.
        variants: of the network, see `network_cases`.
        sizes: of images for the cost, in units of the restorer's image size.
        rounds: see `timed`.
        seconds: see `timed`.
        train_steps: steps whose parts are measured.
        warm_up: steps before those.
        walks: of every sampler.
        track: shows progress.
    """

    module: RestorerModule
    data: ImageDataModule
    trainer: Callable[[int], pl.Trainer]
    samplers: Mapping[str, ReverseSampler]
    sets: Mapping[str, Splits]
    metrics: Sequence[Metric]
    batch: int
    batches: Sequence[int]
    variants: Sequence[str]
    sizes: Sequence[float]
    rounds: int
    seconds: float
    train_steps: int
    warm_up: int
    walks: int
    track: Callable[[Iterable[int]], Iterable[int]] = iter

    def __post_init__(self) -> None:
        self.restorer: Restorer = self.module.restorer
        network = self.module.denoiser.network
        assert isinstance(network, nn.Module)
        self.network, self.device = network, self.restorer.device

    def rows(self, tables: Sequence[str]) -> list[Row]:
        """Measure the tables that are asked for.

        Raises:
            UserError: if a table is unknown, or something cannot be measured.
        """
        for table in tables:
            if table not in TABLES:
                raise UserError(f"measure must be of {list(TABLES)}, got {table!r}")
        cases = [case for table in TABLES if table in tables for case in self._cases(table)]
        rows = timed(cases, self.device, self.rounds, self.seconds, self.track) if cases else []
        if "cost" in tables:
            rows = predicted(rows, self._case_of_cost(self.restorer.image_size))
        if "profile" in tables:
            size = self.restorer.image_size
            rows += profile_rows(self.network, size, self.batch, self.device, self.rounds)
        if "sampling" in tables:
            rows += sampler_steps(self.restorer, self.samplers, self._images(), self.walks, self.track)
        if "training" in tables:
            trainer, parts = self.trainer(self.train_steps + self.warm_up + 1), Parts(self.device)
            rows += training_step(self.module, self.data, trainer, parts, self.warm_up)
        return rows

    def _cases(self, table: str) -> list[Case]:
        if table == "network":
            size = self.restorer.image_size
            return network_cases(self.network, size, self.device, self.batches, self.variants, self.batch)
        if table == "loading":
            return loading({"dataset": self.data.dataset, **self.sets}, self.batch)
        if table == "degradation":
            return degradation_and_loss(self.module, self._images(), [self.batch])
        if table == "evaluation":
            return evaluation(self.metrics, self.restorer, self._images())
        return self._cost_cases() if table == "cost" else []

    def _images(self) -> Tensor:
        images = self.data.split("train")
        return torch.stack([images[i % len(images)]["x"] for i in range(self.batch)]).to(self.device)

    def _cost_cases(self) -> list[Case]:
        network, multiple = self.network, self.module.denoiser.network.multiple
        cases = []
        for factor in self.sizes:
            size = max(1, round(factor * self.restorer.image_size / multiple)) * multiple
            counted = cost(network, size, self.batch)
            y, level = inputs(network, size, self.batch, self.device)  # type: ignore[arg-type]

            def both(y: Tensor = y, level: Tensor = level) -> Any:
                network.zero_grad(set_to_none=False)
                network(y, level).square().mean().backward()

            named = {"counted": counted.activations}
            if self.device.type == "cpu":
                both()
                peak = resident_peak(both)
                named |= {} if peak is None else {"memory": peak}
            cases.append(Case("cost", self._case_of_cost(size), both, self.batch, flops=counted.both, known=named))
        return cases

    def _case_of_cost(self, size: int) -> str:
        return f"forward and backward, {size} px, batch {self.batch}"
