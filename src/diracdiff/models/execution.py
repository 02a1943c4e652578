"""How a network is executed: compiled, or with less memory. Neither changes its weights' names or what it computes."""

from typing import Any

from torch import nn


def execute(network: Any, compiled: bool = False, checkpoint_activations: bool = False) -> None:
    """Choose how a network is executed.

    Args:
        network: an `nn.Module`, which is changed.
        compiled: by `torch.compile`, at its first call, which takes minutes; the results agree up to rounding.
        checkpoint_activations: keep the inputs of its blocks alone while training, and compute what is inside anew
            when the gradient needs it: less memory, a third more operations, the same gradient.

    Raises:
        ValueError: if a choice is neither true nor false, or the network lacks it.
    """
    for name, value in (("compile", compiled), ("checkpoint_activations", checkpoint_activations)):
        if not isinstance(value, bool):
            raise ValueError(f"{name} must be true or false, got {value}")
    name = type(network).__name__
    if checkpoint_activations:
        if not hasattr(network, "checkpoint_activations"):
            raise ValueError(f"{name} has no blocks to checkpoint: use checkpoint_activations=false")
        network.checkpoint_activations = True
    if compiled:
        if not isinstance(network, nn.Module):
            raise ValueError(f"{name} is no nn.Module and cannot be compiled: use compile=false")
        network.compile()
