"""The optimiser and its learning rate."""

import math
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch.optim.lr_scheduler import LambdaLR

from diracdiff.training.muon import Muon


class Optimization:
    """Adam, or Muon, with an optional warm-up and an optional cosine decay to zero over the whole training.

    Args:
        lr: peak learning rate of Adam (the paper: 1e-4).
        betas: Adam's.
        warmup_steps: steps of linear increase from zero.
        decay: "none" (the paper) or "cosine".
        muon_lr: peak learning rate of the convolutions' weights, whose steps are orthogonalised, see `Muon`; None: the
            paper's Adam for all.
    """

    def __init__(
        self,
        lr: float = 1e-4,
        betas: Iterable[float] = (0.9, 0.999),
        warmup_steps: int = 0,
        decay: str = "none",
        muon_lr: float | None = None,
    ):
        if not 0 < lr < math.inf:
            raise ValueError(f"lr must be positive, got {lr}")
        if warmup_steps < 0:
            raise ValueError(f"warmup_steps must not be negative, got {warmup_steps}")
        if decay not in ("none", "cosine"):
            raise ValueError(f"decay must be 'none' or 'cosine', got {decay!r}")
        if muon_lr is not None and not 0 < muon_lr < math.inf:
            raise ValueError(f"muon_lr must be positive or null, got {muon_lr}")
        self.muon_lr = None if muon_lr is None else float(muon_lr)
        self.lr, self.betas, self.warmup_steps, self.decay = float(lr), list(betas), int(warmup_steps), decay

    @property
    def rates(self) -> str:
        """Its learning rates, as they are called and set in a configuration."""
        muon = "" if self.muon_lr is None else f" and optimizer.muon_lr (now {self.muon_lr:g})"
        return f"optimizer.lr (now {self.lr:g}){muon}"

    def build(
        self, parameters: Iterable[torch.nn.Parameter], total_steps: Callable[[], float], fused: bool = True
    ) -> dict[str, Any]:
        """Lightning's description of the optimiser.

        Args:
            parameters: what to train.
            total_steps: tells the number of steps of the training; asked after the first step only, because
                Lightning would load the data too early otherwise and lose its place when it resumes.
            fused: update all parameters in one pass; not with gradients that a scaler has scaled.

        Raises:
            UserError: after the first step, if the learning rate decays to an end that the training does not have.
        """
        first, second = self.betas
        optimizer: torch.optim.Optimizer
        if self.muon_lr is None:
            optimizer = torch.optim.Adam(parameters, lr=self.lr, betas=(first, second), fused=fused)
        else:
            optimizer = Muon(parameters, self.muon_lr, self.lr, (first, second), fused=fused)

        def factor(step: int) -> float:
            warm = min(1.0, (step + 1) / (self.warmup_steps + 1))
            return warm * 0.5 * (1 + math.cos(math.pi * done(step)))

        def done(step: int) -> float:
            if self.decay == "none" or step == 0:
                return 0.0
            total = total_steps()
            if not math.isfinite(total):
                raise ValueError("optimizer.decay=cosine: needs an end. Set trainer.max_epochs.")
            return min(1.0, step / total)

        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": LambdaLR(optimizer, factor), "interval": "step"}}

    def renew(self, optimizer: torch.optim.Optimizer, scheduler: Any) -> float | None:
        """Give an optimiser that was restored this learning rate and these betas.

        Returns:
            The learning rate that it had, if that was another one.
        """
        (group, *matrices) = optimizer.param_groups  # the first are Adam's
        before: float = group["initial_lr"]
        group["betas"] = tuple(self.betas)
        group["initial_lr"] = self.lr
        scheduler.base_lrs = [self.lr, *(other["initial_lr"] for other in matrices)]
        group["lr"] = self.lr * scheduler.lr_lambdas[0](scheduler.last_epoch)
        return None if before == self.lr else before
