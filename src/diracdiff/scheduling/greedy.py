"""Greedy scheduling: where to put a budget of points so that neighbours are alike (paper, Algorithm 2).

Given a distance d between N ordered candidates, start from the two ends. Once per point, take the neighbours that are
farthest apart and insert the candidate between them that minimises max(d(left, s), d(s, right)). Candidates may be
severities of a degradation, or times of a trajectory.

Where d grows with separation, d(left, s) - d(s, right) grows with s and changes its sign next to the best s, so
bisection finds it in log2(right - left) trials. m points among N candidates take about m log2(N / m) trials.
"""

import functools
import heapq
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import torch

from diracdiff.degradations import TabulatedSeverity
from diracdiff.degradations.severity import Severity


class Placement(NamedTuple):
    """Numbers of the chosen candidates, increasing, both ends included, and the largest distance of neighbours."""

    indices: tuple[int, ...]
    max_distance: float


def greedy(distance: Callable[[int, int], float], candidates: int, budget: int) -> Iterator[Placement]:
    """Place points one by one: yield the two ends, then the placement after every insertion.

    `max_distance` never grows. Where the distance grows with separation every insertion is the best one. Otherwise, an
    insertion by bisection that would let `max_distance` grow is replaced by the best of all candidates between the two
    neighbours. If that one would as well, the next farthest neighbours are tried; without any, iteration ends early.

    Args:
        distance: d(i, j) >= 0 for candidates i < j; called once for each pair.
        candidates: number N of candidates, 0 to N - 1, at least 3.
        budget: points to insert between the ends, 1 to N - 2.

    Raises:
        ValueError: if the budget does not fit.
    """
    if not 1 <= budget <= candidates - 2:
        raise ValueError(f"budget must lie in [1, candidates - 2], got {budget} of {candidates}")
    distance = functools.cache(distance)
    chosen, whole = [0, candidates - 1], distance(0, candidates - 1)
    gaps, final = [(-whole, 0, candidates - 1)], 0.0
    yield Placement(tuple(chosen), whole)
    while gaps and len(chosen) < budget + 2:
        largest = max(final, -gaps[0][0])
        size, left, right = heapq.heappop(gaps)
        middle = _best_split(distance, left, right, largest)
        if middle is None:
            final = max(final, -size)
            continue
        for pair in ((left, middle), (middle, right)):
            heapq.heappush(gaps, (-distance(*pair), *pair))
        chosen = sorted([*chosen, middle])
        yield Placement(tuple(chosen), max(final, -gaps[0][0]))


def _best_split(distance: Callable[[int, int], float], left: int, right: int, limit: float) -> int | None:
    """Return the candidate between two others that is nearest to both; None if it is farther than the limit."""

    def farther(s: int) -> float:
        return max(distance(left, s), distance(s, right))

    low, high, tried = left, right, []
    while high - low > 1:
        middle = (low + high) // 2
        tried.append(middle)
        low, high = (middle, high) if distance(left, middle) < distance(middle, right) else (low, middle)
    best = min(sorted(tried), key=farther, default=None)
    if best is not None and farther(best) > limit:
        best = min(range(left + 1, right), key=farther)
    return best if best is not None and farther(best) <= limit else None


def tabulate(indices: Sequence[int], candidates: int, severity: Severity) -> TabulatedSeverity:
    """Return the schedule through chosen candidates: the k-th of m + 2 at t = k / (m + 1), linear in between.

    Args:
        indices: numbers of candidates, increasing, from 0 to N - 1.
        candidates: number N of candidates.
        severity: curve along which the candidates are evenly spaced.
    """
    steps = len(indices) - 1
    values = severity(torch.tensor(indices, dtype=torch.float64) / (candidates - 1))
    return TabulatedSeverity([k / steps for k in range(steps + 1)], values.tolist())
