"""DnCNN (Zhang et al. 2017), a stack of convolutions that removes noise of one level."""

from functools import partial

import torch.nn.functional as F
from torch import Tensor, nn

from diracdiff.utils.validate import check_count


class DnCNN(nn.Module):
    """DnCNN (Zhang et al. 2017). Predicts the negative noise x - y of each channel separately.

    All 3x3 convolutions except the first and the last have batch normalisation. All except the last have ReLU.

    Args:
        depth: number of convolutions, at least 3. Published: 17.
        channels: number of channels of the hidden layers, at least 1.
        circular: use circular padding instead of zero padding.

    Raises:
        ValueError: if an argument is out of range.
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
        """Return predictions of x - y, (B, C, H, W).

        Args:
            y: noisy images, (B, C, H, W).
            level: noise levels, (B,), not used.
        """
        h = F.relu(self.first(y.flatten(0, 1).unsqueeze(1)))
        for convolution, norm in zip(self.middle, self.norms, strict=True):
            h = F.relu(norm(convolution(h)))
        return self.last(h).reshape(y.shape)
