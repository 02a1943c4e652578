"""The optimiser and its learning rate."""

import math
from collections.abc import Iterable

import torch
from torch.optim.lr_scheduler import LambdaLR


class Optimization:
    """Adam with an optional warm-up and an optional cosine decay to zero over the whole training.

    Args:
        lr: peak learning rate (the paper: 1e-4).
        betas: Adam's.
        warmup_steps: steps of linear increase from zero.
        decay: "none" (the paper) or "cosine".
    """

    def __init__(
        self,
        lr: float = 1e-4,
        betas: Iterable[float] = (0.9, 0.999),
        warmup_steps: int = 0,
        decay: str = "none",
    ):
        if not 0 < lr < math.inf:
            raise ValueError(f"lr must be positive, got {lr}")
        if warmup_steps < 0:
            raise ValueError(f"warmup_steps must not be negative, got {warmup_steps}")
        if decay not in ("none", "cosine"):
            raise ValueError(f"decay must be 'none' or 'cosine', got {decay!r}")
        self.lr, self.betas, self.warmup_steps, self.decay = float(lr), list(betas), int(warmup_steps), decay

    def build(self, parameters: Iterable[torch.nn.Parameter], total_steps: float) -> dict:
        """Lightning's description of the optimiser for a training of `total_steps` steps."""
        if self.decay == "cosine" and not math.isfinite(total_steps):
            raise ValueError("cosine decay needs a training of known length: set trainer.max_steps or max_epochs")

        def factor(step: int) -> float:
            warm = min(1.0, (step + 1) / (self.warmup_steps + 1))
            done = min(1.0, step / total_steps) if self.decay == "cosine" else 0.0
            return warm * 0.5 * (1 + math.cos(math.pi * done))

        optimizer = torch.optim.Adam(parameters, lr=self.lr, betas=tuple(self.betas))
        return {
            "optimizer": optimizer,
            "lr_scheduler": {"scheduler": LambdaLR(optimizer, factor), "interval": "step"},
        }
