"""Exponential moving average of the weights."""

from functools import partial
from typing import Any

from pytorch_lightning.callbacks import WeightAveraging
from torch.optim.swa_utils import get_ema_multi_avg_fn


def average(averaged: Any, current: Any, num_averaged: Any, decay: float) -> None:
    """Update averaged weights in place after `num_averaged` updates."""
    n = int(num_averaged)
    get_ema_multi_avg_fn(min(decay, (1 + n) / (10 + n)))(averaged, current, num_averaged)


class EMA(WeightAveraging):
    """Average the weights. Validation and `diracdiff.load` use the average.

    The decay warms up as min(decay, (1 + n) / (10 + n)) after n updates. Buffers are copied, not averaged.
    A checkpoint's `state_dict` holds the average, its `current_model_state` the weights to resume training with.

    Args:
        decay: per step, in [0, 1).

    Raises:
        ValueError: if the decay is out of range.
    """

    def __init__(self, decay: float = 0.999):
        if not 0 <= decay < 1:
            raise ValueError(f"decay={decay}: must be in [0, 1). Try 0.995.")
        super().__init__(use_buffers=False, multi_avg_fn=partial(average, decay=decay))
        self.decay = decay
