"""Where the time inside the network goes, by kind of operation."""

import re
from collections import defaultdict
from typing import Any

import torch
from torch import nn

from diracdiff.benchmarks.networks import inputs
from diracdiff.benchmarks.parts import rows_of_laps
from diracdiff.metrics import Row

KINDS = (
    ("group normalisation", "group_norm"),
    ("SiLU", "silu"),
    ("attention", "attention|softmax"),
    ("convolution", "conv"),
    ("matrix product", r"::(add|b|badd)?mm$|::linear"),
    ("dropout", "bernoulli|dropout"),
    ("sum, product, sum over pixels", r"::(add|mul|sum|div|mean|pow)_?$"),
    ("copy, concatenation, fill", r"::(cat|copy|fill|zero|clone|_to_copy|empty|empty_strided)_?$"),
)
"""Names of kinds, and what the names of their operators hold; the first that fits counts."""


def kind_of(name: str, shapes: Any) -> str:
    """The kind of an operator by its name and the shapes of its inputs."""
    kind = next((kind for kind, pattern in KINDS if re.search(pattern, name)), "all else")
    filters = [shape for shape in shapes or () if len(shape) == 4 and list(shape[1:]) == [1, 4, 4]]
    if kind == "convolution" and filters:
        kind = "FIR resampling"
    return f"{kind}, gradient" if "backward" in name and kind != "all else" else kind


def profile_rows(network: nn.Module, size: int, batch: int, device: torch.device, rounds: int) -> list[Row]:
    """A row for every kind of operation of a network call with its gradient, from one profile a round.

    The profiler itself takes time for every operator, which counts under "all else" for the most part.
    """
    from torch.profiler import ProfilerActivity, profile

    y, level = inputs(network, size, batch, device)  # type: ignore[arg-type]
    cuda = device.type == "cuda"

    def step() -> None:
        network.zero_grad()
        network(y, level).square().mean().backward()

    step()
    laps = []
    activities = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if cuda else [])]
    for _ in range(rounds):
        with profile(activities=activities, record_shapes=True) as found:
            step()
        lap: dict[str, float] = defaultdict(float)
        for event in found.key_averages(group_by_input_shape=True):
            microseconds = event.self_device_time_total if cuda else event.self_cpu_time_total
            lap[kind_of(event.key, event.input_shapes)] += microseconds / 1e6
        laps.append(dict(lap))
    rows = rows_of_laps(f"profile, forward and backward, {size} px, batch {batch}", laps, batch, "all operators")
    return rows[:-1]
