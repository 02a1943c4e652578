"""Interpolation of unknown pixels from known ones: one sweep over scales.

Images are a Gaussian process on a quadtree: a pixel is the mean of its 2 x 2 block and a difference, and so is the
block's mean that of four blocks, up to the whole image. Differences are independent, and their variance grows from
scale to scale, as that of photographs does. Going up, the information of four children is gathered in their parent;
going down, a parent is the prior of its children (Chou, Willsky and Benveniste 1994, IEEE Trans. Autom. Control 39,
464). Two approximations: parents are enlarged bilinearly, which avoids visible blocks, and a parent's information,
a part of which is the child's own, is used unchanged.
"""

from torch import Tensor
from torch.nn import functional as F

FINEST, GROWTH, LARGEST = 0.01, 2.0, 0.32
"""Variance of a pixel's difference from its block's mean, where that of images is 1, its factor from scale to scale,
and its limit, from blocks of 32 pixels on; tuned on photographs of 64 px."""


def smoothed(information: Tensor, precision: Tensor) -> tuple[Tensor, Tensor]:
    """Return mean and variance of every pixel, like `information`, of images with mean 0 and variance 1.

    Args:
        information: precision times value of the observation of each pixel, (B, C, H, W).
        precision: of the observations, at least 0, like `information`; 0 for unknown pixels.
    """
    levels, variances = [(information, precision)], [FINEST]
    while max(levels[-1][0].shape[-2:]) > 1:
        shared = 1 / (1 + levels[-1][1] * variances[-1])
        info, known = (F.avg_pool2d(part * shared, 2, ceil_mode=True, divisor_override=1) for part in levels[-1])
        levels.append((info, known))
        variances.append(min(LARGEST, GROWTH * variances[-1]))
    info, known = levels.pop()
    variance = 1 / (known + 1)
    mean = info * variance
    for (info, known), difference in zip(reversed(levels), reversed(variances[:-1]), strict=True):
        prior = _enlarged(variance, info) + difference
        variance = 1 / (known + 1 / prior)
        mean = (info + _enlarged(mean, info) / prior) * variance
    return mean, variance


def _enlarged(part: Tensor, like: Tensor) -> Tensor:
    return F.interpolate(part, like.shape[-2:], mode="bilinear", align_corners=False)
