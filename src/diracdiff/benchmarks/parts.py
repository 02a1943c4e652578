"""Where the time of a running program goes: parts that may lie within each other, each without those inside it."""

import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import wraps
from typing import Any

import torch
from torch import Tensor, nn

from diracdiff.benchmarks.timing import quartiles
from diracdiff.metrics import Row

REST = "rest"
NETWORK, FORWARD, BACKWARD = "network", "network forward", "network backward"


class Parts:
    """A clock that is always charged to one part: CPU time of the process, or wall time of a GPU that is waited for.

    Attributes:
        laps: seconds of every part, one dictionary for each lap.
    """

    def __init__(self, device: torch.device):
        self.device = device
        self.laps: list[dict[str, float]] = []
        self._seconds: dict[str, float] = defaultdict(float)
        self._within = [REST]
        self._since = self._now()

    def _now(self) -> float:
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
            return time.perf_counter()
        return time.process_time()

    def _charge(self) -> None:
        now = self._now()
        self._seconds[self._within[-1]] += now - self._since
        self._since = now

    def switch(self, name: str) -> None:
        """Go on with another part in the place of the present one."""
        self._charge()
        self._within[-1] = name

    def begin(self, name: str) -> None:
        """Begin a part within the present one."""
        self._charge()
        self._within.append(name)

    def end(self) -> None:
        """End the present part."""
        self._charge()
        self._within.pop()

    @contextmanager
    def part(self, name: str) -> Iterator[None]:
        """What is done inside belongs to the part."""
        self.begin(name)
        try:
            yield
        finally:
            self.end()

    def timed(self, function: Callable[..., Any], name: str) -> Callable[..., Any]:
        """The function, whose time is the part's."""

        @wraps(function)
        def call(*arguments: Any, **named: Any) -> Any:
            with self.part(name):
                return function(*arguments, **named)

        return call

    def lap(self, keep: bool = True) -> None:
        """End a lap, and begin the next one."""
        self._charge()
        if keep:
            self.laps.append(dict(self._seconds))
        self._seconds.clear()


class TimedNetwork(nn.Module):
    """A network whose calls are a part, and whose gradients' arrival begins another one.

    Args:
        network: to time.
        parts: the clock.
    """

    def __init__(self, network: nn.Module, parts: Parts):
        super().__init__()
        self.network, self.parts = network, parts
        self.image_channels, self.multiple = network.image_channels, network.multiple
        self.conditions, self.images = network.conditions, getattr(network, "images", 1)

    def forward(self, y: Tensor, level: Tensor) -> Tensor:
        """The network's output."""
        with self.parts.part(FORWARD):
            output: Tensor = self.network(y, level)
        if output.requires_grad:
            output.register_hook(lambda _: self.parts.switch(BACKWARD))
        return output


def rows_of_laps(group: str, laps: Sequence[dict[str, float]], images: int, within: str) -> list[Row]:
    """A row for every part of the laps, the largest first, and one for all that is not the network.

    Args:
        group: the table they stand in.
        laps: see `Parts`.
        images: of a lap.
        within: name of the whole.

    Returns:
        group, case, images, seconds and share (both lists of quartiles, over the laps).
    """
    names = {name for lap in laps for name in lap}
    totals = [sum(lap.values()) for lap in laps]

    def found(case: str, seconds: list[float]) -> Row:
        share = quartiles([part / total for part, total in zip(seconds, totals, strict=True)])
        return {"group": group, "case": case, "images": images, "seconds": quartiles(seconds), "share": share}

    rows = [found(name, [lap.get(name, 0.0) for lap in laps]) for name in names]
    rows.sort(key=lambda row: -row["share"][1])
    outside = [sum(s for name, s in lap.items() if not name.startswith(NETWORK)) for lap in laps]
    return [found(within, totals), *rows, found("all but the network", outside)]
