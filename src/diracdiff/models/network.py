"""The interface of networks, and how they are executed: compiled, or with less memory."""

from typing import Any, Protocol, runtime_checkable

from torch import Tensor


@runtime_checkable
class Network(Protocol):
    """F(y, level): an image-shaped prediction from degraded images and their noise level.

    A network may have an attribute `images`: 2 if it is conditioned on the measurement, concatenated along channels.
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
        """Number of conditioning values: 1, the level, or 2 for an incremental reconstruction network."""
        ...

    def __call__(self, y: Tensor, level: Tensor) -> Tensor:
        """Return (B, C, H, W) for images y (B, C, H, W) and levels (B,), or (B, conditions)."""
        ...


def execute(network: Any, compiled: bool = False, checkpoint_activations: bool = False) -> None:
    """Choose how a network is executed. Neither changes the names of its weights nor its output, up to rounding.

    Args:
        network: an `nn.Module`, which is changed.
        compiled: by `torch.compile`, at its first call, which takes minutes.
        checkpoint_activations: keep only the inputs of its blocks during training and recompute the rest for the
            gradient: less memory, a third more operations.

    Raises:
        ValueError: if an option is neither true nor false, or the network has no blocks to checkpoint.
    """
    for name, value in (("compile", compiled), ("checkpoint_activations", checkpoint_activations)):
        if not isinstance(value, bool):
            raise ValueError(f"{name}={value}: must be true or false.")
    if checkpoint_activations:
        if not hasattr(network, "checkpoint_activations"):
            raise ValueError(f"checkpoint_activations=true: {type(network).__name__} has no blocks. Use false.")
        network.checkpoint_activations = True
    if compiled:
        network.compile()
