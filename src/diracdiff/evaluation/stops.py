"""Where to stop: the trade-off between distortion and perception along the reverse process.

PSNR of x_hat peaks early in the reverse process while LPIPS goes on improving (paper, Fig. 3). The
distortion-optimised time t_DO is where mean PSNR is highest, the perception-optimised time t_PO where mean
LPIPS, or FID, is lowest, of x_hat or of the iterate, both on validation images.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from torch import Tensor

from diracdiff.metrics import METRICS
from diracdiff.metrics.metric import Metric, Row
from diracdiff.samplers import OUTPUTS
from diracdiff.samplers.sampler import TOLERANCE

BLEND = "blend"
TARGETS = {str(metric.target): metric for metric in METRICS if metric.target}


@dataclass(frozen=True)
class Stop:
    """A stopping time and what to take there, "mean" or "iterate"."""

    t: float
    output: str = "mean"

    @property
    def ends(self) -> tuple[Stop, ...]:
        """Itself: a blend has two."""
        return (self,)

    @property
    def last_output(self) -> str:
        """What is read where the walk ends."""
        return self.output

    def mix(self, images: Tensor) -> Tensor:
        """The images themselves."""
        return images

    def plain(self) -> dict[str, Any]:
        """As a checkpoint holds it."""
        return asdict(self)


@dataclass(frozen=True)
class Blend:
    """(1 - share) x_DO + share x_PO of one walk: a point between its faithful and its good-looking stop.

    For a posterior mean and images that are optimally transported from it the straight line between them is the best
    trade-off there is (Freirich et al. 2021).

    Args:
        faithful: the stop of x_DO.
        perceptual: the stop of x_PO.
        share: of x_PO, in [0, 1].

    Raises:
        ValueError: if the share breaks its rule.
    """

    faithful: Stop
    perceptual: Stop
    share: float

    def __post_init__(self) -> None:
        if not 0 <= self.share <= 1:
            raise ValueError(f"the share of a blend must lie in [0, 1], got {self.share:g}")

    @property
    def ends(self) -> tuple[Stop, Stop]:
        """Both stops."""
        return self.faithful, self.perceptual

    @property
    def t(self) -> float:
        """The time to which the walk has to go."""
        return min(end.t for end in self.ends)

    @property
    def last_output(self) -> str:
        """What is read where the walk ends: x_hat, if one of the ends there is."""
        return "mean" if any(end.output == "mean" for end in self.ends if end.t == self.t) else "iterate"

    @property
    def output(self) -> str:
        """Its name in curves, "blend=0.3" say."""
        return f"{BLEND}={self.share:g}"

    def mix(self, faithful: Tensor, perceptual: Tensor) -> Tensor:
        """Images of both stops, (B, C, H, W), blended."""
        return (1 - self.share) * faithful + self.share * perceptual


Stops = dict[str, Stop | None]
"""The stop of each target; None where its metric was not measured."""


def no_stops() -> Stops:
    """Those of a restorer that was never validated."""
    return dict.fromkeys(TARGETS)


def taken_for(stop: Stop | Blend, t: float, output: str, taken: Mapping[Stop, Any]) -> list[Stop]:
    """The ends of a stop that a walk's result at t is taken for, until a later one is.

    Args:
        stop: where to stop.
        t: time of the result.
        output: what it is, "mean" or "iterate".
        taken: what is taken so far: the first result serves a stop that lies before the walk's beginning.
    """
    return [e for e in stop.ends if output == e.output and (t >= e.t - TOLERANCE or e not in taken)]


def stopped(curve: Sequence[Row], stop: Stop | Blend) -> Row:
    """The row of a curve where a walk with this stop ends: the last time that is at least the stop's."""
    rows = [row for row in curve if row["output"] == stop.output]
    return min((r for r in rows if r["t"] >= stop.t - TOLERANCE), key=lambda r: float(r["t"]), default=rows[0])


def reached(stops: Iterable[Stop | Blend], times: Sequence[float]) -> list[Stop]:
    """The stops of a walk at these falling times at which it ends for others, each once; of blends, both ends."""
    found: dict[Stop, None] = {}
    for end in (end for stop in stops for end in stop.ends):
        t = min((t for t in times if t >= end.t - TOLERANCE), default=times[0])
        found[Stop(round(t, 9), end.output)] = None
    return list(found)


def ends_of(stops: Mapping[str, Stop | None]) -> tuple[Stop, Stop] | None:
    """The faithful stop and the good-looking one, LPIPS' or else SWD's; None where one is unknown or both are one."""
    faithful, perceptual = stops.get("psnr"), stops.get("lpips") or stops.get("swd")
    return (faithful, perceptual) if faithful and perceptual and faithful != perceptual else None


def blends_of(stops: Mapping[str, Stop | None], shares: Sequence[float]) -> list[Blend]:
    """Blends of the faithful and the good-looking stop.

    Raises:
        ValueError: if a share breaks its rule, or there are shares but not two stops to blend.
    """
    ends = ends_of(stops)
    if ends is None and shares:
        raise ValueError(f"{no_ends(stops)}, so there is nothing to blend: leave blends out")
    return [] if ends is None else [Blend(*ends, share) for share in shares]


def no_ends(stops: Mapping[str, Stop | None]) -> str:
    """Why `ends_of` found none, in words."""
    if stops.get("psnr") and (stops.get("lpips") or stops.get("swd")):
        return "the faithful and the good-looking stop of this checkpoint are one and the same"
    return (
        "this checkpoint does not know both a faithful and a good-looking stop (find them with "
        "python -m diracdiff evaluate split=val tuned=…)"
    )


def find_stops(curve: Sequence[Row], metrics: Sequence[Metric]) -> Stops:
    """Where to stop, and with which output, for every target.

    Of equal values the earlier stop, which needs fewer network calls, counts.

    Args:
        curve: rows as `Records.curve` makes them.
        metrics: those that were measured.
    """
    of_walk = [row for row in curve if row["output"] in OUTPUTS]
    rows, stops = sorted(of_walk, key=lambda row: float(row["nfe"])), no_stops()
    for metric in metrics:
        if metric.target:
            best = metric.best(rows)
            stops[metric.target] = Stop(best["t"], best["output"])
    return stops


def summarise(
    curve: Sequence[Row], stops: Mapping[str, Stop | None], extra: Stop | Blend | None = None
) -> dict[str, Row | None]:
    """The rows of a curve that matter: measurement, one_shot, do, po, other stops that are known, blends, and target.

    Args:
        curve: rows as `Records.curve` makes them.
        stops: of the targets.
        extra: a further stop, the row "target".
    """
    rows: dict[str, Row | None] = {
        "measurement": stopped(curve, Stop(1.0, "iterate")),
        "one_shot": stopped(curve, Stop(1.0, "mean")),
    }
    for target, metric in TARGETS.items():
        stop = stops.get(target)
        if stop is not None or metric.abbreviation:
            rows[metric.stop_key()] = stopped(curve, stop) if stop is not None else None
    rows |= {row["output"]: row for row in curve if row["output"].startswith(BLEND)}
    return rows | ({"target": stopped(curve, extra)} if extra is not None else {})
