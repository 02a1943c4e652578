"""What a network must have to make a denoiser."""

from typing import Protocol, runtime_checkable

from torch import Tensor


@runtime_checkable
class Network(Protocol):
    """F(y, level): an image-shaped prediction from degraded images and what it is told of them.

    A network may have an attribute `images`: 2 if it is given the measurement beside y_t, channels one after the other.

    Attributes:
        image_channels: C.
        multiple: height and width of its images must be multiples of this.
        conditions: number of values that it is told: 1, the level, or 2 for an incremental reconstruction network.
    """

    @property
    def image_channels(self) -> int:
        """C."""
        ...

    @property
    def multiple(self) -> int:
        """Height and width must be multiples of this."""
        ...

    @property
    def conditions(self) -> int:
        """How many values it is told."""
        ...

    def __call__(self, y: Tensor, level: Tensor) -> Tensor:
        """(B, C, H, W) for images y (B, C, H, W) and levels (B,), or (B, conditions)."""
        ...
