"""From the states of a trajectory to results at every stopping time."""

import math
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from diracdiff.evaluation.stopping import StoppingPoint
from diracdiff.samplers import State
from diracdiff.samplers.increment import TOLERANCE


@dataclass(frozen=True)
class Result:
    """One restoration of a batch.

    Attributes:
        images: restored images, (B, C, H, W), not clipped.
        nfe: number of network evaluations (NFE) per image.
        seconds: time per image.
        t: stopping time; NaN for methods without a trajectory.
        output: "x_hat" or "iterate" of the state; empty for methods without a trajectory.
    """

    images: Tensor
    nfe: int
    seconds: float
    t: float = math.nan
    output: str = ""

    @property
    def stop(self) -> str:
        """The stopping point as text, such as "x_hat t=0.35"; empty for methods without a trajectory."""
        return f"{self.output} t={self.t:g}" if self.output else ""


def results(states: Iterable[State], like: Tensor) -> Iterator[Result]:
    """Yield the result of every stopping point: x_hat where it is fresh, and the iterate.

    Seconds include the sampler up to there, without the consumer of the results.

    Args:
        states: trajectory of a batch.
        like: images of the batch, (B, C, H, W), on its device.
    """
    elapsed, began = 0.0, clock(like)
    for state in states:
        before, elapsed = elapsed, elapsed + clock(like) - began
        for output in ("x_hat", "iterate") if state.x_hat_is_current else ("iterate",):
            seconds = before if output == "iterate" and state.x_hat_is_current else elapsed  # y is there before x_hat
            yield Result(state.image(output), state.nfe_for(output), seconds / len(like), round(state.t, 9), output)
        began = clock(like)


def image_at(stop: StoppingPoint, states: Iterable[State]) -> tuple[Tensor, int]:
    """Return the images at a stopping point, (B, C, H, W), not clipped, and the NFE per image."""
    images, nfe = None, 0
    for state in states:
        nfe = state.nfe
        if images is None or state.t >= stop.t - TOLERANCE:
            images = state.image(stop.output)
    assert images is not None
    return images, nfe


def clock(images: Tensor) -> float:
    """Return seconds of a clock, read after the device of the images has finished its work."""
    if images.is_cuda:
        torch.cuda.synchronize(images.device)
    return time.perf_counter()
