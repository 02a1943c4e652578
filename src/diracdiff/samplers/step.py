"""What is expected of one step of the reverse process; the steps themselves are a file each."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING

from torch import Tensor

if TYPE_CHECKING:
    from diracdiff.samplers.increment import Increment
    from diracdiff.samplers.walk import Prediction, Walk


class Step(ABC):
    """One step of the reverse process, from y_t to y_s, s < t.

    A step sees the process, the network and the noise through the walk: `walk.predict` calls the network and counts the
    call, `walk.drift` is the change of y without its noise, `walk.diffuse` adds the noise of a step.
    """

    def check(self, increment: Increment, stochasticity: float) -> None:  # noqa: B027
        """Find out before any work whether the step suits the other parts of a sampler.

        Args:
            increment: estimate of the incremental reconstruction.
            stochasticity: eta in [0, 1].

        Raises:
            ValueError: naming what does not fit and the remedy.
        """

    @abstractmethod
    def __call__(self, walk: Walk, y: Tensor, prediction: Prediction, t: float, s: float) -> Tensor:
        """y_s, (B, C, H, W).

        Args:
            walk: the process, the network, and the noise of every image.
            y: y_t, (B, C, H, W).
            prediction: what the network made of y_t.
            t: time of y.
            s: the next time, less than t.
        """
