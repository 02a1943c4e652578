"""Inpainting of holes of any shape: every image has one of its own, which grows from its inside. A_t(x) = m_t * x.

A hole is told by its signed distance phi: how deep a pixel lies within, in pixels, and negative without. At t the
pixels deeper than R (1 - s) are hidden, with s the severity, 0 to 1, and R the depth of the deepest one: the hole
begins there and has its whole shape at s = 1. A rim one pixel wide, in which the mask goes from 0 to 1, makes it
continuous in t.
"""

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor

from diracdiff.degradations.base import PerImageDegradation
from diracdiff.degradations.inpainting import Masking

STROKES, BRUSH = (1, 5), (0.03, 0.2)
"""Least and most lines of a hole that is drawn with a brush, and its width as a share of `image_size`."""

BLOBS, BLOB = 0.25, (0.15, 0.4)
"""Share of the holes that are one blob instead, and its diameter, likewise."""


class FreeformInpainting(PerImageDegradation, Masking):
    """Multiplication with a mask in [0, 1] of every image's own.

    Args:
        severity: share of its depth that a hole has grown to, in [0, 1].
        image_size: side in pixels of the images the process is made for.
    """

    in_pixels = False
    limits = (0.0, 1.0)

    def sample_params(self, seeds: Sequence[int], like: Tensor) -> Tensor:
        """Holes drawn with a brush, or blobs: phi, (B, 1, H, W), one hole per seed."""
        height, width = like.shape[-2:]
        return torch.stack([_drawn(seed, height, width, self.image_size) for seed in seeds]).to(like)

    def holes(self, hidden: Tensor) -> Tensor:
        """phi, (B, 1, H, W) float32, of holes that are given, bool (B, H, W): those pixels are hidden at s = 1, wholly.

        Raises:
            ValueError: if a hole is empty or hides everything.
        """
        from scipy.ndimage import distance_transform_edt

        for i, share in enumerate(hidden.flatten(1).float().mean(1).tolist()):
            if not 0 < share < 1:
                raise ValueError(f"a hole must hide some pixels and not all, hole {i} has {share:.0%} of them")
        within, without = (
            torch.stack([torch.from_numpy(distance_transform_edt(each)).float() for each in side.cpu().numpy()])
            for side in (hidden, ~hidden)
        )
        return torch.where(hidden.cpu(), within - 0.5, 0.5 - without).unsqueeze(1).to(hidden.device)

    def masks(self, x: Tensor, size: Tensor) -> Tensor:
        """See `Masking.masks`; raises ValueError if the masks do not fit."""
        depth = self.params_for(x)
        if depth.shape[-2:] != x.shape[-2:]:
            raise ValueError(f"holes of {tuple(depth.shape)} do not fit images of {tuple(x.shape)}")
        deepest = depth.flatten(1).amax(1).clamp(min=0).reshape(-1, 1, 1, 1) + 0.5
        share = size.to(x.dtype).reshape(*size.shape, 1, 1, 1)
        return (0.5 + deepest * (1 - share) - depth).clamp(0, 1)


def _drawn(seed: int, height: int, width: int, size: int) -> Tensor:
    """phi of a hole in an image, (1, H, W), float32; `size` is the side that the brush suits."""
    generator = torch.Generator().manual_seed(seed)

    def uniform(low: float, high: float, *shape: int) -> Tensor:
        return low + (high - low) * torch.rand(shape, generator=generator)

    blob = uniform(0, 1).item() < BLOBS
    lines = 1 if blob else int(uniform(STROKES[0], STROKES[1] + 1).item())
    low, high = BLOB if blob else BRUSH
    brush = size * (low * (high / low) ** uniform(0, 1))
    points = uniform(0, 1, lines + 1, 2) * torch.tensor([height, width])
    if blob:
        points[1] = points[0]
    place = torch.stack(torch.meshgrid(torch.arange(height) + 0.5, torch.arange(width) + 0.5, indexing="ij"))
    distance = torch.stack([_from_line(place, start, end) for start, end in pairwise(points)]).amin(0)
    return (brush / 2 - distance).unsqueeze(0)


def _from_line(place: Tensor, start: Tensor, end: Tensor) -> Tensor:
    """Distance of places, (2, H, W), from the line between two points, (2,) each."""
    along, offset = (end - start)[:, None, None], place - start[:, None, None]
    share = ((offset * along).sum(0) / along.square().sum().clamp(min=1e-9)).clamp(0, 1)
    return (offset - share * along).square().sum(0).sqrt()
