"""Estimates of the incremental reconstruction R = A_s(x) - A_t(x), s < t (paper, Section 3.3).

An estimate is called with the degradation, the denoised x_hat (B, C, H, W), the times t and s, () each, and
A_t(x_hat), which the sampler has at hand; it returns R, (B, C, H, W).
"""

from torch import Tensor

from diracdiff.degradations import Degradation


class LookAhead:
    """A_s(x_hat) - A_t(x_hat) (Eq. 13)."""

    def __call__(self, degradation: Degradation, x_hat: Tensor, t: float, s: float, degraded: Tensor) -> Tensor:
        return degradation(x_hat, s) - degraded
