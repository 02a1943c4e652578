"""FID and KID: distances between a set of restored images and a set of clean images in the features of a network.

FID (Heusel et al. 2017) is the squared Fréchet distance of the Gaussians fitted to the two sets of features,
|mu_1 - mu_2|^2 + tr(S_1 + S_2 - 2 (S_1 S_2)^(1/2)). It increases for smaller sets, so only values of sets with the same
number of images are comparable. KID (Binkowski et al. 2018) is the unbiased estimate of the squared maximum mean
discrepancy with the kernel (f . g / D + 1)^3. Its expectation does not depend on the size of the sets, and its values
may be negative. torch-fidelity computes both in double precision.
"""

import math
from typing import Self

from torch import Tensor

from diracdiff.metrics.features import FEATURES, Extractor
from diracdiff.metrics.metric import SetMetric

KID_SUBSETS = 100
KID_SUBSET_SIZE = 1000


class NetworkDistance(SetMetric):
    """Base class of FID and KID. The name of the metric contains the feature network.

    Args:
        network: feature network, "inception" or "squeezenet".

    Raises:
        ValueError: see `Extractor`.
    """

    higher_is_better, digits = False, 2

    def __init__(self, network: str):
        self.extractor = Extractor(network)
        self.name = f"{self.title.lower()}_{network}"

    @classmethod
    def if_requested(cls, network: str | None) -> Self | None:
        """Return the metric, or None if `network` is None.

        Raises:
            ValueError: see `Extractor`.
        """
        return None if network is None else cls(network)


class FID(NetworkDistance):
    """Fréchet inception distance of two sets of images, see `fid`. Of more than 10,000 images, a sample is used."""

    title, target, limit = "FID", "fid", 10_000

    def __init__(self, network: str):
        super().__init__(network)
        self.min_images = FEATURES[network]  # with fewer images, the covariance is singular

    def score(self, clean: Tensor, restored: Tensor, seed: int) -> float:
        return fid(clean, restored)


class KID(NetworkDistance):
    """Kernel inception distance of two sets of images, see `kid`. Of more than 1000 images, a sample is used."""

    title, limit = "KID", KID_SUBSET_SIZE
    min_images = 50

    def score(self, clean: Tensor, restored: Tensor, seed: int) -> float:
        return kid(clean, restored, seed)


def fid(real: Tensor, fake: Tensor) -> float:
    """Compute the squared Fréchet distance of two sets of features (Heusel et al. 2017).

    Values below about 1e-6 tr(S_1 + S_2) are rounding errors. Sets with fewer images than features are allowed.

    Args:
        real: features of the clean images, (N, D).
        fake: features of the restored images, (M, D).

    Returns:
        The distance, at least 0. NaN if a feature is NaN.

    Raises:
        ValueError: if a set has fewer than two images, or the numbers of features differ.
    """
    from torch_fidelity.metric_fid import KEY_METRIC_FID, fid_features_to_statistics, fid_statistics_to_metric

    real, fake = _checked(real, fake)
    if real.isnan().any() or fake.isnan().any():
        return math.nan
    statistics = (fid_features_to_statistics(features) for features in (real, fake))
    distance: float = fid_statistics_to_metric(*statistics, verbose=False)[KEY_METRIC_FID]
    return max(0.0, distance)


def kid(real: Tensor, fake: Tensor, seed: int = 0) -> float:
    """Estimate the squared maximum mean discrepancy of two sets of features (Binkowski et al. 2018).

    It is the mean over 100 random subsets of min(N, M, 1000) images of each set. If a subset contains all images of
    both sets, one subset is used. The result then depends neither on the seed nor on the order of the images.

    Args:
        real: features of the clean images, (N, D).
        fake: features of the restored images, (M, D).
        seed: seed of the subsets.

    Returns:
        The estimate, which may be negative. NaN if a feature is NaN.

    Raises:
        ValueError: if a set has fewer than two images, or the numbers of features differ.
    """
    from torch_fidelity.metric_kid import KEY_METRIC_KID_MEAN, kid_features_to_metric

    real, fake = _checked(real, fake)
    if real.isnan().any() or fake.isnan().any():
        return math.nan
    size = min(len(real), len(fake), KID_SUBSET_SIZE)
    subsets = 1 if len(real) == len(fake) == size else KID_SUBSETS
    options = {"kid_subsets": subsets, "kid_subset_size": size, "rng_seed": seed % 2**32, "verbose": False}
    discrepancy: float = kid_features_to_metric(real, fake, **options)[KEY_METRIC_KID_MEAN]
    return discrepancy


def _checked(real: Tensor, fake: Tensor) -> list[Tensor]:
    if min(len(real), len(fake)) < 2:
        counts = f"{len(real)} and {len(fake)}"
        raise ValueError(f"features: must have at least 2 images in each set, got {counts}. Use more images.")
    if real.shape[1:] != fake.shape[1:] or real.ndim != 2:
        shapes = f"{tuple(real.shape)} and {tuple(fake.shape)}"
        raise ValueError(f"features: must have the shapes (N, D) and (M, D), got {shapes}. Use one network.")
    return [features.double() for features in (real, fake)]
