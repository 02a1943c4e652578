"""The LightningModule: trains a restorer, finds its stopping times, and tests it."""

import math
from collections.abc import Iterator, Sequence
from typing import Any, Self

import pytorch_lightning as pl
import torch
from torch import Tensor, nn

from diracdiff.checkpoints.checkpoint import KIND, Checkpoint
from diracdiff.checkpoints.recipe import to_recipe
from diracdiff.evaluation import Evaluation, StoppingPoint, find_stopping_points
from diracdiff.evaluation.measurement import Measured, TrainingBatch, training_batch
from diracdiff.evaluation.stopping import candidates
from diracdiff.losses import IncrementalReconstructionLoss
from diracdiff.metrics import PSNR, SSIM, Metric
from diracdiff.metrics.metric import image_metrics
from diracdiff.process import StochasticDegradation
from diracdiff.restorer import Restorer
from diracdiff.samplers import State
from diracdiff.training.callbacks import EMA
from diracdiff.training.datamodule import ImageDataModule
from diracdiff.training.optimization import Optimization
from diracdiff.utils.errors import echo, warn
from diracdiff.utils.seeds import DEGRADATION, DROPOUT, OPERATOR, step_seed
from diracdiff.utils.validate import check_between

MAX_SKIPPED_STEPS = 10
"""Consecutive steps with a gradient that is not finite, after which a run has diverged."""


class RestorerModule(pl.LightningModule):
    """Train the denoiser of a restorer, and find its stopping times.

    Batches hold clean images, {"x": (B, C, H, W), "name": list of str}. They are degraded here, on their device.

    Args:
        restorer: process, denoiser and sampler; validation sets its stopping times and its curve.
        loss: training loss; look-ahead 0 by default.
        optimization: optimiser and learning rates.
        metrics: metrics of validation and test; PSNR and SSIM by default.
        t_range: range of the training times, in [0, 1]; (1, 1) for a network that restores measurements in one step.
        prob_terminal: fraction of the images that are trained at the last of these times, in [0, 1]. A pair of
            fractions is interpolated linearly from the first to the last step.
        only: stopping times to evaluate, instead of the whole trajectory.

    Attributes:
        evaluation: the last validation or test.

    Raises:
        ValueError: if the times or the fraction are out of range.
    """

    def __init__(
        self,
        restorer: Restorer,
        loss: IncrementalReconstructionLoss | None = None,
        optimization: Optimization | None = None,
        metrics: Sequence[Metric] | None = None,
        t_range: Sequence[float] = (0.0, 1.0),
        prob_terminal: float | Sequence[float] = 0.0,
        only: Sequence[StoppingPoint] | None = None,
    ):
        super().__init__()
        if len(t_range) != 2 or not 0 <= t_range[0] <= t_range[1] <= 1:
            raise ValueError(f"t_range={list(t_range)}: must be two numbers, 0 <= first <= last <= 1. Try [0, 1].")
        fractions = prob_terminal if isinstance(prob_terminal, Sequence) else [prob_terminal, prob_terminal]
        if len(fractions) != 2:
            raise ValueError(f"prob_terminal={prob_terminal}: must be a probability or a pair. Try [0.75, 0].")
        for fraction in fractions:
            check_between(0, 1, prob_terminal=fraction)
        self.restorer, self.denoiser = restorer, restorer.denoiser
        self.loss, self.optimization = loss or IncrementalReconstructionLoss(), optimization or Optimization()
        self.metrics: list[Metric] = list(metrics) if metrics is not None else [PSNR(), SSIM()]
        self.t_range = float(t_range[0]), float(t_range[1])
        self.prob_terminal = float(fractions[0]), float(fractions[1])
        self.only = None if only is None else frozenset(only)
        self.evaluation = Evaluation(self.metrics)
        self.skipped_steps = 0

    # training

    def configure_optimizers(self) -> Any:
        """Return the optimiser and its schedule."""
        trainer, parameters = self.trainer, self.denoiser.parameters()
        return self.optimization.build(
            parameters, lambda: trainer.estimated_stepping_batches, fused=trainer.precision != "16-mixed"
        )

    def on_fit_start(self) -> None:
        """Record data and settings for the checkpoint; refuse images that are too small for a metric."""
        for metric in image_metrics(self.metrics):
            metric.check_size(self.restorer.image_size)
        data = getattr(self.trainer, "datamodule", None)
        try:
            self.restorer.dataset = to_recipe(getattr(data, "dataset", None))
        except TypeError:  # a custom data set without a recipe
            self.restorer.dataset = None
        self.restorer.calibrations = []  # they are of other weights
        self.restorer.training = self.settings(self.trainer, data)

    def settings(self, trainer: pl.Trainer, data: pl.LightningDataModule | None) -> dict[str, Any]:
        """Return the settings other than the restorer that change the weights, in plain containers."""
        first, last = self.prob_terminal
        return {
            "loss": to_recipe(self.loss),
            "optimization": to_recipe(self.optimization),
            "t_range": list(self.t_range),
            "prob_terminal": first if first == last else [first, last],
            "images": data.fingerprints if isinstance(data, ImageDataModule) else {},
            "batch_size": getattr(data, "batch_size", None),
            "accumulate_grad_batches": trainer.accumulate_grad_batches,
            "processes": trainer.world_size,
            "average": next((c.decay for c in trainer.callbacks if isinstance(c, EMA)), None),  # type: ignore[attr-defined]
        }

    def on_train_start(self) -> None:
        """Give a resumed run the configured learning rate and length, not the checkpoint's."""
        group, lr = self.trainer.optimizers[0].param_groups[0], self.optimization.lr
        scheduler: Any = self.trainer.lr_scheduler_configs[0].scheduler
        if group["initial_lr"] != lr:
            echo(f"optimizer.lr is {lr:g} from step {self.trainer.global_step} on, {group['initial_lr']:g} before")
        group["initial_lr"] = scheduler.base_lrs[0] = lr
        group["lr"] = lr * scheduler.lr_lambdas[0](scheduler.last_epoch)

    def on_train_batch_start(self, batch: Any, batch_idx: int) -> None:
        """Seed dropout from (seed, step, rank)."""
        step, rank = self.trainer.global_step, self.global_rank
        torch.manual_seed(step_seed(self.restorer.seed, DROPOUT, step, batch_idx, rank))

    def training_step(self, batch: dict[str, Any], batch_idx: int) -> Tensor:
        """Return the loss of a batch."""
        loss = self.loss_of(self.degrade(batch["x"], batch_idx))
        if self._logs:
            self.log("train/loss", loss, prog_bar=True, logger=False)
        return loss

    def bound(self, process: StochasticDegradation, x: Tensor, batch_idx: int) -> StochasticDegradation:
        """Return a process with the operators of a step's images, (B, C, H, W)."""
        seed = self.seed_of(OPERATOR, batch_idx)
        return process.bind_images([step_seed(seed, i) for i in range(len(x))], x)

    def loss_of(self, given: TrainingBatch) -> Tensor:
        """Return the loss of degraded images."""
        if self.denoiser.incremental:
            predicted = self.denoiser(given.process, given.y, given.t, given.s)
            return self.loss.increment_loss(given.process, predicted, given.x, given.t, given.s)
        x_hat = self.denoiser(given.process, given.y, given.t, measurement=given.measurement)
        return self.loss(given.process, x_hat, given.x, given.t)

    @property
    def _logs(self) -> bool:
        """Return True in steps that are logged."""
        every = self.trainer.log_every_n_steps  # type: ignore[attr-defined]
        return bool(every) and (self.trainer.global_step + 1) % every == 0

    def degrade(self, x: Tensor, batch_idx: int) -> TrainingBatch:
        """Degrade images, (B, C, H, W), at random times, with noise; both follow from (seed, step, rank)."""
        seed, given = self.seed_of(DEGRADATION, batch_idx), self.denoiser.condition_on_measurement
        process = self.bound(self.restorer.process, x, batch_idx)
        return training_batch(process, x, seed, self.t_range, given, self.terminal_probability())

    def terminal_probability(self) -> float:
        """Return the fraction of images at the last time for the current step.

        Raises:
            ValueError: if `prob_terminal` is a pair and the number of steps is not known.
        """
        first, last = self.prob_terminal
        if first == last:
            return first
        if not math.isfinite(total := self.trainer.estimated_stepping_batches):
            raise ValueError("task.prob_terminal: a pair needs a run of known length. Set trainer.max_epochs.")
        return first + (last - first) * min(1.0, self.trainer.global_step / total)

    def seed_of(self, purpose: int, batch_idx: int) -> int:
        """Return the seed of a step's random numbers for a purpose."""
        trainer, part = self.trainer, batch_idx % self.trainer.accumulate_grad_batches
        return step_seed(self.restorer.seed, purpose, trainer.global_step, part, trainer.global_rank)

    def configure_gradient_clipping(
        self,
        optimizer: torch.optim.Optimizer,
        gradient_clip_val: int | float | None = None,
        gradient_clip_algorithm: str | None = None,
    ) -> None:
        """Clip the norm of the gradient, skip the step if it is not finite, and log the step.

        Lightning logs a step after its checkpoint is saved, and a killed run would lose the row.

        Raises:
            ValueError: after ten steps in a row with a gradient that is not finite.
        """
        step = self.trainer.global_step
        norm = nn.utils.clip_grad_norm_(self.denoiser.parameters(), gradient_clip_val or float("inf"))
        if self._logs:
            self.log("train/grad_norm", norm, logger=False)
            self.log("train/lr", optimizer.param_groups[0]["lr"], logger=False)
            values = {name: value.item() for name, value in self.trainer.callback_metrics.items() if "train/" in name}
            for logger in self.loggers:
                logger.log_metrics(values | {"epoch": self.current_epoch}, step)
        self.skipped_steps = 0 if torch.isfinite(norm) else self.skipped_steps + 1
        if self.skipped_steps:
            optimizer.zero_grad(set_to_none=True)
        if self.skipped_steps == 1:
            warn(f"step {step} is skipped: the norm of the gradient is {norm.item()}")
        if self.skipped_steps >= MAX_SKIPPED_STEPS:
            raise ValueError(
                f"training diverged: the norm of the gradient was {norm.item()} in {self.skipped_steps} consecutive "
                f"steps, up to step {step}. Resume with a smaller optimizer.lr."
            )

    # validation and test

    def on_validation_epoch_start(self) -> None:
        """Start an evaluation."""
        self.evaluation = Evaluation(self.metrics, only=self.only)

    on_test_epoch_start = on_validation_epoch_start

    def validation_step(self, batch: dict[str, Any], batch_idx: int) -> None:
        """Degrade the images of a batch, run the reverse process, and evaluate its states."""
        x, names = batch["x"], [str(name) for name in batch["name"]]
        measured = self.restorer.measure(x, names)
        reference = self.restorer.replace(process=measured.process).reference(x, measured.y)
        self.evaluation.add(names, measured.seeds, self.states(measured), reference)

    test_step = validation_step

    def states(self, measured: Measured) -> Iterator[State]:
        """Return the states of the reverse process from measurements, up to the last one that is evaluated."""
        last = min(stop.t for stop in self.only) if self.only else 0.0
        output = "iterate" if self.only and StoppingPoint(last, "x_hat") not in self.only else "x_hat"
        return self.restorer.sampler.states(measured.process, self.denoiser, measured.y, measured.noise, last, output)

    def on_validation_epoch_end(self) -> None:
        """Find the stopping times, and log the best value of each metric."""
        curve = self.evaluation.finish(self.restorer.seed)
        if not curve or self.only is not None:
            return
        stopping_points = find_stopping_points(curve, self.metrics)
        self.restorer.curve, self.restorer.stopping_points = curve, stopping_points
        for metric in self.metrics:
            if metric.higher_is_better is None:
                continue
            best = metric.best(candidates(curve))
            if best[metric.name] is not None:
                self.log(f"val/{metric.name}", best[metric.name], prog_bar=bool(metric.abbreviation))
            if (stop := stopping_points.get(metric.target or "")) is not None:
                self.log(f"val/t_{metric.stopping_point_name().lower()}", stop.t)

    def on_test_epoch_end(self) -> None:
        """Gather the records of all processes."""
        self.evaluation.finish(self.restorer.seed)

    def to_test(self, restorer: Restorer) -> Self:
        """Return a module that tests another restorer in the same way, such as the best one of the run."""
        return type(self)(restorer, metrics=self.metrics)

    # checkpoints

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Add the entries that `diracdiff.load` reads."""
        checkpoint[KIND] = self.restorer.checkpoint().header()

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Restore the stopping times and the curve of a resumed run."""
        self.restorer.load_metadata(Checkpoint.from_content(checkpoint))
