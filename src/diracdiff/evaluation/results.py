"""From the states of a walk to measured results: what every stopping time would give."""

import math
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from diracdiff.evaluation.stops import Blend, Stop, taken_for
from diracdiff.metrics.metric import Metric, Reference, image_metrics
from diracdiff.samplers import OUTPUTS, State


@dataclass(frozen=True)
class Result:
    """One restoration of a batch.

    Attributes:
        images: (B, C, H, W), not clipped.
        nfe: network calls per image.
        seconds: per image.
        t: where the walk stops; NaN for methods that do not walk.
        output: "mean" or "iterate" of the walk's state; empty for methods that do not walk.
    """

    images: Tensor
    nfe: int
    seconds: float
    t: float = math.nan
    output: str = ""

    @property
    def stop(self) -> str:
        """The stop in words, "mean t=0.35" say; empty for methods that do not walk."""
        return f"{self.output} t={self.t:g}" if self.output else ""


def results(states: Iterable[State], like: Tensor, blends: Sequence[Blend] = ()) -> Iterator[Result]:
    """Everything that a walk could stop with: x_hat where it is fresh, and the iterate.

    The seconds are those that the walk took up to there, without those of the reader.

    Args:
        states: the reverse process of a batch.
        like: images of the batch, (B, C, H, W), on its device.
        blends: what to mix of them in the end, all of the same stops.
    """
    held: dict[Stop, Result] = {}
    elapsed, began = 0.0, clock(like)
    for state in states:
        before, elapsed = elapsed, elapsed + clock(like) - began
        for output in ("mean", "iterate") if state.fresh else ("iterate",):
            seconds = before if output == "iterate" and state.fresh else elapsed  # y is there before x_hat
            result = Result(state.image(output), state.calls(output), seconds / len(like), round(state.t, 9), output)
            held |= {end: result for blend in blends for end in taken_for(blend, state.t, output, held)}
            yield result
        began = clock(like)
    for blend in blends:
        ends = [held[end] for end in blend.ends]
        images = blend.mix(*(end.images for end in ends))
        yield Result(
            images, max(e.nfe for e in ends), max(e.seconds for e in ends), min(e.t for e in ends), blend.output
        )


def image_at(stop: Stop | Blend, states: Iterable[State]) -> Tensor:
    """The result of a walk at a stop, (B, C, H, W), not clipped."""
    return taken_at(stop, states)[0]


def taken_at(stop: Stop | Blend, states: Iterable[State]) -> tuple[Tensor, int]:
    """The result of a walk at a stop, (B, C, H, W), not clipped, and the network calls per image that were made."""
    taken: dict[Stop, Tensor] = {}
    calls = 0
    for state in states:
        calls = state.nfe
        for output in OUTPUTS:
            taken |= dict.fromkeys(taken_for(stop, state.t, output, taken), state.image(output))
    return stop.mix(*(taken[end] for end in stop.ends)), calls


def measured(
    results: Iterable[Result], reference: Reference, metrics: Sequence[Metric]
) -> Iterator[tuple[Result, dict[str, Tensor]]]:
    """Compare results with their reference.

    Yields:
        The result and {metric: (B,)} with every metric of single images.
    """
    of_images = image_metrics(metrics)
    for result in results:
        yield result, {metric.name: metric(result.images, reference) for metric in of_images}


def clock(images: Tensor) -> float:
    """Seconds on a clock that only moves on when the device of `images` has done its work."""
    if images.is_cuda:
        torch.cuda.synchronize(images.device)
    return time.perf_counter()
