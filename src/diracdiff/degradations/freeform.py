"""Inpainting of masks of any shape, one per image, which grow from their inside. A_t(x) = m_t * x.

A mask is given by its signed distance phi: the depth of a pixel inside the masked region, in pixels, negative outside.
At t the pixels deeper than R (1 - s) are hidden, with s the severity, 0 to 1, and R the largest depth. A rim one pixel
wide, in which the mask goes from 0 to 1, makes it continuous in t.
"""

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor

from diracdiff.degradations.base import PerImageDegradation
from diracdiff.degradations.inpainting import Masking

STROKES, BRUSH = (1, 5), (0.03, 0.2)
"""Least and most strokes of a random mask, and the width of its brush as a fraction of `image_size`."""

BLOBS, BLOB = 0.25, (0.15, 0.4)
"""Fraction of the masks that are one blob instead, and its diameter, likewise."""


class FreeformInpainting(PerImageDegradation, Masking):
    """Multiplication with a per-image mask in [0, 1]; the parameters are phi, (B, 1, H, W).

    Args:
        severity: fraction of its depth that a mask has grown to, in [0, 1].
        image_size: side in pixels of the training images.
    """

    in_pixels = False
    limits = (0.0, 1.0)

    def sample_params(self, seeds: Sequence[int], like: Tensor) -> Tensor:
        height, width = like.shape[-2:]
        return torch.stack([_random_mask(seed, height, width, self.image_size) for seed in seeds]).to(like)

    def signed_distance(self, hidden: Tensor) -> Tensor:
        """Return phi, (B, 1, H, W) float32, of given masks, bool (B, H, W), True in pixels that are hidden at s = 1.

        Raises:
            ValueError: if a mask hides nothing or everything.
        """
        from scipy.ndimage import distance_transform_edt

        for i, fraction in enumerate(hidden.flatten(1).float().mean(1).tolist()):
            if not 0 < fraction < 1:
                raise ValueError(f"a mask must hide some pixels and not all, mask {i} hides {fraction:.0%} of them")
        within, without = (
            torch.stack([torch.from_numpy(distance_transform_edt(each)).float() for each in side.cpu().numpy()])
            for side in (hidden, ~hidden)
        )
        return torch.where(hidden.cpu(), within - 0.5, 0.5 - without).unsqueeze(1).to(hidden.device)

    def masks(self, x: Tensor, severity: Tensor) -> Tensor:
        """See `Masking.masks`; raises ValueError if bound masks do not fit."""
        depth = self.params_for(x)
        if depth.shape[-2:] != x.shape[-2:]:
            raise ValueError(f"masks of {tuple(depth.shape)} do not fit images of {tuple(x.shape)}")
        deepest = depth.flatten(1).amax(1).clamp(min=0).reshape(-1, 1, 1, 1) + 0.5
        severity = severity.to(x.dtype).reshape(*severity.shape, 1, 1, 1)
        return (0.5 + deepest * (1 - severity) - depth).clamp(0, 1)


def _random_mask(seed: int, height: int, width: int, size: int) -> Tensor:
    """Return phi of a random mask, (1, H, W), float32, with a brush for images of side `size`."""
    generator = torch.Generator().manual_seed(seed)

    def uniform(low: float, high: float, *shape: int) -> Tensor:
        return low + (high - low) * torch.rand(shape, generator=generator)

    blob = uniform(0, 1).item() < BLOBS
    strokes = 1 if blob else int(uniform(STROKES[0], STROKES[1] + 1).item())
    low, high = BLOB if blob else BRUSH
    brush = size * (low * (high / low) ** uniform(0, 1))
    points = uniform(0, 1, strokes + 1, 2) * torch.tensor([height, width])
    if blob:
        points[1] = points[0]
    grid = torch.stack(torch.meshgrid(torch.arange(height) + 0.5, torch.arange(width) + 0.5, indexing="ij"))
    distance = torch.stack([_distance_from_line(grid, start, end) for start, end in pairwise(points)]).amin(0)
    return (brush / 2 - distance).unsqueeze(0)


def _distance_from_line(grid: Tensor, start: Tensor, end: Tensor) -> Tensor:
    """Return the distance of points, (2, H, W), from the line between two points, (2,) each."""
    along, offset = (end - start)[:, None, None], grid - start[:, None, None]
    fraction = ((offset * along).sum(0) / along.square().sum().clamp(min=1e-9)).clamp(0, 1)
    return (offset - fraction * along).square().sum(0).sqrt()
