"""The network itself: forward, forward and backward, in several ways and batch sizes."""

import copy
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from typing import Any

import torch
from torch import Tensor, nn

from diracdiff.benchmarks.cost import flops
from diracdiff.benchmarks.timing import Case
from diracdiff.models import Network, execute
from diracdiff.utils.errors import UserError

EAGER = "eager"


def _same(network: nn.Module) -> nn.Module:
    return network


def _compiled(network: nn.Module) -> nn.Module:
    execute(network, compiled=True)
    return network


def _contiguous(network: nn.Module) -> nn.Module:
    return network.to(memory_format=torch.contiguous_format)


def _checkpointed(network: nn.Module) -> nn.Module:
    execute(network, checkpoint_activations=True)
    return network


VARIANTS: dict[str, tuple[Callable[[nn.Module], nn.Module], bool]] = {
    EAGER: (_same, False),
    "compiled": (_compiled, False),
    "contiguous": (_contiguous, False),
    "bf16": (_same, True),
    "compiled_bf16": (_compiled, True),
    "checkpointed": (_checkpointed, False),
}
"""How a network is prepared, and whether it runs under autocast to bfloat16. Eager is channels-last."""


def inputs(network: Network, size: int, batch: int, device: torch.device | str) -> tuple[Tensor, Tensor]:
    """Images and levels of the shapes that a network takes: (B, C, size, size) and (B,) or (B, conditions)."""
    channels = network.image_channels * getattr(network, "images", 1)
    shape = (batch,) if network.conditions == 1 else (batch, network.conditions)
    return torch.rand(batch, channels, size, size, device=device), torch.rand(shape, device=device)


def network_cases(
    network: nn.Module, size: int, device: torch.device, batches: Sequence[int], variants: Sequence[str], batch: int
) -> list[Case]:
    """Forward, without a graph, and forward with backward: eager for every batch size, every variant for one.

    Args:
        network: copies of it are used, but for eager.
        size: side of the images in pixels.
        device: where it is.
        batches: numbers of images.
        variants: of `VARIANTS`.
        batch: the number of images for the variants.

    Raises:
        UserError: if a variant is unknown, or the network lacks what it needs.
    """
    for variant in variants:
        if variant not in VARIANTS:
            raise UserError(f"variants must be of {list(VARIANTS)}, got {variant!r}")
    once = flops(network, size)
    cases = []
    for number in sorted({*batches, batch}):
        cases += _pair(network, False, size, number, device, once, f"batch {number}", f"batch {batch}")
    for variant in variants:
        if variant == EAGER:
            continue
        prepare, bf16 = VARIANTS[variant]
        prepared = prepare(copy.deepcopy(network))
        cases += _pair(prepared, bf16, size, batch, device, once, f"batch {batch}, {variant}", f"batch {batch}")
    return cases


def _pair(
    network: nn.Module,
    bf16: bool,
    size: int,
    batch: int,
    device: torch.device,
    once: tuple[float, float],
    name: str,
    baseline: str,
) -> list[Case]:
    y, level = inputs(network, size, batch, device)  # type: ignore[arg-type]

    def autocast() -> Any:
        return torch.autocast(device.type, torch.bfloat16) if bf16 else nullcontext()

    @torch.no_grad()
    def forward() -> None:
        with autocast():
            network(y, level)

    def both() -> None:
        network.zero_grad()
        with autocast():
            loss = network(y, level).float().square().mean()
        loss.backward()

    return [
        Case("network, forward", name, forward, batch, baseline, once[0] * batch),
        Case("network, forward and backward", name, both, batch, baseline, once[1] * batch),
    ]
