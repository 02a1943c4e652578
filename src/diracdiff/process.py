"""The stochastic degradation process y_t = A_t(x) + sigma_t z (paper, Section 3.1)."""

from collections.abc import Callable

from torch import Tensor

from diracdiff.degradations import Degradation
from diracdiff.shapes import as_time, per_image


class StochasticDegradation:
    """y_t = A_t(x) + sigma_t z with z ~ N(0, I).

    Args:
        degradation: A_t.
        noise: sigma_t, a map from t of any shape to a standard deviation in units of the [0, 1] range.
    """

    def __init__(self, degradation: Degradation, noise: Callable[[Tensor], Tensor]):
        self.degradation = degradation
        self.noise = noise

    def mean(self, x: Tensor, t: float | Tensor) -> Tensor:
        """A_t(x): (B, C, H, W) for x (B, C, H, W) and t () or (B,)."""
        return self.degradation(x, t)

    def sigma(self, t: float | Tensor, x: Tensor) -> Tensor:
        """sigma_t, shaped to broadcast over x, (B, C, H, W)."""
        return per_image(self.noise(as_time(t, x)), x)

    def sample(self, x: Tensor, t: float | Tensor, noise: Tensor) -> Tensor:
        """y_t: (B, C, H, W) for clean images x in [0, 1] and standard normal noise of the same shape."""
        return self.mean(x, t) + self.sigma(t, x) * noise

    def measure(self, x: Tensor, noise: Tensor, t: float = 1.0) -> Tensor:
        """The measurement y_1, or a milder one, y_t."""
        return self.sample(x, t, noise)

    def residual(self, measurement: Tensor, x_hat: Tensor, t: float = 1.0) -> Tensor:
        """||measurement - A_t(x_hat)||^2 / n of each image, (B,): sigma_t^2 where x_hat explains the measurement."""
        return (measurement - self.mean(x_hat, t)).square().flatten(1).mean(1)
