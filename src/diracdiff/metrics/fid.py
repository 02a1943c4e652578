"""FID and KID: the distance of a set of images from a set of clean ones, in the features of a network.

FID (Heusel et al. 2017) is the squared Fréchet distance of the Gaussians fitted to the two sets of features,
|mu_1 - mu_2|^2 + tr(S_1 + S_2 - 2 (S_1 S_2)^(1/2)). KID (Binkowski et al. 2018) is the unbiased estimate of their
squared maximum mean discrepancy under the kernel (f . g / D + 1)^3. FID grows as the sets shrink, so only FIDs of
equally many images compare; KID does not, but scatters about zero where the sets agree. The arithmetic is
torch-fidelity's, in double precision.
"""

import math
from typing import Self

from torch import Tensor

from diracdiff.metrics.features import FEATURES, Extractor
from diracdiff.metrics.metric import SetMetric

KID_SUBSETS = 100
KID_SUBSET_SIZE = 1000


class NetworkDistance(SetMetric):
    """Base of FID and KID, whose names contain the network.

    Args:
        network: "inception" or "squeezenet", see `Extractor`.
    """

    higher_is_better, digits = False, 2

    def __init__(self, network: str):
        self.extractor = Extractor(network)
        self.name = f"{self.title.lower()}_{network}"

    @classmethod
    def if_requested(cls, network: str | None) -> Self | None:
        """Return the metric, or None for no network; see `Extractor` for errors."""
        return None if network is None else cls(network)


class FID(NetworkDistance):
    """Fréchet distance of the features of two sets of images, see `fid`; of more than 10,000, of a sample."""

    title, target, limit = "FID", "fid", 10_000

    def __init__(self, network: str):
        super().__init__(network)
        self.min_images = FEATURES[network]  # the covariance of fewer images is singular

    def score(self, clean: Tensor, restored: Tensor, seed: int) -> float:
        return fid(clean, restored)


class KID(NetworkDistance):
    """Kernel distance of the features of two sets of images, see `kid`."""

    title, limit = "KID", KID_SUBSET_SIZE
    min_images = 50

    def score(self, clean: Tensor, restored: Tensor, seed: int) -> float:
        return kid(clean, restored, seed)


def fid(real: Tensor, fake: Tensor) -> float:
    """Return the Fréchet distance of two sets of features, (N, D) and (M, D): 0 or more; NaN if a feature is.

    Fewer images than features are allowed. Below about 1e-6 of tr(S_1 + S_2) it is rounding error.

    Raises:
        ValueError: if a set has fewer than two images.
    """
    from torch_fidelity.metric_fid import KEY_METRIC_FID, fid_features_to_statistics, fid_statistics_to_metric

    real, fake = _checked(real, fake)
    if real.isnan().any() or fake.isnan().any():
        return math.nan
    statistics = (fid_features_to_statistics(features) for features in (real, fake))
    distance: float = fid_statistics_to_metric(*statistics, verbose=False)[KEY_METRIC_FID]
    return max(0.0, distance)


def kid(real: Tensor, fake: Tensor, seed: int = 0) -> float:
    """Return the squared maximum mean discrepancy of features, (N, D) and (M, D): also negative; NaN if a feature is.

    The mean over 100 draws of min(N, M, 1000) images from each set. If a draw has every image of both sets, one is
    enough, and neither the seed nor the order of the images matters.

    Raises:
        ValueError: if a set has fewer than two images.
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
        raise ValueError(f"FID and KID need at least 2 images in each set, got {len(real)} and {len(fake)}")
    if real.shape[1:] != fake.shape[1:] or real.ndim != 2:
        raise ValueError(f"features must be (N, D) and (M, D), got {tuple(real.shape)} and {tuple(fake.shape)}")
    return [features.double() for features in (real, fake)]
