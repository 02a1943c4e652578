"""What a user of the page tells of a photograph's own operator: a hole that is painted, a kernel in words."""

from torch import Tensor
from torch.nn import functional as F

from diracdiff.data.companions import check_kernel_size
from diracdiff.degradations.kernels import told
from diracdiff.errors import UserError


def hole_of(painted: Tensor, image: Tensor) -> Tensor | None:
    """A hole of any size, bool (H, W), as one of an image, (3, H, W); None where it is empty.

    Raises:
        UserError: if nothing is left beside it.
    """
    sized = F.interpolate(painted[None, None].float(), image.shape[-2:], mode="nearest")[0, 0] > 0
    if sized.all():
        raise UserError("The hole covers the whole photograph: leave something beside it.")
    return sized.to(image.device) if sized.any() else None


def kernel_of(words: str | None, image: Tensor) -> Tensor:
    """A kernel in words, (h, w), for an image, (3, H, W).

    Raises:
        UserError: if there are no words, or others, or the kernel is too large for the image.
    """
    if words is None:
        raise UserError("Say what blurred the photograph.")
    try:
        kernel = told(words)
    except ValueError as error:
        raise UserError(str(error)) from None
    return check_kernel_size(kernel, words, (image.shape[-1], image.shape[-2]))
