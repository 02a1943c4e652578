"""Lightning module for training, validation and test of a restorer."""

import math
from collections.abc import Iterator, Sequence
from typing import Any, Self

import pytorch_lightning as pl
import torch
from torch import Tensor, nn

from diracdiff.checkpoints.checkpoint import KIND, Checkpoint
from diracdiff.checkpoints.recipe import to_recipe
from diracdiff.evaluation import Evaluation, StoppingPoint, find_stopping_points
from diracdiff.evaluation.measurement import MeasuredBatch, TrainingBatch, training_batch
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
"""Number of consecutive steps with a non-finite gradient after which a training run is aborted."""


class RestorerModule(pl.LightningModule):
    """Lightning module that trains the denoiser of a restorer and selects its stopping times.

    Batches contain clean images, {"x": (B, C, H, W) in [0, 1], "name": list of str}. The module degrades them on their
    device.

    Args:
        restorer: process, denoiser and sampler. Validation sets its stopping points and its trade-off curve.
        loss: training loss; `IncrementalReconstructionLoss()` (look-ahead 0) by default.
        optimization: optimiser and learning rates; `Optimization()` by default.
        metrics: metrics of validation and test; PSNR and SSIM by default.
        t_range: range (first, last) of the training times, 0 <= first <= last <= 1. (1, 1) trains one-shot restoration.
        prob_terminal: probability in [0, 1] that the time of an image is the last of `t_range`. A pair is interpolated
            linearly from the first to the last step.
        eval_points: stopping points to evaluate; None: the complete trajectory.

    Attributes:
        evaluation: most recent validation or test.

    Raises:
        ValueError: if the times or the probabilities are out of range.
    """

    def __init__(
        self,
        restorer: Restorer,
        loss: IncrementalReconstructionLoss | None = None,
        optimization: Optimization | None = None,
        metrics: Sequence[Metric] | None = None,
        t_range: Sequence[float] = (0.0, 1.0),
        prob_terminal: float | Sequence[float] = 0.0,
        eval_points: Sequence[StoppingPoint] | None = None,
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
        self.eval_points = None if eval_points is None else frozenset(eval_points)
        self.evaluation = Evaluation(self.metrics)
        self.skipped_steps = 0

    # training

    def configure_optimizers(self) -> Any:
        """Return the optimiser and its learning-rate schedule."""
        trainer, parameters = self.trainer, self.denoiser.parameters()
        return self.optimization.build(
            parameters, lambda: trainer.estimated_stepping_batches, fused=trainer.precision != "16-mixed"
        )

    def on_fit_start(self) -> None:
        """Store the data set and the training settings in the restorer, and check the image size for the metrics."""
        for metric in image_metrics(self.metrics):
            metric.check_size(self.restorer.image_size)
        data = getattr(self.trainer, "datamodule", None)
        try:
            self.restorer.dataset = to_recipe(getattr(data, "dataset", None))
        except TypeError:  # a custom data set without a recipe
            self.restorer.dataset = None
        self.restorer.calibrations = []  # calibrations of the previous weights are invalid
        self.restorer.training = self.settings(self.trainer, data)

    def settings(self, trainer: pl.Trainer, data: pl.LightningDataModule | None) -> dict[str, Any]:
        """Return the training settings, in addition to the restorer, that determine the weights.

        Args:
            trainer: trainer of the run.
            data: data module of the run.

        Returns:
            Dictionary of plain values and containers.
        """
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
        """Replace the learning rates and the schedule of a loaded checkpoint by the configured ones."""
        scheduler: Any = self.trainer.lr_scheduler_configs[0].scheduler
        step, groups = self.trainer.global_step, self.trainer.optimizers[0].param_groups
        for i, (key, group) in enumerate(zip(("lr", "muon_lr"), groups, strict=False)):
            lr = getattr(self.optimization, key)
            if group["initial_lr"] != lr:
                echo(f"optimizer.{key} is {lr:g} from step {step} on, {group['initial_lr']:g} before")
            group["initial_lr"] = scheduler.base_lrs[i] = lr
            group["lr"] = lr * scheduler.lr_lambdas[i](scheduler.last_epoch)

    def on_train_batch_start(self, batch: Any, batch_idx: int) -> None:
        """Seed the random generator of dropout from (seed, step, rank)."""
        step, rank = self.trainer.global_step, self.global_rank
        torch.manual_seed(step_seed(self.restorer.seed, DROPOUT, step, batch_idx, rank))

    def training_step(self, batch: dict[str, Any], batch_idx: int) -> Tensor:
        """Return the training loss of a batch of clean images."""
        loss = self.compute_loss(self.degrade(batch["x"], batch_idx))
        if self._is_logged_step:
            self.log("train/loss", loss, prog_bar=True, logger=False)
        return loss

    def bind_batch(self, process: StochasticDegradation, x: Tensor, batch_idx: int) -> StochasticDegradation:
        """Bind a process to random per-image parameters for a training batch.

        Args:
            process: degradation process.
            x: clean images, (B, C, H, W).
            batch_idx: index of the batch in the epoch.
        """
        seed = self.seed_for(OPERATOR, batch_idx)
        return process.bind_images([step_seed(seed, i) for i in range(len(x))], x)

    def compute_loss(self, batch: TrainingBatch) -> Tensor:
        """Return the training loss of a batch of degraded images, a scalar."""
        if self.denoiser.incremental:
            predicted = self.denoiser(batch.process, batch.y, batch.t, batch.s)
            return self.loss.increment_loss(batch.process, predicted, batch.x, batch.t, batch.s)
        x_hat = self.denoiser(batch.process, batch.y, batch.t, measurement=batch.measurement)
        return self.loss(batch.process, x_hat, batch.x, batch.t)

    @property
    def _is_logged_step(self) -> bool:
        """True if the current step is logged."""
        every = self.trainer.log_every_n_steps  # type: ignore[attr-defined]
        return bool(every) and (self.trainer.global_step + 1) % every == 0

    def degrade(self, x: Tensor, batch_idx: int) -> TrainingBatch:
        """Degrade images at random times. Times and noise are determined by (seed, step, rank).

        Args:
            x: clean images in [0, 1], (B, C, H, W).
            batch_idx: index of the batch in the epoch.
        """
        seed, conditioned = self.seed_for(DEGRADATION, batch_idx), self.denoiser.condition_on_measurement
        process = self.bind_batch(self.restorer.process, x, batch_idx)
        return training_batch(process, x, seed, self.t_range, conditioned, self.terminal_probability())

    def terminal_probability(self) -> float:
        """Return the probability of the last time of `t_range` at the current step.

        Raises:
            ValueError: if `prob_terminal` is a pair and the number of steps is unknown.
        """
        first, last = self.prob_terminal
        if first == last:
            return first
        if not math.isfinite(total := self.trainer.estimated_stepping_batches):
            raise ValueError("task.prob_terminal: a pair needs a run of known length. Set trainer.max_epochs.")
        return first + (last - first) * min(1.0, self.trainer.global_step / total)

    def seed_for(self, purpose: int, batch_idx: int) -> int:
        """Return the seed of the random numbers of the current step.

        Args:
            purpose: constant of `diracdiff.utils.seeds`, such as `DEGRADATION`.
            batch_idx: index of the batch in the epoch.
        """
        trainer, micro_batch = self.trainer, batch_idx % self.trainer.accumulate_grad_batches
        return step_seed(self.restorer.seed, purpose, trainer.global_step, micro_batch, trainer.global_rank)

    def configure_gradient_clipping(
        self,
        optimizer: torch.optim.Optimizer,
        gradient_clip_val: int | float | None = None,
        gradient_clip_algorithm: str | None = None,
    ) -> None:
        """Clip the gradient norm, skip the step if the norm is not finite, and log the step.

        The step is logged here because Lightning logs it only after saving the checkpoint. A killed run would lose the
        row.

        Raises:
            ValueError: after `MAX_SKIPPED_STEPS` consecutive steps with a non-finite gradient.
        """
        step = self.trainer.global_step
        norm = nn.utils.clip_grad_norm_(self.denoiser.parameters(), gradient_clip_val or float("inf"))
        if self._is_logged_step:
            self.log("train/grad_norm", norm, logger=False)
            self.log("train/lr", optimizer.param_groups[0]["lr"], logger=False)
            values = {name: value.item() for name, value in self.trainer.callback_metrics.items() if "train/" in name}
            for logger in self.loggers:
                logger.log_metrics(values | {"epoch": self.current_epoch}, step)
        self.skipped_steps = 0 if torch.isfinite(norm) else self.skipped_steps + 1
        if self.skipped_steps:
            optimizer.zero_grad(set_to_none=True)
        if self.skipped_steps == 1:
            warn(f"step {step} is skipped: the gradient norm is {norm.item()}")
        if self.skipped_steps >= MAX_SKIPPED_STEPS:
            raise ValueError(
                f"training diverged: the gradient norm was {norm.item()} in {self.skipped_steps} consecutive steps, up "
                f"to step {step}. Resume with a smaller optimizer.lr."
            )

    # validation and test

    def on_validation_epoch_start(self) -> None:
        """Create an empty evaluation."""
        self.evaluation = Evaluation(self.metrics, eval_points=self.eval_points)

    on_test_epoch_start = on_validation_epoch_start

    def validation_step(self, batch: dict[str, Any], batch_idx: int) -> None:
        """Degrade the images of a batch, sample the reverse process, and evaluate its states."""
        x, names = batch["x"], [str(name) for name in batch["name"]]
        measured = self.restorer.measure(x, names)
        reference = self.restorer.replace(process=measured.process).reference(x, measured.y)
        self.evaluation.add(names, measured.seeds, self.states(measured), reference)

    test_step = validation_step

    def states(self, measured: MeasuredBatch) -> Iterator[State]:
        """Yield the states of the reverse process, from the measurements to the last evaluated time."""
        t_end = min(point.t for point in self.eval_points) if self.eval_points else 0.0
        output = "iterate" if self.eval_points and StoppingPoint(t_end, "x_hat") not in self.eval_points else "x_hat"
        return self.restorer.sampler.states(measured.process, self.denoiser, measured.y, measured.noise, t_end, output)

    def on_validation_epoch_end(self) -> None:
        """Select the stopping times, and log the best value of each metric."""
        curve = self.evaluation.finish(self.restorer.seed)
        if not curve or self.eval_points is not None:
            return
        stopping_points = find_stopping_points(curve, self.metrics)
        self.restorer.curve, self.restorer.stopping_points = curve, stopping_points
        for metric in self.metrics:
            if metric.higher_is_better is None:
                continue
            best = metric.best(candidates(curve))
            if best[metric.name] is not None:
                self.log(f"val/{metric.name}", best[metric.name], prog_bar=bool(metric.abbreviation))
            if (point := stopping_points.get(metric.target or "")) is not None:
                self.log(f"val/t_{metric.stopping_point_name().lower()}", point.t)

    def on_test_epoch_end(self) -> None:
        """Gather the records of all processes."""
        self.evaluation.finish(self.restorer.seed)

    def for_testing(self, restorer: Restorer) -> Self:
        """Return a module for testing another restorer with the same metrics.

        Args:
            restorer: restorer to test, such as that of the best checkpoint.
        """
        return type(self)(restorer, metrics=self.metrics)

    # checkpoints

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Add the entries for `diracdiff.load` to a checkpoint."""
        checkpoint[KIND] = self.restorer.checkpoint().header()

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Restore the stopping points and the trade-off curve of a resumed run."""
        self.restorer.load_metadata(Checkpoint.from_content(checkpoint))
