"""The parts of a training step, found by running the real module under the real trainer with a clock around each."""

from collections.abc import Iterator
from functools import wraps
from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.callbacks import Callback
from torch import Tensor
from torch.utils.data import DataLoader

from diracdiff.benchmarks.parts import Parts, TimedNetwork, rows_of_laps
from diracdiff.data.datasets import Item
from diracdiff.metrics import Row
from diracdiff.training import EMA, ImageDataModule, RestorerModule


class TimedLoader:
    """The batches of a loader; waiting for them is a part."""

    def __init__(self, loader: DataLoader[Item], parts: Parts):
        self.loader, self.parts = loader, parts

    def __len__(self) -> int:
        return len(self.loader)

    def __iter__(self) -> Iterator[Item]:
        batches = iter(self.loader)
        while True:
            with self.parts.part("loading"):
                batch = next(batches, None)
            if batch is None:
                return
            yield batch


class StepClock(Callback):
    """A lap for every training step, from the start of one to the start of the next.

    Args:
        parts: the clock.
        warm_up: steps that are left out.
    """

    def __init__(self, parts: Parts, warm_up: int):
        self.parts, self.warm_up = parts, warm_up
        self._step = 0

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Put the clock around the optimiser, which closes over the rest of a step, callbacks and loggers."""
        parts = self.parts
        for optimizer in trainer.optimizers:
            optimizer.zero_grad = parts.timed(optimizer.zero_grad, "optimiser")  # type: ignore[method-assign]
            optimizer.step = _timed_step(optimizer.step, parts)  # type: ignore[method-assign]
        for logger in trainer.loggers:
            logger.log_metrics = parts.timed(logger.log_metrics, "logging")  # type: ignore[method-assign]
            logger.save = parts.timed(logger.save, "logging")  # type: ignore[method-assign]
        for callback in trainer.callbacks:  # type: ignore[attr-defined]
            name = "average" if isinstance(callback, EMA) else "callbacks"
            for hook in ("on_train_batch_start", "on_train_batch_end", "on_before_zero_grad"):
                if callback is not self:
                    setattr(callback, hook, parts.timed(getattr(callback, hook), name))

    def on_train_batch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: Any, index: int) -> None:
        """Begin a lap."""
        self.parts.lap(keep=self._step > self.warm_up)
        self._step += 1

    def on_before_backward(self, trainer: pl.Trainer, pl_module: pl.LightningModule, loss: Tensor) -> None:
        """The gradient first goes through the loss."""
        self.parts.begin("loss")

    def on_after_backward(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """The gradient has arrived."""
        self.parts.end()


def _timed_step(step: Any, parts: Parts) -> Any:
    @wraps(step)
    def call(closure: Any = None, **named: Any) -> Any:
        with parts.part("optimiser"):
            return step(closure=None if closure is None else parts.timed(closure, "rest"), **named)

    return call


def clocked(module: RestorerModule, data: ImageDataModule, parts: Parts) -> None:
    """Put a clock around the parts of a module that is trained once, to be measured, and around its data.

    What is left is "rest", Lightning's own. The time of the loss is that of `training_step` without what else is in
    there, and of the gradient's way through it; preconditioning is the denoiser without its network.
    """
    denoiser = module.denoiser
    denoiser.network = TimedNetwork(denoiser.network, parts)
    denoiser.register_forward_pre_hook(lambda *_: parts.begin("preconditioning"))

    def after(_: Any, __: Any, x_hat: Tensor) -> None:
        parts.end()
        if x_hat.requires_grad:
            x_hat.register_hook(lambda _: parts.switch("preconditioning"))

    denoiser.register_forward_hook(after)
    wrapped = {
        "training_step": "loss",
        "degrade": "degradation",
        "log": "logging",
        "configure_gradient_clipping": "clipping",
    }
    for method, name in wrapped.items():
        setattr(module, method, parts.timed(getattr(module, method), name))
    loader = data.train_dataloader
    data.train_dataloader = lambda: TimedLoader(loader(), parts)


def training_step(
    module: RestorerModule, data: ImageDataModule, trainer: pl.Trainer, parts: Parts, warm_up: int
) -> list[Row]:
    """Train as far as the trainer goes, and return the parts of a step, see `rows_of_laps`.

    Args:
        module: whose weights are changed.
        data: its data.
        trainer: without validation.
        parts: the clock.
        warm_up: steps that are left out.
    """
    clocked(module, data, parts)
    trainer.callbacks.insert(0, StepClock(parts, warm_up))  # type: ignore[attr-defined]
    trainer.save_checkpoint = lambda *_, **__: None  # type: ignore[method-assign]  # a clock has no recipe
    trainer.fit(module, data)
    return rows_of_laps("training step", parts.laps, data.batch_size, "a step")
