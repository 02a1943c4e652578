"""Lines about a training run, for terminals and log files."""

import sys
import time
from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.callbacks import Callback
from pytorch_lightning.trainer.states import TrainerFn

from diracdiff.utils.errors import say


class Progress(Callback):
    """Print what is trained, the results of each validation and, where there is no progress bar, how far the run is."""

    def on_train_start(self, trainer: Any, pl_module: Any) -> None:
        """Print the network, the device, the data and the length."""
        self.began = self.printed = time.monotonic()
        self.first_step, data, network = trainer.global_step, trainer.datamodule, pl_module.denoiser.network
        weights = sum(p.numel() for p in pl_module.parameters()) / 1e6
        splits = ", ".join(f"{len(data.split(name))} {name}" for name in ("train", "val", "test"))
        resumed = f", resumed after {trainer.global_step}" if trainer.global_step else ""
        say(f"training {pl_module.restorer.name} into {trainer.default_root_dir}")
        say(f"  network: {type(network).__name__}, {weights:.2f} M weights, {pl_module.device}, {trainer.precision}")
        say(f"  images: {type(data.dataset).__name__} of {pl_module.restorer.image_size} px: {splits}")
        say(f"  length: {trainer.estimated_stepping_batches} steps{resumed}, {trainer.world_size} process(es)")

    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: Any, *_: Any) -> None:
        """Print the step, first after 5 s, later once a minute."""
        now, steps = time.monotonic(), trainer.global_step - self.first_step
        if sys.stdout.isatty() or not steps or now - self.printed < min(60, max(5, (now - self.began) / 4)):
            return
        self.printed, seconds = now, (now - self.began) / steps
        loss, total = trainer.callback_metrics.get("train/loss", float("nan")), trainer.estimated_stepping_batches
        left = f", about {(total - trainer.global_step) * seconds / 60:.1f} min left"
        say(f"step {trainer.global_step} of {total}, {seconds:.3g} s a step, loss {loss:.3g}{left}")

    def on_validation_end(self, trainer: pl.Trainer, pl_module: Any) -> None:
        """Print the best value of each metric along the trade-off curve."""
        curve = pl_module.evaluation.curve
        if curve and trainer.state.fn == TrainerFn.FITTING and not trainer.sanity_checking:
            stops = [(metric, pl_module.restorer.stops.get(metric.target or "")) for metric in pl_module.metrics]
            best = [f"{m.title} {m.best(curve)[m.name]:.{m.digits}f} at t = {stop.t:.2f}" for m, stop in stops if stop]
            say(f"validation after step {trainer.global_step}: best {', '.join(best)}")
