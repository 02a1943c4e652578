"""Optimiser and learning-rate schedule."""

import math
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch.optim.lr_scheduler import LambdaLR

from diracdiff.training.muon import Muon
from diracdiff.utils.validate import check_count, check_option, check_positive


class Optimization:
    """Adam or Muon, with optional linear warm-up and optional cosine decay to zero over the run.

    Args:
        lr: maximum learning rate of Adam, positive; 1e-4 in the paper.
        betas: decay rates of the moments of Adam.
        warmup_steps: number of steps of linear increase from zero, at least 0.
        decay: "none" (paper) or "cosine".
        muon_lr: maximum learning rate of convolutions, positive, see `Muon`; None: Adam for all parameters.

    Raises:
        ValueError: if a value is out of range.
    """

    def __init__(
        self,
        lr: float = 1e-4,
        betas: Iterable[float] = (0.9, 0.999),
        warmup_steps: int = 0,
        decay: str = "none",
        muon_lr: float | None = None,
    ):
        check_positive(lr=lr, **({} if muon_lr is None else {"muon_lr": muon_lr}))
        check_count(warmup_steps, "warmup_steps", 0)
        check_option(("none", "cosine"), decay=decay)
        self.muon_lr = None if muon_lr is None else float(muon_lr)
        self.lr, self.betas, self.warmup_steps, self.decay = float(lr), list(betas), int(warmup_steps), decay

    def build(
        self, parameters: Iterable[torch.nn.Parameter], total_steps: Callable[[], float], fused: bool = True
    ) -> dict[str, Any]:
        """Return the optimiser and its schedule in the format of `LightningModule.configure_optimizers`.

        Args:
            parameters: parameters to train.
            total_steps: function that returns the number of steps. It is called only after the first step, because
                Lightning loads data to compute it.
            fused: use the fused implementation of Adam, which does not support scaled gradients.

        Raises:
            ValueError: after the first step, if the decay is "cosine" and the number of steps is infinite.
        """
        first, second = self.betas
        optimizer: torch.optim.Optimizer
        if self.muon_lr is None:
            optimizer = torch.optim.Adam(parameters, lr=self.lr, betas=(first, second), fused=fused)
        else:
            optimizer = Muon(parameters, self.muon_lr, self.lr, (first, second), fused=fused)

        def factor(step: int) -> float:
            progress = 0.0
            if self.decay == "cosine" and step > 0:
                if not math.isfinite(total := total_steps()):
                    raise ValueError("optimizer.decay=cosine: needs a finite run. Set trainer.max_epochs.")
                progress = min(1.0, step / total)
            return min(1.0, (step + 1) / (self.warmup_steps + 1)) * 0.5 * (1 + math.cos(math.pi * progress))

        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": LambdaLR(optimizer, factor), "interval": "step"}}
