"""NCSN++ (Song et al. 2021, "Score-based generative modeling through SDEs"; Karras et al. 2022, Appendix F.2).

A U-Net of residual blocks with FIR resampling, a random Fourier embedding of the noise level, self-attention at
some levels and a residual input pyramid: the downsampled image is added to the encoder at every level.
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
"""Largest number of blocks of a resolution: a mistyped number must not fill the memory."""


class Level(nn.Module):
    """One resolution of the encoder: resample and add the image pyramid (not at the first), then the blocks."""

    def __init__(self, down: nn.Module | None, pyramid: nn.Module | None, blocks: Sequence[nn.Module]):
        super().__init__()
        self.down, self.pyramid, self.blocks = down, pyramid, nn.ModuleList(blocks)


class NCSNpp(nn.Module):
    """F(y, level): an image-shaped prediction from a noisy image and its noise level.

    Args:
        channels: width of the first resolution; a multiple of 4.
        multipliers: width of every resolution, as multiples of `channels`; their number sets the depth.
        blocks: residual blocks per resolution in the encoder (the decoder has one more).
        attention_levels: resolutions with self-attention, counted from 0; at 256 px, level 4 is 16 px. The innermost
            block of the U-Net always has it, unless `local`.
        dropout: probability in [0, 1).
        image_channels: C.
        patch: side of the patches of the first resolution (pixel unshuffle), which are cheaper; 1: as published.
        embedding_scale: standard deviation of the random frequencies of the noise embedding.
        conditions: number of conditioning values: 1, the noise level, or more.
        images: number of input images: 1, y_t, or 2, y_t and the measurement.
        local: no attention and no normalisation (as in EDSR, Lim et al. 2017), so that a pixel depends on its
            surroundings alone and tiles change little. Needs lower learning rates.

    Attributes:
        checkpoint_activations: keep only the inputs of blocks during training and recompute the rest for the gradient:
            less memory, a third more operations, the same result.
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
            raise ValueError(f"channels={channels} must be a multiple of 4, multipliers={list(multipliers)} positive.")
        if not 0 <= dropout < 1:
            raise ValueError(f"dropout={dropout}: must lie in [0, 1).")
        if any(level not in range(len(multipliers)) for level in attention_levels):
            raise ValueError(f"attention_levels={list(attention_levels)}: must lie in 0 … {len(multipliers) - 1}.")
        if local and attention_levels:
            raise ValueError(f"local=true allows no attention: set attention_levels=[] (now {list(attention_levels)})")
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
        """Height and width must be multiples of this."""
        return int(self.patch * 2 ** (len(self.multipliers) - 1))

    def forward(self, y: Tensor, level: Tensor) -> Tensor:
        """Predict (B, C, H, W).

        Args:
            y: (B, images C, H, W), H and W multiples of `multiple`.
            level: noise levels, (B,); with several conditions, (B, conditions).

        Raises:
            ValueError: if the shape does not fit.
        """
        channels = self.image_channels * self.images
        if y.ndim != 4 or y.shape[1] != channels:
            raise ValueError(f"images must have shape (B, {channels}, H, W), got {tuple(y.shape)}")
        if level[0].numel() != self.conditions:
            raise ValueError(f"the network takes {self.conditions} conditioning values per image, got {level.shape}")
        if y.shape[-2] % self.multiple or y.shape[-1] % self.multiple:
            raise ValueError(f"height and width must be multiples of {self.multiple}, got {y.shape[-2]}x{y.shape[-1]}")
        embedding = self.embedding(level)
        image = F.pixel_unshuffle(y, self.patch)
        x = self.stem(image)
        skips = [x]
        for encoder in self.encoder:
            assert isinstance(encoder, Level)
            if encoder.down is not None and encoder.pyramid is not None:
                x = self._through(encoder.down, x, embedding)
                x = image = (x + encoder.pyramid(image)) * SKIP_SCALE
                skips.append(x)
            for block in encoder.blocks:
                x = self._through(block, x, embedding)
                skips.append(x)
        self_attention, plain = self.middle
        x = self._through(plain, self._through(self_attention, x, embedding), embedding)
        for blocks, up in zip(self.decoder, self.up, strict=True):
            assert isinstance(blocks, nn.ModuleList)
            for block in blocks:
                x = self._through(block, torch.cat([x, skips.pop()], dim=1), embedding)
            x = self._through(up, x, embedding) if isinstance(up, ResidualBlock) else x
        return F.pixel_shuffle(self.head(x), self.patch)

    def _through(self, block: nn.Module, x: Tensor, embedding: Tensor) -> Tensor:
        if self.checkpoint_activations and torch.is_grad_enabled():
            return checkpoint(block, x, embedding, use_reentrant=False)
        return block(x, embedding)
