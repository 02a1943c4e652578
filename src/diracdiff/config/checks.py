"""What a training's configuration must keep to, checked before anything is imported that takes seconds."""

from typing import Any

from omegaconf import DictConfig, ListConfig, OmegaConf

from diracdiff.cli import BOOLEANS_OF_TRAINER, check_booleans, check_number
from diracdiff.errors import UserError


def check_training(cfg: DictConfig) -> None:
    """Refuse values that break a rule.

    Raises:
        UserError: naming the key, the rule and the value.
    """
    check_booleans(cfg, "model.residual", "walk.given_measurement", *BOOLEANS_OF_TRAINER)
    check_number("task.share_at_end", cfg.task.share_at_end, 0.0, 1.0, float)
    check_times(cfg.task.times)
    check_number("trainer.accumulate_grad_batches", cfg.trainer.accumulate_grad_batches, 1)
    check_number("trainer.num_nodes", cfg.trainer.num_nodes, 1)
    check_number("trainer.max_steps", cfg.trainer.max_steps, -1)
    check_number("trainer.limit_train_batches", cfg.trainer.limit_train_batches, 0, kind=float)
    if "_target_" not in cfg.sampler:
        raise UserError("sampler=checkpoint is for commands that read a checkpoint: choose sampler=ode, euler or heun")


def check_times(times: Any) -> None:
    """Refuse a range of training times that is not two numbers in order.

    Raises:
        UserError: naming the rule and the value.
    """
    times = OmegaConf.to_container(times) if isinstance(times, ListConfig) else times
    numbers = isinstance(times, list) and all(type(t) in (int, float) for t in times)
    if not numbers or len(times) != 2 or not 0 <= times[0] <= times[1] <= 1:
        shown = "null" if times is None else times
        raise UserError(f"task.times: times must be two numbers, 0 <= first <= last <= 1, got {shown}: try [0, 1]")
