"""Greedy scheduling of points with small distances between neighbours (paper, Algorithm 2).

Let d be a distance between N ordered candidates: severities of a degradation, or times of a trajectory. The first two
points are the first and the last candidate. Each iteration selects the neighbouring points with the largest distance,
and inserts the candidate s between them that minimises max(d(left, s), d(s, right)).

If d grows with separation, d(left, s) - d(s, right) grows with s and changes its sign at the best s. Bisection finds it
with log2(right - left) evaluations. m points among N candidates need about m log2(N / m) evaluations.
"""

import functools
import heapq
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import torch

from diracdiff.degradations import TabulatedSeverity
from diracdiff.degradations.severity import Severity


class Placement(NamedTuple):
    """Points that are selected from the candidates.

    Attributes:
        indices: increasing indices of the candidates, including the first and the last.
        max_distance: largest distance of neighbouring points.
    """

    indices: tuple[int, ...]
    max_distance: float


def greedy(distance: Callable[[int, int], float], candidates: int, budget: int) -> Iterator[Placement]:
    """Yield the placement of the two ends, and the placement after each insertion.

    `max_distance` never increases. If the distance grows with separation, each insertion is optimal. Otherwise, if an
    insertion by bisection would increase `max_distance`, all candidates between the two neighbours are compared. If the
    best of them would increase it too, the neighbours with the next largest distance are split. The iteration ends
    early if no insertion is possible.

    Args:
        distance: d(i, j) >= 0 for candidates i < j. It is called at most once for each pair.
        candidates: number N of candidates, at least 3.
        budget: number of points to insert, in [1, N - 2].

    Raises:
        ValueError: if the budget is out of range.
    """
    if not 1 <= budget <= candidates - 2:
        raise ValueError(f"budget={budget}: must lie in [1, candidates - 2], with candidates={candidates}. Change one.")
    distance = functools.cache(distance)
    indices, total = [0, candidates - 1], distance(0, candidates - 1)
    gaps, max_unsplittable = [(-total, 0, candidates - 1)], 0.0
    yield Placement(tuple(indices), total)
    while gaps and len(indices) < budget + 2:
        max_distance = max(max_unsplittable, -gaps[0][0])
        negative_distance, left, right = heapq.heappop(gaps)
        middle = _best_split(distance, left, right, max_distance)
        if middle is None:
            max_unsplittable = max(max_unsplittable, -negative_distance)
            continue
        for pair in ((left, middle), (middle, right)):
            heapq.heappush(gaps, (-distance(*pair), *pair))
        indices = sorted([*indices, middle])
        yield Placement(tuple(indices), max(max_unsplittable, -gaps[0][0]))


def _best_split(distance: Callable[[int, int], float], left: int, right: int, limit: float) -> int | None:
    """Return the candidate that minimises the larger distance to `left` and `right`, or None above the limit."""

    def larger_distance(s: int) -> float:
        return max(distance(left, s), distance(s, right))

    low, high, evaluated = left, right, []
    while high - low > 1:
        middle = (low + high) // 2
        evaluated.append(middle)
        low, high = (middle, high) if distance(left, middle) < distance(middle, right) else (low, middle)
    best = min(sorted(evaluated), key=larger_distance, default=None)
    if best is not None and larger_distance(best) > limit:
        best = min(range(left + 1, right), key=larger_distance)
    return best if best is not None and larger_distance(best) <= limit else None


def tabulate(indices: Sequence[int], candidates: int, severity: Severity) -> TabulatedSeverity:
    """Return the severity curve through m + 2 points, with the k-th point at t = k / (m + 1).

    Args:
        indices: increasing indices of the candidates, from 0 to N - 1.
        candidates: number N of candidates.
        severity: severity curve with the candidates at equidistant times.
    """
    steps = len(indices) - 1
    values = severity(torch.tensor(indices, dtype=torch.float64) / (candidates - 1))
    return TabulatedSeverity([k / steps for k in range(steps + 1)], values.tolist())
