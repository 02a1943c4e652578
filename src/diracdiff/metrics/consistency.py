"""Consistency of restored images with their measurement."""

from torch import Tensor

from diracdiff.metrics.metric import ImageMetric, Reference


class Consistency(ImageMetric):
    """Distance from the measurement in units of its noise, ||y - A_t(images)|| / (sqrt(n) sigma): 1 is perfect.

    Less than 1 means that the images explain the noise as well (paper, Theorem 3.6 and Fig. 4).
    """

    name = "consistency"
    title, digits = "data consistency", 2

    def measure(self, images: Tensor, reference: Reference) -> Tensor:
        """See `ImageMetric`.

        Raises:
            ValueError: if the reference has no measurement or no process.
        """
        y, process = reference.measurement, reference.process
        if y is None or process is None:
            raise ValueError("consistency needs the measurement and its process")
        sigma = reference.sigma if reference.sigma else process.sigma_of_measurement(y, reference.t).max().item()
        return process.residual(y, images.to(y.dtype), reference.t).sqrt() / sigma
