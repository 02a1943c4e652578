"""What pixels are most likely to be, from what is known of them and of those around: one sweep over scales.

Images are taken for a Gaussian process on a quadtree: a pixel is the mean of its 2 x 2 block and a difference, and so
is the block's mean that of four blocks, up to the whole image. Differences are independent, and their variance grows
from scale to scale, as that of photographs does. Going up, what is known of four children is gathered in their parent;
going down, what is known of the parent is the prior of its children (Chou, Willsky and Benveniste 1994, IEEE Trans.
Autom. Control 39, 464). Parents are enlarged bilinearly, without which blocks would be seen, and a parent's knowledge,
a part of which is from the child itself, is taken as it is: both are approximations.
"""

from torch import Tensor
from torch.nn import functional as F

FINEST, GROWTH, LARGEST = 0.01, 2.0, 0.32
"""Variance of a pixel's difference from its block's mean, where that of images is 1, its factor from scale to scale,
and its limit, from blocks of 32 pixels on: of 0.003 to 0.02 and 1.5 to 2.5 what suits photographs of 64 px best."""


def smoothed(information: Tensor, precision: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and variance of every pixel, both like `information`.

    Args:
        information: what is known of each pixel, its precision times its value, (B, C, H, W), where images have the
            mean 0 and the variance 1.
        precision: of that, at least 0, like `information`: 0 where nothing is known.

    Where nothing is known of the whole image, means are 0 and variances 1 and more.
    """
    levels, variances = [(information, precision)], [FINEST]
    while max(levels[-1][0].shape[-2:]) > 1:
        shared = 1 / (1 + levels[-1][1] * variances[-1])
        info, known = (_gathered(part * shared) for part in levels[-1])
        levels.append((info, known))
        variances.append(min(LARGEST, GROWTH * variances[-1]))
    info, known = levels.pop()
    variance = 1 / (known + 1)
    mean = info * variance
    for (info, known), own in zip(reversed(levels), reversed(variances[:-1]), strict=True):
        prior = _enlarged(variance, info) + own
        variance = 1 / (known + 1 / prior)
        mean = (info + _enlarged(mean, info) / prior) * variance
    return mean, variance


def _gathered(part: Tensor) -> Tensor:
    """Sums over blocks of 2 x 2 pixels."""
    return F.avg_pool2d(part, 2, ceil_mode=True, divisor_override=1)


def _enlarged(part: Tensor, like: Tensor) -> Tensor:
    return F.interpolate(part, like.shape[-2:], mode="bilinear", align_corners=False)
