"""NCSN++ (Song et al. 2021, "Score-based generative modeling through SDEs"; Karras et al. 2022, Appendix F.2).

NCSN++ is a U-Net of residual blocks with FIR resampling, a random Fourier embedding of the noise level, and
self-attention at some resolutions. In its residual input pyramid, the downsampled image is added to the encoder at each
resolution.
"""

from collections.abc import Sequence
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from diracdiff.models.layers import FIR, SKIP_SCALE, FourierEmbedding, ResidualBlock, conv, group_norm, linear
from diracdiff.utils.validate import check_count

MAX_BLOCKS = 64
"""Largest number of blocks of a resolution. The limit prevents that a mistyped number fills the memory."""


class Level(nn.Module):
    """One resolution of the encoder.

    Args:
        down: downsampling block. None: first resolution.
        pyramid: downsampling of the input pyramid, added to the output of `down`. None: first resolution.
        blocks: residual blocks.
    """

    def __init__(self, down: nn.Module | None, pyramid: nn.Module | None, blocks: Sequence[nn.Module]):
        super().__init__()
        self.down, self.pyramid, self.blocks = down, pyramid, nn.ModuleList(blocks)


class NCSNpp(nn.Module):
    """NCSN++ network F(y, level). Maps noisy images and noise levels to images.

    Args:
        channels: number of channels of the first resolution, a multiple of 4.
        multipliers: number of channels of each resolution as multiples of `channels`. Each resolution halves the sides.
        blocks: number of residual blocks per resolution of the encoder, in [1, 64]. The decoder has one more.
        attention_levels: resolutions with self-attention, counted from 0. At 256 px, resolution 4 has 16 px. Unless
            `local`, the innermost block has self-attention too.
        dropout: dropout probability in [0, 1).
        image_channels: number C of channels of an image.
        patch: side of the patches of the first resolution (pixel unshuffle). Larger patches cost less. Published: 1.
        embedding_scale: standard deviation of the random frequencies of the noise embedding.
        conditions: number of conditioning values. 1: noise level.
        images: number of input images, concatenated along channels. 1: y_t.
        local: use neither attention nor normalisation (as EDSR, Lim et al. 2017). A pixel then depends on its
            neighbourhood only, and tiling changes the result little. Needs lower learning rates.

    Attributes:
        checkpoint_activations: during training, store only the inputs of blocks and recompute the other activations.
            It needs less memory and a third more operations, and does not change the result.

    Raises:
        ValueError: if an argument breaks its rule.
    """

    checkpoint_activations = False

    def __init__(
        self,
        channels: int = 128,
        multipliers: Sequence[int] = (1, 1, 2, 2, 2, 2, 2),
        blocks: int = 2,
        attention_levels: Sequence[int] = (4,),
        dropout: float = 0.1,
        image_channels: int = 3,
        patch: int = 1,
        embedding_scale: float = 16.0,
        conditions: int = 1,
        images: int = 1,
        local: bool = False,
    ):
        super().__init__()
        counts = {"channels": channels, "blocks": blocks, "patch": patch, "conditions": conditions, "images": images}
        for name, value in counts.items():
            check_count(value, name)
        if blocks > MAX_BLOCKS:
            raise ValueError(f"blocks={blocks}: must be at most {MAX_BLOCKS}.")
        if channels % 4 or not multipliers or min(multipliers) < 1:
            widths = f"channels={channels}, multipliers={list(multipliers)}"
            raise ValueError(f"{widths}: must be a multiple of 4, and positive numbers. Change them.")
        if not 0 <= dropout < 1:
            raise ValueError(f"dropout={dropout}: must lie in [0, 1).")
        if any(level not in range(len(multipliers)) for level in attention_levels):
            raise ValueError(f"attention_levels={list(attention_levels)}: must lie in 0 … {len(multipliers) - 1}.")
        if local and attention_levels:
            rule = f"must be false with attention_levels={list(attention_levels)}"
            raise ValueError(f"local=true: {rule}. Use attention_levels=[].")
        self.channels, self.multipliers, self.blocks = channels, list(multipliers), blocks
        self.attention_levels, self.dropout = list(attention_levels), dropout
        self.image_channels, self.patch, self.embedding_scale = image_channels, patch, embedding_scale
        self.conditions, self.images, self.local = conditions, images, local

        width = 4 * channels
        self.embedding = nn.Sequential(
            FourierEmbedding(2 * channels, embedding_scale),
            linear(2 * channels * conditions, width),
            nn.SiLU(),
            linear(width, width),
            nn.SiLU(),
        )

        block = partial(ResidualBlock, embedding=width, dropout=dropout, local=local)
        pixels = image_channels * patch**2
        self.stem = conv(pixels * images, channels)
        self.encoder = nn.ModuleList()
        skips, current, image = [channels], channels, pixels * images
        for level, multiplier in enumerate(self.multipliers):
            down = pyramid = None
            if level > 0:
                down = block(current, current, resample="down")
                pyramid = nn.Sequential(conv(image, current, padding=2), FIR("down", padding=0))
                image = current
                skips.append(current)
            level_blocks = []
            for _ in range(blocks):
                level_blocks.append(block(current, channels * multiplier, attention=level in attention_levels))
                current = channels * multiplier
                skips.append(current)
            self.encoder.append(Level(down, pyramid, level_blocks))

        self.middle = nn.ModuleList([block(current, current, attention=not local), block(current, current)])
        self.decoder = nn.ModuleList()
        self.up = nn.ModuleList()
        for level, multiplier in reversed(list(enumerate(self.multipliers))):
            level_blocks = []
            for index in range(blocks + 1):
                attention = level in attention_levels and index == blocks
                level_blocks.append(block(current + skips.pop(), channels * multiplier, attention=attention))
                current = channels * multiplier
            self.decoder.append(nn.ModuleList(level_blocks))
            self.up.append(block(current, current, resample="up") if level > 0 else nn.Identity())
        self.head = nn.Sequential(group_norm(current, local), nn.SiLU(), conv(current, pixels, gain=1e-5))

    @property
    def multiple(self) -> int:
        """Number of which height and width must be multiples."""
        return int(self.patch * 2 ** (len(self.multipliers) - 1))

    def forward(self, y: Tensor, level: Tensor) -> Tensor:
        """Return predictions, (B, C, H, W).

        Args:
            y: input images, (B, images C, H, W), with H and W multiples of `multiple`.
            level: conditioning values, (B,), or (B, conditions) for several conditions.

        Raises:
            ValueError: if a shape does not fit.
        """
        channels = self.image_channels * self.images
        if y.ndim != 4 or y.shape[1] != channels:
            raise ValueError(f"y: must have the shape (B, {channels}, H, W), got {tuple(y.shape)}. Reshape it.")
        if level[0].numel() != self.conditions:
            rule = f"must have {self.conditions} values per image, got the shape {tuple(level.shape)}"
            raise ValueError(f"level: {rule}. Change them or `conditions`.")
        if y.shape[-2] % self.multiple or y.shape[-1] % self.multiple:
            sides = f"{y.shape[-2]}x{y.shape[-1]}"
            raise ValueError(f"y: height and width must be multiples of {self.multiple}, got {sides}. Pad it.")
        embedding = self.embedding(level)
        image = F.pixel_unshuffle(y, self.patch)
        x = self.stem(image)
        skips = [x]
        for encoder in self.encoder:
            assert isinstance(encoder, Level)
            if encoder.down is not None and encoder.pyramid is not None:
                x = self._run_block(encoder.down, x, embedding)
                x = image = (x + encoder.pyramid(image)) * SKIP_SCALE
                skips.append(x)
            for block in encoder.blocks:
                x = self._run_block(block, x, embedding)
                skips.append(x)
        for block in self.middle:
            x = self._run_block(block, x, embedding)
        for blocks, up in zip(self.decoder, self.up, strict=True):
            assert isinstance(blocks, nn.ModuleList)
            for block in blocks:
                x = self._run_block(block, torch.cat([x, skips.pop()], dim=1), embedding)
            x = self._run_block(up, x, embedding) if isinstance(up, ResidualBlock) else x
        return F.pixel_shuffle(self.head(x), self.patch)

    def _run_block(self, block: nn.Module, x: Tensor, embedding: Tensor) -> Tensor:
        if self.checkpoint_activations and torch.is_grad_enabled():
            return checkpoint(block, x, embedding, use_reentrant=False)
        return block(x, embedding)
