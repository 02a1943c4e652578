"""How many threads of the CPU a training takes."""

import statistics
import time
from collections.abc import Callable
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import Callback

from diracdiff.training.module import RestorerModule
from diracdiff.utils.errors import say

MOST = 1024
ROUNDS, WORTH, HOPELESS = 3, 0.85, 3
"""How often each number takes its turn, what part of the time of fewer threads more of them must need, and how many
times as slow as another ends the turns of one."""


class Threads(Callback):
    """Sets the number of threads before the first step, by measuring: where cores are busy, fewer are faster.

    A training that goes on takes the number it began with, on which the last bits of its sums depend.

    Args:
        number: of threads; "auto": what is fastest on a training batch, of 1, 2, 4, … up to those that PyTorch would
            take by itself, if the training is one process on a CPU; else nothing changes.

    Raises:
        ValueError: if the number is neither "auto" nor a positive integer.
    """

    def __init__(self, number: int | str = "auto"):
        whole = isinstance(number, int) and not isinstance(number, bool)
        if number != "auto" and not (whole and 1 <= int(number) <= MOST):
            raise ValueError(f"the number of threads must be auto or a positive integer up to {MOST}, got {number}")
        self.number = number
        self._chosen: int | None = None

    def state_dict(self) -> dict[str, Any]:
        """The number, for a checkpoint."""
        return {"threads": torch.get_num_threads()}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take the number of a training that goes on."""
        self._chosen = int(state_dict["threads"])

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Set the number."""
        assert isinstance(pl_module, RestorerModule)
        if self.number != "auto":
            torch.set_num_threads(int(self.number))
        elif pl_module.device.type != "cpu" or trainer.world_size > 1:
            return
        elif self._chosen is not None:
            torch.set_num_threads(min(self._chosen, torch.get_num_threads()))
        elif (most := torch.get_num_threads()) > 1:
            chosen, seconds = fastest(_step(pl_module, trainer.datamodule.batch_size), most)  # type: ignore[attr-defined]
            torch.set_num_threads(chosen)
            say(
                f"threads: {chosen} of {most}, by "
                + ", ".join(f"{1e3 * s:.0f} ms a step with {n}" for n, s in seconds.items())
            )


def _step(module: RestorerModule, batch_size: int) -> Callable[[], None]:
    """A training step but for the optimiser's, on images of the right shape; leaves no trace."""
    size, channels = module.restorer.image_size, module.denoiser.network.image_channels
    x = torch.full((batch_size, channels, size, size), 0.5)

    def step() -> None:
        with torch.random.fork_rng(devices=[]):
            module.loss_of(module.degrade({"x": x}, 0)).backward()
        for parameter in module.parameters():
            parameter.grad = None

    return step


def fastest(call: Callable[[], Any], most: int) -> tuple[int, dict[int, float]]:
    """The number of threads with which something is fastest, the smallest of those that hardly differ.

    Args:
        call: what is timed; once with every number before it counts.
        most: the largest number to try.

    Returns:
        The number, and the median of the seconds for each that was tried. The threads set are those of before.
    """
    before = torch.get_num_threads()
    taken: dict[int, list[float]] = {number: [] for number in sorted({2**i for i in range(most.bit_length())} | {most})}
    call()
    for _ in range(ROUNDS + 1):
        for number in [*taken]:
            torch.set_num_threads(number)
            start = time.perf_counter()
            call()
            taken[number].append(time.perf_counter() - start)
            if taken[number][-1] > HOPELESS * min(min(times) for times in taken.values() if times):
                del taken[number]
    torch.set_num_threads(before)
    seconds = {number: statistics.median(times[1:]) for number, times in taken.items()}
    best = min(seconds)
    for number in seconds:
        if seconds[number] < WORTH * seconds[best]:
            best = number
    return best, seconds
