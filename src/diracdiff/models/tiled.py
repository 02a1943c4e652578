"""Tiling of large images, which limits the memory of a network to that of a tile."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from diracdiff.models.denoiser import Denoiser, Network
from diracdiff.samplers import NetworkIncrement, ReverseSampler

TILE_SIDE, TILE_OVERLAP, MAX_PIXELS = 512, 128, 2**20


@dataclass(frozen=True)
class Tiles:
    """Tiling of large images.

    Only the network is tiled. Noise, operator and measurement are those of the whole image. Neighbouring tiles overlap,
    and are blended in the middle third of the overlap. Results change because normalisation and attention see the tile
    instead of the image, see "Large photographs" in docs/method.md. Networks with `local` have neither of them.

    Args:
        side: largest side of a tile in pixels, at least 1. None: no tiles.
        overlap: overlap of neighbouring tiles in pixels, in [0, side / 2].
        max_pixels: largest number of pixels of an image that is not tiled.

    Raises:
        ValueError: if `side` or `overlap` is out of range.
    """

    side: int | None = TILE_SIDE
    overlap: int = TILE_OVERLAP
    max_pixels: int = MAX_PIXELS

    def __post_init__(self) -> None:
        if self.side is not None and self.side < 1:
            raise ValueError(f"tile={self.side}: must be at least 1 pixel. Use tile=null for no tiles.")
        if self.overlap < 0 or (self.side is not None and 2 * self.overlap > self.side):
            rule = f"must lie between 0 and half a tile of {self.side} pixels"
            raise ValueError(f"overlap={self.overlap}: {rule}. Change overlap or tile.")

    def apply_to(self, denoiser: Denoiser, sampler: ReverseSampler, images: Tensor) -> tuple[Denoiser, ReverseSampler]:
        """Return denoiser and sampler, with tiled networks if the images need tiles.

        Args:
            denoiser: denoiser.
            sampler: sampler. The network of a `NetworkIncrement` is tiled too.
            images: images, (B, C, H, W), that define the size.
        """
        if not self.needed_for(images):
            return denoiser, sampler
        if isinstance(increment := getattr(sampler.increment, "denoiser", None), Denoiser):
            sampler = sampler.replace(increment=NetworkIncrement(self.wrap(increment)))
        return self.wrap(denoiser), sampler

    def needed_for(self, images: Tensor) -> bool:
        """Return True if images, (B, C, H, W), are larger than `max_pixels` and than a tile."""
        height, width = images.shape[-2:]
        return self.side is not None and height * width > self.max_pixels and max(height, width) > self.side

    def wrap(self, denoiser: Denoiser) -> Denoiser:
        """Return a denoiser with a tiled network that shares the weights."""
        arguments = {name: getattr(denoiser, name) for name in inspect.signature(type(denoiser)).parameters}
        tiled = type(denoiser)(**arguments | {"network": Tiled(denoiser.network, self)})
        tiled.autocast = denoiser.autocast
        return tiled


class Tiled(nn.Module):
    """Network that processes one tile after the other. With gradients, the activations of a tile are recomputed.

    Args:
        network: network, see `Network`.
        tiles: sizes of the tiles.
    """

    def __init__(self, network: Network, tiles: Tiles):
        super().__init__()
        self.network, self.tiles = network, tiles
        self.image_channels, self.multiple = network.image_channels, network.multiple
        self.conditions, self.images = network.conditions, getattr(network, "images", 1)

    def forward(self, y: Tensor, level: Tensor) -> Tensor:
        """Return predictions, (B, C, H, W). The arguments are those of the network."""
        network: Callable[..., Tensor] = self.network
        if torch.is_grad_enabled() and y.requires_grad:
            network = partial(checkpoint, self.network, use_reentrant=False)
        output = y.new_zeros(0)
        for rows, row_weights in self._spans_with_weights(y.shape[-2], y):
            for columns, column_weights in self._spans_with_weights(y.shape[-1], y):
                part = network(y[..., rows, columns], level)
                output = output if output.numel() else part.new_zeros(*part.shape[:2], *y.shape[-2:])
                output[..., rows, columns] += row_weights.unsqueeze(-1).to(part) * column_weights.to(part) * part
        return output

    def _spans_with_weights(self, length: int, like: Tensor) -> list[tuple[slice, Tensor]]:
        """Return the spans of an axis and the weights of their pixels. The weights of each pixel sum to 1."""
        assert self.tiles.side is not None
        multiple = self.multiple
        side, overlap = (math.ceil(n / multiple) * multiple for n in (self.tiles.side, self.tiles.overlap))
        overlap = min(overlap, side // 2 // multiple * multiple)
        parts = tile_spans(length, side, overlap, multiple)
        weights = [blend_weights(first, last, length, overlap).to(like.device) for first, last in parts]
        total = torch.zeros(length, dtype=torch.float64, device=like.device)
        for (first, last), weight in zip(parts, weights, strict=True):
            total[first:last] += weight
        return [(slice(a, b), weight / total[a:b]) for (a, b), weight in zip(parts, weights, strict=True)]


def tile_spans(length: int, side: int, overlap: int, multiple: int) -> list[tuple[int, int]]:
    """Return the smallest number of overlapping spans of equal length that cover an axis.

    Args:
        length: length of the axis in pixels, a multiple of `multiple`.
        side: largest length of a span in pixels, a multiple of `multiple`.
        overlap: smallest overlap of neighbouring spans in pixels, less than `side`, a multiple of `multiple`.
        multiple: number of pixels of which the ends of spans are multiples.

    Returns:
        First pixel and last pixel plus 1 of each span.
    """
    count = max(1, math.ceil((length - overlap) / (side - overlap)))
    if count == 1:
        return [(0, length)]
    part = math.ceil((length + (count - 1) * overlap) / count / multiple) * multiple
    starts = [i * (length - part) // (count - 1) // multiple * multiple for i in range(count - 1)]
    return [(start, start + part) for start in [*starts, length - part]]


def blend_weights(first: int, last: int, length: int, overlap: int) -> Tensor:
    """Return the blending weights of the pixels of a span, float64.

    The weights fall to 0 as a cosine in the middle third of an overlap. At the ends of the axis they are 1.

    Args:
        first: first pixel of the span.
        last: last pixel of the span plus 1.
        length: length of the axis in pixels.
        overlap: overlap of neighbouring spans in pixels.
    """
    position = torch.arange(last - first, dtype=torch.float64) + 0.5
    weight = torch.ones_like(position)
    if overlap:
        for distance, inner in ((position, first > 0), (position.flip(0), last < length)):
            if inner:
                weight *= 0.5 - 0.5 * (math.pi * (3 * distance / overlap - 1).clamp(0, 1)).cos()
    return weight
