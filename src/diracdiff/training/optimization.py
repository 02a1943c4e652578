"""The optimiser and its learning rates."""

import math
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch.optim.lr_scheduler import LambdaLR

from diracdiff.training.muon import Muon
from diracdiff.utils.validate import check_count, check_option, check_positive


class Optimization:
    """Adam, or Muon, with an optional warm-up and an optional cosine decay to zero over the whole run.

    Args:
        lr: peak learning rate of Adam (the paper: 1e-4).
        betas: decay rates of Adam's moments.
        warmup_steps: steps of linear increase from zero.
        decay: "none" (the paper) or "cosine".
        muon_lr: peak learning rate of the weights of convolutions, see `Muon`; None: Adam for all weights.

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
        """Return the optimiser and its schedule for Lightning.

        Args:
            parameters: parameters to train.
            total_steps: returns the number of steps; called after the first step, since Lightning loads data for it.
            fused: update all parameters in one pass; not possible with scaled gradients.

        Raises:
            ValueError: after the first step, if the learning rate decays and the run has no end.
        """
        first, second = self.betas
        optimizer: torch.optim.Optimizer
        if self.muon_lr is None:
            optimizer = torch.optim.Adam(parameters, lr=self.lr, betas=(first, second), fused=fused)
        else:
            optimizer = Muon(parameters, self.muon_lr, self.lr, (first, second), fused=fused)

        def factor(step: int) -> float:
            done = 0.0
            if self.decay == "cosine" and step > 0:
                if not math.isfinite(total := total_steps()):
                    raise ValueError("optimizer.decay=cosine: needs an end. Set trainer.max_epochs.")
                done = min(1.0, step / total)
            return min(1.0, (step + 1) / (self.warmup_steps + 1)) * 0.5 * (1 + math.cos(math.pi * done))

        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": LambdaLR(optimizer, factor), "interval": "step"}}
