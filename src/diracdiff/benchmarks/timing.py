"""Timing on a machine that others use, too: interleaved, repeated, compared within a round.

On a CPU time is the process's CPU time, in which other processes count only as far as they take caches and memory
bandwidth. On a GPU it is the time between two events on its stream. A round calls every case; what is compared are
quotients within a round. A yardstick, a fixed piece of work, is a case of every round: in its units, runs of
different days compare.
"""

import math
import statistics
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from diracdiff.metrics import Row

YARDSTICK = "yardstick"
MAX_CALLS = 10_000
TICK = 1e-9


@dataclass(frozen=True)
class Case:
    """Something to time.

    Attributes:
        group: the table it stands in.
        name: of its row.
        call: what is timed.
        images: number of images that a call handles.
        baseline: name of the case of the group that its time is divided by; empty: none.
        flops: floating-point operations of a call; 0: not counted.
        known: what else is known of it, for its row.
    """

    group: str
    name: str
    call: Callable[[], Any]
    images: int
    baseline: str = ""
    flops: float = 0.0
    known: Row = field(default_factory=dict)


@dataclass
class Samples:
    """Seconds per call of a case, one for every round."""

    case: Case
    seconds: list[float] = field(default_factory=list)
    memory: int | None = None


def quartiles(values: Sequence[float]) -> list[float]:
    """First quartile, median and third quartile; of a single value three times that."""
    return [values[0]] * 3 if len(values) == 1 else statistics.quantiles(values, n=4, method="inclusive")


def seconds_of(call: Callable[[], Any], times: int, device: torch.device) -> float:
    """Seconds per call: CPU time of the process, or on a GPU the time between events."""
    if device.type == "cuda":
        first, last = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        first.record()
        for _ in range(times):
            call()
        last.record()
        torch.cuda.synchronize(device)
        milliseconds: float = first.elapsed_time(last)
        return milliseconds / 1000 / times
    began = time.process_time()
    for _ in range(times):
        call()
    return (time.process_time() - began) / times


def yardstick(device: torch.device) -> Case:
    """A convolution, a normalisation and a sigmoid of fixed size, forward: what networks here are made of."""
    like = torch.linspace(0, 1, 4 * 32 * 32 * 32, device=device).reshape(4, 32, 32, 32)
    weight = torch.linspace(-1, 1, 32 * 32 * 9, device=device).reshape(32, 32, 3, 3) / 17
    images, weight = (part.to(memory_format=torch.channels_last) for part in (like, weight))

    @torch.no_grad()
    def call() -> Tensor:
        return nn.functional.silu(nn.functional.group_norm(nn.functional.conv2d(images, weight, padding=1), 8))

    return Case(YARDSTICK, YARDSTICK, call, 4)


def timed(
    cases: Sequence[Case],
    device: torch.device,
    rounds: int,
    seconds: float,
    track: Callable[[Iterable[int]], Iterable[int]] = iter,
) -> list[Row]:
    """Time the cases in turn, every second round backwards, and return a row for each, see `row`.

    Args:
        cases: of any groups; each is called once before, which is not counted.
        device: whose clock counts.
        rounds: number of times per case.
        seconds: each case is called as often as takes so long in a round, at least once.
        track: shows progress over the rounds.
    """
    measured = [Samples(case) for case in (yardstick(device), *cases)]
    calls = []
    for samples in measured:
        samples.case.call()  # compiles, allocates
        if device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(device)
        once = seconds_of(samples.case.call, 1, device)
        samples.memory = torch.cuda.max_memory_allocated(device) if device.type == "cuda" else None
        calls.append(min(MAX_CALLS, max(1, math.ceil(seconds / max(once, 1e-6)))))
    for number in track(range(rounds)):
        order = list(zip(measured, calls, strict=True))
        for samples, times in order if number % 2 == 0 else reversed(order):
            samples.seconds.append(seconds_of(samples.case.call, times, device))
    by_name = {(samples.case.group, samples.case.name): samples for samples in measured}
    ruler = measured[0]
    return [row(samples, by_name.get((samples.case.group, samples.case.baseline)), ruler) for samples in measured]


def row(samples: Samples, baseline: Samples | None, ruler: Samples) -> Row:
    """What is kept of a case: quartiles of its seconds per call, of the quotients with its baseline and the yardstick.

    Returns:
        group, case, images, seconds, yardsticks, and where there are any: baseline, ratio (both lists of quartiles),
        flops and memory in bytes, a call's.
    """
    case = samples.case
    found: Row = {"group": case.group, "case": case.name, "images": case.images}
    found |= {"seconds": quartiles(samples.seconds), "yardsticks": _ratio(samples, ruler)}
    if baseline is not None and baseline is not samples:
        found |= {"baseline": case.baseline, "ratio": _ratio(samples, baseline)}
    if case.flops:
        found["flops"] = case.flops
    if samples.memory is not None:
        found["memory"] = samples.memory
    return found | case.known


def _ratio(samples: Samples, of: Samples) -> list[float]:
    return quartiles([a / max(b, TICK) for a, b in zip(samples.seconds, of.seconds, strict=True)])
