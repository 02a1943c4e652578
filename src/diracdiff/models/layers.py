"""Building blocks of NCSN++ (Song et al. 2021, Appendix H; Karras et al. 2022, Appendix F.2, Table 7)."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

SKIP_SCALE = 1 / math.sqrt(2)


def conv(inputs: int, outputs: int, size: int = 3, padding: int | None = None, gain: float = 1.0) -> nn.Conv2d:
    """Return a convolution with Xavier-uniform weights, scaled by `gain`, and zero bias.

    Args:
        inputs: number of input channels.
        outputs: number of output channels.
        size: side of the kernel in pixels.
        padding: padding in pixels. None: keep height and width.
        gain: factor of the initial weights.
    """
    layer = nn.Conv2d(inputs, outputs, size, padding=size // 2 if padding is None else padding)
    nn.init.xavier_uniform_(layer.weight)
    nn.init.zeros_(layer.bias)  # type: ignore[arg-type]
    layer.weight.data.mul_(gain)
    return layer


def linear(inputs: int, outputs: int) -> nn.Linear:
    """Return a fully connected layer with Xavier-uniform weights and zero bias."""
    layer = nn.Linear(inputs, outputs)
    nn.init.xavier_uniform_(layer.weight)
    nn.init.zeros_(layer.bias)
    return layer


def group_norm(channels: int, local: bool = False) -> nn.Module:
    """Return group normalisation with the largest possible number of groups, at most 32, of at least 4 channels.

    Args:
        channels: number of channels. The number of groups divides it.
        local: return scale and shift only, without statistics of the whole image.
    """
    if local:
        return ScaleShift(channels)
    groups = max(g for g in range(1, max(1, min(32, channels // 4)) + 1) if channels % g == 0)
    return nn.GroupNorm(groups, channels, eps=1e-6)


class ScaleShift(nn.Module):
    """Learned scale and shift of each channel."""

    def __init__(self, channels: int):
        super().__init__()
        self.weight, self.bias = nn.Parameter(torch.ones(channels)), nn.Parameter(torch.zeros(channels))

    def forward(self, x: Tensor) -> Tensor:
        return x * self.weight[:, None, None] + self.bias[:, None, None]


class FIR(nn.Module):
    """Resampling by a factor of 2 with the separable filter [1, 3, 3, 1].

    Args:
        mode: "down", "up", or "keep" for the identity.
        padding: padding in pixels.
    """

    kernel: Tensor

    def __init__(self, mode: str, padding: int = 1):
        super().__init__()
        self.mode, self.padding = mode, padding
        # The filter is not in checkpoints, so it needs values when the network is built on the meta device.
        taps = torch.tensor([1.0, 3.0, 3.0, 1.0], device="cpu") / 8
        self.register_buffer("kernel", torch.outer(taps, taps)[None, None], persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        if self.mode == "keep":
            return x
        channels = x.shape[1]
        kernel = self.kernel.to(x.dtype).expand(channels, 1, 4, 4)
        if self.mode == "down":
            return F.conv2d(x, kernel, stride=2, padding=self.padding, groups=channels)
        return F.conv_transpose2d(x, 4 * kernel, stride=2, padding=self.padding, groups=channels)


class FourierEmbedding(nn.Module):
    """Random Fourier features of conditioning values. Maps (B,) to (B, channels), and (B, k) to (B, k channels).

    Args:
        channels: number of features of a value, even.
        scale: standard deviation of the random frequencies.
    """

    frequencies: Tensor

    def __init__(self, channels: int, scale: float = 16.0):
        super().__init__()
        self.register_buffer("frequencies", torch.randn(channels // 2) * scale)

    def forward(self, level: Tensor) -> Tensor:
        phase = 2 * math.pi * level.float().unsqueeze(-1) * self.frequencies.float()
        return torch.cat([phase.sin(), phase.cos()], dim=-1).flatten(1)


class Attention(nn.Module):
    """Self-attention over the pixels with one head and a scaled residual connection."""

    def __init__(self, channels: int):
        super().__init__()
        self.norm = group_norm(channels)
        self.qkv = conv(channels, 3 * channels, 1, gain=math.sqrt(0.2))
        self.out = conv(channels, channels, 1, gain=1e-5)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = (part.flatten(2).mT for part in self.qkv(self.norm(x)).chunk(3, dim=1))
        attended = F.scaled_dot_product_attention(q, k, v).mT.reshape(x.shape)
        return (x + self.out(attended)) * SKIP_SCALE


class ResidualBlock(nn.Module):
    """Residual block of two convolutions, with the noise embedding added between them.

    Args:
        inputs: number of input channels.
        outputs: number of output channels.
        embedding: number of channels of the noise embedding.
        resample: resampling before the first convolution: "down", "up" or "keep".
        attention: add self-attention after the convolutions.
        dropout: dropout probability in [0, 1).
        local: no normalisation, see `group_norm`.
    """

    def __init__(
        self,
        inputs: int,
        outputs: int,
        embedding: int,
        resample: str = "keep",
        attention: bool = False,
        dropout: float = 0.0,
        local: bool = False,
    ):
        super().__init__()
        self.norm_in = group_norm(inputs, local)
        self.resample = FIR(resample)
        self.conv_in = conv(inputs, outputs)
        self.embed = linear(embedding, outputs)
        self.norm_out = group_norm(outputs, local)
        self.dropout = nn.Dropout(dropout)
        self.conv_out = conv(outputs, outputs, gain=1e-5)
        same_shape = inputs == outputs and resample == "keep"
        self.skip = nn.Identity() if same_shape else conv(inputs, outputs, 1)
        self.attention = Attention(outputs) if attention else nn.Identity()

    def forward(self, x: Tensor, embedding: Tensor) -> Tensor:
        h = self.conv_in(self.resample(F.silu(self.norm_in(x))))
        h = h + self.embed(embedding)[:, :, None, None]
        h = self.conv_out(self.dropout(F.silu(self.norm_out(h))))
        x = (self.skip(self.resample(x)) + h) * SKIP_SCALE
        return self.attention(x)
