"""Exponential moving average of the weights."""

from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import WeightAveraging
from torch import Tensor


class EMA(WeightAveraging):
    """Averaged weights, which are what is validated and what a checkpoint holds for use.

    The decay warms up as min(decay, (1 + n) / (10 + n)) after n updates, so the average is of use from the first
    steps on. Buffers are copied, not averaged. A checkpoint's `state_dict` is the average; the weights to go on
    training with are beside it, and a resumed run takes those.

    Args:
        decay: in [0, 1).
    """

    def __init__(self, decay: float = 0.999):
        if not 0 <= decay < 1:
            raise ValueError(f"EMA decay must lie in [0, 1), got {decay}")
        super().__init__(use_buffers=False)
        self.decay = decay
        self._swapped = False
        self._parameters: tuple[list[Tensor], list[Tensor]] = [], []
        self._buffers: tuple[list[Tensor], list[Tensor]] = [], []

    @property
    def _updates(self) -> int:
        """How often the average has been updated."""
        assert self._average_model is not None
        return int(self._average_model.n_averaged)

    def on_fit_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Put the average where the module is."""
        assert self._average_model is not None
        self._average_model.module.to(pl_module.device)

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """List what is averaged, which costs more than to average it."""
        assert self._average_model is not None
        average = self._average_model.module
        self._parameters = [p.detach() for p in average.parameters()], [p.detach() for p in pl_module.parameters()]
        self._buffers = [*average.buffers()], [*pl_module.buffers()]

    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule, *_: Any) -> None:
        """Blend the weights of this step into the average."""
        if trainer.global_step <= self._latest_update_step:
            return
        assert self._average_model is not None
        n = self._updates
        torch._foreach_lerp_(*self._parameters, 1 - min(self.decay, (1 + n) / (10 + n)) if n else 1.0)
        if self._buffers[0]:
            torch._foreach_copy_(*self._buffers)
        self._average_model.n_averaged += 1
        self._latest_update_step = trainer.global_step

    def _swap_models(self, pl_module: pl.LightningModule) -> None:
        if self._swapped or self._updates > 0:
            super()._swap_models(pl_module)
            self._swapped = not self._swapped

    def _copy_average_to_current(self, pl_module: pl.LightningModule) -> None:
        if self._updates > 0:
            super()._copy_average_to_current(pl_module)

    def on_exception(self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException) -> None:
        """Put the weights to go on training with back in their place."""
        if self._swapped:
            self._swap_models(pl_module)
