"""Large images in tiles, so that a network's memory and time grow with its tile and not faster than the image."""

from __future__ import annotations

import inspect
import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from diracdiff.models.denoiser import Denoiser
from diracdiff.models.network import Network
from diracdiff.samplers import NetworkIncrement, ReverseSampler

TILE, OVERLAP, WHOLE = 512, 128, 2**20


@dataclass(frozen=True)
class Tiles:
    """How a network sees images that are large.

    Only the network is tiled: noise, operator and measurement are those of the whole image. Neighbouring tiles overlap;
    the outer thirds of what they share count for one of them alone, and between them the one fades into the other.
    What a network draws from beyond a tile makes a difference, and more so normalisation and attention, which are over
    the tile instead of the image: see "Large photographs" in docs/method.md. It does not depend on the machine. A
    network with `local` has neither of them.

    Args:
        side: of a tile in pixels, at most; None: images are never cut.
        overlap: of neighbouring tiles in pixels, at most half a tile.
        whole: images of at most so many pixels are not cut.

    Raises:
        ValueError: if a number breaks its rule.
    """

    side: int | None = TILE
    overlap: int = OVERLAP
    whole: int = WHOLE

    def __post_init__(self) -> None:
        if self.side is not None and self.side < 1:
            raise ValueError(f"tile must be at least 1 pixel, got {self.side}")
        if self.overlap < 0 or (self.side is not None and 2 * self.overlap > self.side):
            raise ValueError(f"overlap must lie between 0 and half a tile of {self.side} pixels, got {self.overlap}")

    def applied(self, denoiser: Denoiser, sampler: ReverseSampler, images: Tensor) -> tuple[Denoiser, ReverseSampler]:
        """Both as they are, or, if images like these, (B, C, H, W), are cut, with their networks in tiles."""
        if not self.cut(images):
            return denoiser, sampler
        if isinstance(increment := getattr(sampler.increment, "denoiser", None), Denoiser):
            sampler = sampler.replace(increment=NetworkIncrement(self.of(increment)))
        return self.of(denoiser), sampler

    def cut(self, images: Tensor) -> bool:
        """Whether images, (B, C, H, W), are cut."""
        height, width = images.shape[-2:]
        return self.side is not None and height * width > self.whole and max(height, width) > self.side

    def of(self, denoiser: Denoiser) -> Denoiser:
        """The denoiser with its network, whose weights it shares, in tiles."""
        arguments = {name: getattr(denoiser, name) for name in inspect.signature(type(denoiser)).parameters}
        return type(denoiser)(**arguments | {"network": Tiled(denoiser.network, self)})


class Tiled(nn.Module):
    """A network that is called on one tile after the other.

    Where a gradient is asked for, a tile's activations are not kept but computed anew.

    Args:
        network: see `Network`.
        tiles: how images are cut.
    """

    def __init__(self, network: Network, tiles: Tiles):
        super().__init__()
        self.network, self.tiles = network, tiles
        self.image_channels, self.multiple, self.conditions = (
            network.image_channels,
            network.multiple,
            network.conditions,
        )
        self.images = getattr(network, "images", 1)

    def forward(self, y: Tensor, level: Tensor) -> Tensor:
        """(B, C, H, W) for images and levels that the network takes."""
        found: Tensor | None = None
        for rows, weight_of_rows in self._parts(y.shape[-2], y):
            for columns, weight_of_columns in self._parts(y.shape[-1], y):
                part = self._call(y[..., rows, columns], level)
                found = part.new_zeros(*part.shape[:2], *y.shape[-2:]) if found is None else found
                found[..., rows, columns] += weight_of_rows.unsqueeze(-1).to(part) * weight_of_columns.to(part) * part
        assert found is not None
        return found

    def _call(self, y: Tensor, level: Tensor) -> Tensor:
        if torch.is_grad_enabled() and y.requires_grad:
            part: Tensor = checkpoint(self.network, y, level, use_reentrant=False)
            return part
        return self.network(y, level)

    def _parts(self, length: int, like: Tensor) -> list[tuple[slice, Tensor]]:
        """Parts of an axis, and weights of their pixels, which sum to 1 at every pixel of it."""
        assert self.tiles.side is not None
        multiple = self.multiple
        side, overlap = (math.ceil(n / multiple) * multiple for n in (self.tiles.side, self.tiles.overlap))
        overlap = min(overlap, side // 2 // multiple * multiple)
        found = spans(length, side, overlap, multiple)
        weights = [fade(first, last, length, overlap).to(like.device) for first, last in found]
        total = torch.zeros(length, dtype=torch.float64, device=like.device)
        for (first, last), weight in zip(found, weights, strict=True):
            total[first:last] += weight
        return [
            (slice(first, last), weight / total[first:last])
            for (first, last), weight in zip(found, weights, strict=True)
        ]


def spans(length: int, side: int, overlap: int, multiple: int) -> list[tuple[int, int]]:
    """Parts of an axis, as few as there can be and of one length, that overlap; their ends are multiples of a number.

    Args:
        length: of the axis, a multiple.
        side: most of a part, a multiple.
        overlap: least of neighbouring parts, less than `side`, a multiple.
        multiple: of pixels.
    """
    count = max(1, math.ceil((length - overlap) / (side - overlap)))
    if count == 1:
        return [(0, length)]
    part = math.ceil((length + (count - 1) * overlap) / count / multiple) * multiple
    starts = [i * (length - part) // (count - 1) // multiple * multiple for i in range(count - 1)]
    return [(start, start + part) for start in [*starts, length - part]]


def fade(first: int, last: int, length: int, overlap: int) -> Tensor:
    """Weights of a part's pixels, float64: 1, and towards its ends, but for those of the axis, as a cosine to 0."""
    place = torch.arange(last - first, dtype=torch.float64) + 0.5
    weight = torch.ones_like(place)
    if overlap:
        for distance, inner in ((place, first > 0), (place.flip(0), last < length)):
            if inner:
                weight *= 0.5 - 0.5 * (math.pi * (3 * distance / overlap - 1).clamp(0, 1)).cos()
    return weight
