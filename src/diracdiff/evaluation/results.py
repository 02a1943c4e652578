"""Conversion of the states of a trajectory to restored images at each stopping time."""

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
    """Restored images of a batch.

    Attributes:
        images: restored images, (B, C, H, W), not clipped.
        nfe: number of function evaluations (NFE) per image.
        seconds: computing time per image.
        t: stopping time; NaN for methods without a trajectory.
        output: "x_hat" or "iterate"; empty for methods without a trajectory.
    """

    images: Tensor
    nfe: int
    seconds: float
    t: float = math.nan
    output: str = ""

    @property
    def stop(self) -> str:
        """Stopping point as text, such as "x_hat t=0.35"; empty for methods without a trajectory."""
        return f"{self.output} t={self.t:g}" if self.output else ""


def trajectory_results(states: Iterable[State], images: Tensor) -> Iterator[Result]:
    """Yield the result of each stopping point: x_hat if it was computed at this state, and the iterate.

    The seconds of a result include the sampler from the start, but not the code that consumes the results.

    Args:
        states: states of the trajectory.
        images: images of the batch, (B, C, H, W), on the device of the sampler.
    """
    elapsed, started = 0.0, synchronised_time(images)
    for state in states:
        before, elapsed = elapsed, elapsed + synchronised_time(images) - started
        for output in ("x_hat", "iterate") if state.x_hat_is_current else ("iterate",):
            seconds = (
                before if output == "iterate" and state.x_hat_is_current else elapsed
            )  # y exists before x_hat is computed
            yield Result(state.image(output), state.nfe_for(output), seconds / len(images), round(state.t, 9), output)
        started = synchronised_time(images)


def images_at(point: StoppingPoint, states: Iterable[State]) -> tuple[Tensor, int]:
    """Return the images at a stopping point, and the NFE per image.

    Args:
        point: stopping point.
        states: states of the trajectory.

    Returns:
        Images, (B, C, H, W), not clipped, and the number of function evaluations.
    """
    images, nfe = None, 0
    for state in states:
        nfe = state.nfe
        if images is None or state.t >= point.t - TOLERANCE:
            images = state.image(point.output)
    assert images is not None
    return images, nfe


def synchronised_time(images: Tensor) -> float:
    """Return a monotonic time in seconds after synchronisation with the device of the images."""
    if images.is_cuda:
        torch.cuda.synchronize(images.device)
    return time.perf_counter()
