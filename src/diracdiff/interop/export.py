"""Export of networks by `torch.export`, and restoration with an exported network."""

from typing import Any, Self

import torch
from torch import Tensor, nn
from torch.export import Dim, ExportedProgram, export

from diracdiff.models import Denoiser
from diracdiff.models.denoiser import Network
from diracdiff.utils.validate import check_count

EXAMPLE_BATCH, EXAMPLE_SIDE = 2, 8
"""Batch size, and side in units of `Network.multiple`, of the example input of dynamic dimensions."""


def export_network(denoiser: Denoiser, image_size: int | None = None, batch_size: int | None = None) -> ExportedProgram:
    """Export the network F(images, level) of a denoiser in evaluation mode.

    The inputs are those of `Network`: images, (B, images C, H, W), and conditioning values, (B,) or (B, conditions).
    Preconditioning and sampling are not part of the program, see `with_program`.

    Args:
        denoiser: denoiser, in float32.
        image_size: fixed side of square images in pixels, a multiple of `network.multiple`. None: height and width
            are dynamic. They are multiples of `network.multiple`, and at least twice that.
        batch_size: fixed batch size. None: dynamic.

    Raises:
        ValueError: if `image_size` or `batch_size` breaks its rule.
    """
    network, weight = denoiser.network, next(denoiser.parameters())
    assert isinstance(network, nn.Module)
    side = network.multiple * EXAMPLE_SIDE if image_size is None else image_size
    count = EXAMPLE_BATCH if batch_size is None else batch_size
    check_count(side, "image_size")
    check_count(count, "batch_size")
    if side % network.multiple:
        raise ValueError(f"image_size={side}: must be a multiple of {network.multiple}. Pad the images.")
    y = torch.rand(count, network.image_channels * getattr(network, "images", 1), side, side)
    level = torch.rand((count, network.conditions) if network.conditions > 1 else (count,))
    batch = {0: Dim.DYNAMIC} if batch_size is None else {}
    sides = {2: Dim.DYNAMIC, 3: Dim.DYNAMIC} if image_size is None else {}
    training = network.training
    try:
        with torch.no_grad():
            inputs = (y.to(weight.device), level.to(weight.device))
            return export(network.eval(), inputs, dynamic_shapes=(batch | sides, batch))
    finally:
        network.train(training)


def with_program(denoiser: Denoiser, program: ExportedProgram) -> Denoiser:
    """Return a denoiser that runs an exported program as its network.

    Use it as `restorer.replace(denoiser=with_program(restorer.denoiser, program))`. Checkpoints cannot contain it.

    Args:
        denoiser: denoiser whose network was exported.
        program: output of `export_network`, or of `torch.export.load`.
    """
    copy = Denoiser(
        ExportedNetwork(program, denoiser.network),
        denoiser.conditioning,
        denoiser.residual,
        denoiser.preconditioning,
        denoiser.condition_on_measurement,
    )
    return copy.eval()


class ExportedNetwork(nn.Module):
    """Network that runs an exported program, see `diracdiff.models.Network`.

    Args:
        program: exported program.
        network: network that was exported, for its attributes.
    """

    def __init__(self, program: ExportedProgram, network: Network):
        super().__init__()
        self.program: Any = program.module()
        self.image_channels, self.multiple, self.conditions = (
            network.image_channels,
            network.multiple,
            network.conditions,
        )
        self.images = getattr(network, "images", 1)

    def train(self, mode: bool = True) -> Self:
        """Return the module unchanged, because an exported program has no training mode."""
        return self

    def forward(self, y: Tensor, level: Tensor) -> Tensor:
        """Return predictions, (B, C, H, W), see `Network`."""
        return self.program(y, level)
