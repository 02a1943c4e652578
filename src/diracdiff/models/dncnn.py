"""DnCNN (Zhang et al. 2017): a plain stack of convolutions that removes noise of one level."""

from functools import partial

import torch.nn.functional as F
from torch import Tensor, nn

from diracdiff.utils.validate import check_count


class DnCNN(nn.Module):
    """The negative noise in images, x - y, every channel separately.

    3x3 convolutions, all except the first and the last one with batch normalisation, all except the last with ReLU.

    Args:
        depth: number of convolutions, 17 in the paper; at least 3.
        channels: of the layers between.
        circular: pad images circularly instead of with zeros.
    """

    image_channels, multiple, conditions = 3, 1, 1

    def __init__(self, depth: int = 17, channels: int = 64, circular: bool = False):
        super().__init__()
        check_count(depth, "depth", 3)
        check_count(channels, "channels")
        self.depth, self.channels, self.circular = depth, channels, circular
        conv = partial(nn.Conv2d, kernel_size=3, padding=1, padding_mode="circular" if circular else "zeros")
        self.first = conv(1, channels)
        self.middle = nn.ModuleList(conv(channels, channels, bias=False) for _ in range(depth - 2))
        self.norms = nn.ModuleList(nn.BatchNorm2d(channels) for _ in range(depth - 2))
        self.last = conv(channels, 1)
        for convolution in (self.first, *self.middle):
            nn.init.kaiming_normal_(convolution.weight, nonlinearity="relu")

    def forward(self, y: Tensor, level: Tensor) -> Tensor:
        """Return x - y for noisy images y, (B, C, H, W); the noise level, (B,), is not used."""
        h = F.relu(self.first(y.flatten(0, 1).unsqueeze(1)))
        for convolution, norm in zip(self.middle, self.norms, strict=True):
            h = F.relu(norm(convolution(h)))
        return self.last(h).reshape(y.shape)
