"""Motion blur of a camera that moves along a line during the exposure.

A path of length L multiplies the frequency f along the path by about sinc(f L), which is 0 at f = 1 / L. Therefore A_s
is invertible except at isolated lengths of about 2 pixels and more. Between all other times s < t, the transition is
A_t A_s^-1. It amplifies noise without bound: Definition 3.1 holds almost everywhere, but the transition is not stable.
"""

import math

import torch
from torch import Tensor
from torch.nn import functional as F

from diracdiff.degradations.base import REFERENCE_SIZE, Degradation
from diracdiff.degradations.severity import Severity

POINTS_PER_PIXEL = 4


class MotionBlur(Degradation):
    """Motion blur: mean of the image over shifts along a straight path.

    Images are reflected at the border without repetition of the edge pixel. The kernel is the mean of points on the
    path, four per pixel at t = 1. Each point is distributed bilinearly over four pixels. The kernel sums to 1 and is
    centred. For length 0 it is the identity.

    Args:
        severity: length of the path over t, in pixels at 256 px, not decreasing.
        image_size: side of the training images in pixels.
        angle: direction of the path in degrees, counter-clockwise from the horizontal.

    Raises:
        ValueError: if the angle is not finite.
    """

    def __init__(self, severity: Severity, image_size: int = REFERENCE_SIZE, angle: float = 0.0):
        super().__init__(severity, image_size)
        if not math.isfinite(angle):
            raise ValueError(f"angle={angle}: must be a finite number of degrees.")
        self.angle = float(angle)

    def apply(self, x: Tensor, severity: Tensor) -> Tensor:
        kernel = self.kernel(severity.to(x.dtype))
        for axis, length in zip((-2, -1), kernel.shape[-2:], strict=True):
            x = x.index_select(axis, _reflected(x.shape[axis], length // 2, x.device))
        planes = x.flatten(0, 1)
        kernels = kernel.expand(len(x), *kernel.shape[-2:]).repeat_interleave(x.shape[1], 0)
        blurred = F.conv2d(planes.unsqueeze(0), kernels.unsqueeze(1), groups=len(planes))
        return blurred.squeeze(0).unflatten(0, x.shape[:2])

    def kernel(self, length: Tensor) -> Tensor:
        """Return the kernels of paths.

        Args:
            length: lengths in pixels, () or (B,), at most the length at t = 1.

        Returns:
            Kernels with odd sides, (h, w) or (B, h, w). Their support is that of t = 1.
        """
        max_length = float(self.severity(torch.tensor(1.0))) * self.image_size / REFERENCE_SIZE
        points = POINTS_PER_PIXEL * math.ceil(max_length) + 1
        position = (torch.arange(points, dtype=length.dtype, device=length.device) + 0.5) / points - 0.5
        path = (length.unsqueeze(-1) * position).unsqueeze(-1)

        def weights(direction: float) -> Tensor:
            radius = math.ceil(abs(direction) * max_length / 2 - 1e-6)
            offset = torch.arange(-radius, radius + 1, dtype=length.dtype, device=length.device)
            return (1 - (path * direction - offset).abs()).clamp(min=0)

        angle = math.radians(self.angle)
        return weights(-math.sin(angle)).mT @ weights(math.cos(angle)) / points


def _reflected(n: int, radius: int, device: torch.device) -> Tensor:
    """Return the indices of the samples -radius … n - 1 + radius of a signal of length n with repeated reflection."""
    period = max(1, 2 * (n - 1))
    source = torch.arange(-radius, n + radius, device=device).remainder(period)
    return torch.minimum(source, period - source)
