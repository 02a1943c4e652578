"""Signals while something is measured: outside of training, where nothing is to be saved, they end it at once."""

import pytorch_lightning as pl
from pytorch_lightning.callbacks import Callback

from diracdiff.signals import on_signals, stop


class EndOnSignal(Callback):
    """Lets SIGINT and SIGTERM end a test, or a validation outside of training, in place of Lightning's own handlers.

    Those note the signal and go on to the end, or wait for processes that know nothing of it.
    """

    def on_test_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Listen; Lightning puts back what was there before."""
        on_signals(stop)

    def on_validation_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """The same, but in training, which has its own way to stop."""
        if trainer.state.fn != "fit":
            on_signals(stop)
