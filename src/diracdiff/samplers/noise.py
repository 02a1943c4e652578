"""Randomness that belongs to the image."""

from collections.abc import Sequence

import torch
from torch import Tensor


class ImageNoise:
    """A stream of standard normal noise per image.

    What an image receives depends on its seed alone, so a result does not depend on the batch size, the order
    of the images or the number of devices. Streams on the CPU and on a GPU differ.

    Args:
        seeds: one seed per image.
        device: where the noise is drawn.
    """

    def __init__(self, seeds: Sequence[int], device: torch.device | str = "cpu"):
        self.device = torch.device(device)
        self.generators = [torch.Generator(self.device).manual_seed(int(seed)) for seed in seeds]

    def normal(self, shape: Sequence[int], dtype: torch.dtype = torch.float32) -> Tensor:
        """The next noise of every image: (B, *shape) for the shape of one image."""
        draws = [torch.randn(*shape, generator=g, device=self.device, dtype=dtype) for g in self.generators]
        return torch.stack(draws)
