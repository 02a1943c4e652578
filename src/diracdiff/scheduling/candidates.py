"""What greedy scheduling chooses from: severities of a degradation, or times of a restorer's walk."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from diracdiff.degradations import Degradation, LinearSeverity
from diracdiff.evaluation.measurement import measure
from diracdiff.restorer import Restorer
from diracdiff.samplers import LookAhead, UniformGrid
from diracdiff.scheduling.dissimilarities import Dissimilarity
from diracdiff.scheduling.distances import DegradationDistance, FeatureDistance, TrajectoryDistance
from diracdiff.utils.seeds import image_seed


@dataclass(frozen=True)
class Candidates:
    """Evenly spaced candidates.

    Attributes:
        name: of the task, or "times".
        what: "severity" or "times".
        line: the straight line that they lie on.
        distance: of two of them.
        images: number of images that the distance averages over.
    """

    name: str
    what: str
    line: LinearSeverity
    distance: FeatureDistance
    images: int


def severities(
    name: str, degradation: Degradation, images: Tensor, dissimilarity: Dissimilarity, **options: int
) -> Candidates:
    """Severities of a degradation, whose own severity must be a straight line.

    Args:
        name: of the task.
        degradation: A_t.
        images: clean, (n, C, H, W).
        dissimilarity: M.
        options: count, batch_size and memory, see `DegradationDistance`.

    Raises:
        ValueError: if the severity is not a straight line.
    """
    line = degradation.severity
    if not isinstance(line, LinearSeverity):
        raise ValueError(f"the degradation's severity must be linear, got {type(line).__name__}")
    count = options.pop("count")
    distance = DegradationDistance(degradation, images, dissimilarity, count, **options)
    return Candidates(name, "severity", line, distance, len(images))


@torch.no_grad()
def times(restorer: Restorer, parts: Iterable[Tensor], dissimilarity: Dissimilarity, **options: int) -> Candidates:
    """Times of a walk without noise, one step per candidate.

    Args:
        restorer: that walks.
        parts: batches of clean images, (B, C, H, W) each.
        dissimilarity: M.
        options: count, batch_size and memory, see `TrajectoryDistance`.
    """
    plain: dict[str, Any] = {"stochasticity": 0.0, "grid": UniformGrid(), "start": 1.0}
    sampler = restorer.sampler.replace(
        steps=options.pop("count") - 1,
        increment=LookAhead(),
        **plain,  # look-ahead suits any number of steps
    )
    walks = []
    for number, part in enumerate(parts):
        names = [f"schedule/{number}/{i}" for i in range(len(part))]
        measured = measure(restorer.process, part, names, restorer.seed)
        states = sampler.states(measured.process, restorer.denoiser, measured.y, measured.noise)
        walks.append(torch.stack([state.y for state in states]).flip(0))
    states_of_all = torch.cat(walks, dim=1)
    distance = TrajectoryDistance(states_of_all, dissimilarity, **options)
    return Candidates("times", "times", LinearSeverity(0.0, 1.0), distance, states_of_all.shape[1])


def images_of(dataset: Any, count: int, seed: int) -> Tensor:
    """`count` images of the training split, evenly spread from a start that the seed chooses, (n, C, H, W).

    Raises:
        ValueError: if there are not as many.
    """
    split = dataset.split("train")
    if count > len(split):
        raise ValueError(f"images={count} is more than the {len(split)} training images: lower images")
    start = image_seed(seed, "schedule") % max(1, len(split) // count)
    return torch.stack([split[start + k * len(split) // count]["x"] for k in range(count)])
