"""Lightning callbacks: averaged weights, progress messages, and logging of trade-off curves."""

import sys
import time
from functools import partial
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.callbacks import Callback, WeightAveraging
from pytorch_lightning.loggers import TensorBoardLogger, WandbLogger
from torch.optim.swa_utils import get_ema_multi_avg_fn

from diracdiff.evaluation.plots import TRADEOFF_CSV, tradeoff_figure, trajectory_figure
from diracdiff.evaluation.stopping import candidates, summary_rows
from diracdiff.utils.errors import echo
from diracdiff.utils.files import append_rows


def update_average(averaged: Any, current: Any, num_averaged: Any, decay: float) -> None:
    """Update an exponential moving average of weights in place, with decay min(decay, (1 + n) / (10 + n)).

    Args:
        averaged: averaged weights.
        current: current weights.
        num_averaged: number n of previous updates.
        decay: maximum decay, in [0, 1).
    """
    n = int(num_averaged)
    get_ema_multi_avg_fn(min(decay, (1 + n) / (10 + n)))(averaged, current, num_averaged)


class EMA(WeightAveraging):
    """Exponential moving average of the weights, used by validation and `diracdiff.load`.

    The decay after n updates is min(decay, (1 + n) / (10 + n)). Buffers are copied, not averaged. In a checkpoint,
    `state_dict` contains the average, and `current_model_state` the weights for resuming the training run.

    Args:
        decay: maximum decay per step, in [0, 1).

    Raises:
        ValueError: if the decay is out of range.
    """

    def __init__(self, decay: float = 0.999):
        if not 0 <= decay < 1:
            raise ValueError(f"decay={decay}: must be in [0, 1). Try 0.995.")
        super().__init__(use_buffers=False, multi_avg_fn=partial(update_average, decay=decay))
        self.decay = decay

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """Create the average on the device of the training run. Lightning moves the module later."""
        pl_module.to(trainer.strategy.root_device)
        super().setup(trainer, pl_module, stage)


class Progress(Callback):
    """Callback that prints the run, the results of each validation and, without a progress bar, the step per minute."""

    def on_train_start(self, trainer: Any, pl_module: Any) -> None:
        """Print the task, the network size, the device, the data and the number of steps."""
        self.start_time = self.last_print = time.monotonic()
        self.first_step, restorer = trainer.global_step, pl_module.restorer
        count = sum(parameter.numel() for parameter in pl_module.parameters()) / 1e6
        echo(f"training {restorer.name} into {trainer.default_root_dir}: {count:.2f} M weights on {pl_module.device}")
        images = f"{len(trainer.datamodule.split('train'))} images of {restorer.image_size} px"
        echo(f"{trainer.estimated_stepping_batches} steps, {images}, {trainer.world_size} process(es)")

    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: Any, outputs: Any, *_: Any) -> None:
        """Print the step and its loss, first after 5 s, then at growing intervals of at most one minute."""
        now, steps = time.monotonic(), trainer.global_step - self.first_step
        if sys.stdout.isatty() or not steps or now - self.last_print < min(60, max(5, (now - self.start_time) / 4)):
            return
        self.last_print, total = now, trainer.estimated_stepping_batches
        left = (total - trainer.global_step) * (now - self.start_time) / steps / 60
        loss = float(outputs["loss"]) * trainer.accumulate_grad_batches
        echo(f"step {trainer.global_step} of {total}, loss {loss:.3f}, about {left:.1f} min left")

    def on_validation_end(self, trainer: pl.Trainer, pl_module: Any) -> None:
        """Print the best value of each metric along the trade-off curve."""
        curve, stopping_points = pl_module.evaluation.curve, pl_module.restorer.stopping_points
        if curve and trainer.state.fn == "fit" and not trainer.sanity_checking:
            points = [(metric, stopping_points.get(metric.target or "")) for metric in pl_module.metrics]
            rows = candidates(curve)
            best = [
                f"{m.title} {m.best(rows)[m.name]:.{m.digits}f} at t = {point.t:.2f}" for m, point in points if point
            ]
            echo(f"validation after step {trainer.global_step}: best {', '.join(best)}")


class TradeoffLog(Callback):
    """Callback that appends the trade-off curve of each validation to `tradeoff.csv` and logs it with images.

    Figures are sent to Weights & Biases and TensorBoard.

    Args:
        output_dir: folder of the run.
    """

    def __init__(self, output_dir: str | Path):
        self.output_dir = Path(output_dir)

    def on_validation_end(self, trainer: pl.Trainer, pl_module: Any) -> None:
        """Log the trade-off curve of a validation and images of its trajectories."""
        evaluation, step = pl_module.evaluation, trainer.global_step
        if trainer.sanity_checking or not trainer.is_global_zero or not evaluation.curve:
            return
        rows = [{"epoch": trainer.current_epoch, "step": step} | row for row in evaluation.curve]
        append_rows(self.output_dir / TRADEOFF_CSV, rows)
        for logger in trainer.loggers:
            if isinstance(logger, WandbLogger):
                logger.log_image("val/trajectory", [trajectory_figure(evaluation.gallery)], step)
                logger.log_image("curves", [tradeoff_figure(evaluation.curve, {}, evaluation.metrics)], step)
                logger.log_table("curves/table", list(rows[0]), [list(row.values()) for row in rows], step=step)
            elif isinstance(logger, TensorBoardLogger):
                logger.experiment.add_figure("val/trajectory", trajectory_figure(evaluation.gallery), step)
                logger.experiment.add_figure("curves", tradeoff_figure(evaluation.curve, {}, evaluation.metrics), step)

    def on_test_end(self, trainer: pl.Trainer, pl_module: Any) -> None:
        """Log the test metrics at each stopping time, such as `test/do/psnr`."""
        curve, metrics = pl_module.evaluation.curve, pl_module.evaluation.metrics
        if not trainer.is_global_zero or not curve:
            return
        rows = {key: row for key, row in summary_rows(curve, pl_module.restorer.stopping_points).items() if row}
        names = [metric.name for metric in metrics if metric.name in curve[0]]
        values = {
            f"test/{key}/{name}": row[name] for key, row in rows.items() for name in names if row.get(name) is not None
        }
        for logger in trainer.loggers:
            if isinstance(logger, WandbLogger | TensorBoardLogger):
                logger.log_metrics(values, trainer.global_step)
