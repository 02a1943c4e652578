"""Inpainting with per-image masks of any shape, A_t(x) = m_t * x. The masked region grows from its inside.

A mask is represented by its signed distance phi: the distance of a pixel from the border of the masked region in
pixels, positive inside. With severity s in [0, 1] and largest distance R, pixels with phi > R (1 - s) are masked. The
mask rises from 0 to 1 over one pixel, so it is continuous in t.
"""

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor

from diracdiff.degradations.base import PerImageDegradation
from diracdiff.degradations.inpainting import Masking

STROKES, BRUSH = (1, 5), (0.03, 0.2)
"""Ranges of the number of strokes of a random mask, and of the brush width as a fraction of `image_size`."""

BLOBS, BLOB = 0.25, (0.15, 0.4)
"""Fraction of random masks that are a single blob, and range of its diameter as a fraction of `image_size`."""


class FreeformInpainting(PerImageDegradation, Masking):
    """Multiplication with a per-image mask in [0, 1].

    The parameters are signed distances phi, (B, 1, H, W), in pixels.

    Args:
        severity: fraction of the final depth of the masked region over t, in [0, 1].
        image_size: side of the training images in pixels.
    """

    in_pixels = False
    limits = (0.0, 1.0)

    def sample_params(self, seeds: Sequence[int], like: Tensor) -> Tensor:
        height, width = like.shape[-2:]
        return torch.stack([_random_mask(seed, height, width, self.image_size) for seed in seeds]).to(like)

    def signed_distance(self, hidden: Tensor) -> Tensor:
        """Return the signed distances of masks.

        Args:
            hidden: masks, (B, H, W), bool. True for pixels that are masked at severity 1.

        Returns:
            Signed distances in pixels, (B, 1, H, W), float32.

        Raises:
            ValueError: if a mask hides no pixel or all pixels.
        """
        from scipy.ndimage import distance_transform_edt

        for i, fraction in enumerate(hidden.flatten(1).float().mean(1).tolist()):
            if not 0 < fraction < 1:
                raise ValueError(f"mask {i}: must hide some pixels and not all, hides {fraction:.0%}. Change the mask.")
        inside, outside = (
            torch.stack([torch.from_numpy(distance_transform_edt(each)).float() for each in side.cpu().numpy()])
            for side in (hidden, ~hidden)
        )
        return torch.where(hidden.cpu(), inside - 0.5, 0.5 - outside).unsqueeze(1).to(hidden.device)

    def masks(self, x: Tensor, severity: Tensor) -> Tensor:
        """Return the masks, see `Masking.masks`.

        Raises:
            ValueError: if the size of the bound masks is not that of the images.
        """
        distance = self.params_for(x)
        if distance.shape[-2:] != x.shape[-2:]:
            sizes = f"{tuple(x.shape)}, got {tuple(distance.shape)}"
            raise ValueError(f"masks: must have the size of the images, {sizes}. Bind masks of the same size.")
        max_distance = distance.flatten(1).amax(1).clamp(min=0).reshape(-1, 1, 1, 1) + 0.5
        severity = severity.to(x.dtype).reshape(*severity.shape, 1, 1, 1)
        return (0.5 + max_distance * (1 - severity) - distance).clamp(0, 1)


def _random_mask(seed: int, height: int, width: int, size: int) -> Tensor:
    """Return the signed distance of a random mask, (1, H, W), float32, with a brush for images of side `size`."""
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
    """Return the distance of points, (2, H, W), from the segment between two points, (2,) each."""
    along, offset = (end - start)[:, None, None], grid - start[:, None, None]
    fraction = ((offset * along).sum(0) / along.square().sum().clamp(min=1e-9)).clamp(0, 1)
    return (offset - fraction * along).square().sum(0).sqrt()
