"""Dissimilarities M(a, b) of images in [0, 1], in two parts: features of one image, and what two of them differ by.

Features are the costly part and depend on one image alone, so comparing an image with many others takes them once.
"""

from abc import ABC, abstractmethod

import torch
from torch import Tensor

from diracdiff.metrics.fidelity import WINDOW, structural_similarity
from diracdiff.metrics.lpips import BACKBONES, load_lpips


class Dissimilarity(ABC):
    """M(a, b) >= 0, zero for equal images. By default the squared Euclidean distance of the features."""

    name: str
    """For titles and tables."""

    smallest: int = 1
    """Least side of the images, in pixels."""

    def features(self, x: Tensor) -> Tensor:
        """Features of images in [0, 1], (B, C, H, W): the batch comes first.

        Raises:
            ValueError: if the images are too small.
        """
        if min(x.shape[-2:]) < self.smallest:
            raise ValueError(
                f"{self.name} needs images of at least {self.smallest} pixels a side, got {tuple(x.shape)}: "
                "use a larger dataset.image_size or another dissimilarity"
            )
        return self.extract(x)

    @abstractmethod
    def extract(self, x: Tensor) -> Tensor:
        """Features of images that are large enough; see `features`."""

    def between(self, a: Tensor, b: Tensor) -> Tensor:
        """M of the images with features a and b, (B,)."""
        squared: Tensor = torch.linalg.vector_norm(a - b, dim=1).square()
        return squared


class MSE(Dissimilarity):
    """The mean squared difference of pixels."""

    name = "MSE"

    def extract(self, x: Tensor) -> Tensor:
        scale: float = x[0].numel() ** 0.5
        return x.flatten(1) / scale


class SSIM(Dissimilarity):
    """1 - SSIM, Wang's: window 11, std 1.5, borders left out."""

    name = "1 - SSIM"
    smallest = WINDOW

    def extract(self, x: Tensor) -> Tensor:
        return x

    def between(self, a: Tensor, b: Tensor) -> Tensor:
        return 1 - structural_similarity(a, b)


class LPIPS(Dissimilarity):
    """Learned perceptual image patch similarity (Zhang et al., 2018).

    The sum over layers l of the mean over places of sum_c w_lc (f_lc(a) - f_lc(b))^2, with activations f_l of unit
    length across channels and weights w_l >= 0. The features are sqrt(w_lc / places) f_lc of all layers.

    Args:
        net: backbone "squeeze", "alex" or "vgg"; values of different backbones do not compare.

    Raises:
        ValueError: if there is no such backbone.
        ValueError: if its weights are missing and cannot be downloaded.
    """

    def __init__(self, net: str = "squeeze"):
        if net not in BACKBONES:
            raise ValueError(f"net must be one of {sorted(BACKBONES)}, got {net!r}")
        self.net = net
        self.name = f"LPIPS ({net})"
        self.smallest = BACKBONES[net][2]
        self._network = load_lpips(net)

    def extract(self, x: Tensor) -> Tensor:
        network = self._network.to(x.device)
        x = network.scaling_layer(2 * x - 1).contiguous(memory_format=torch.channels_last)  # twice as fast on a CPU
        layers = []
        for activation, head in zip(network.net(x), network.lins, strict=True):
            activation = activation.permute(0, 2, 3, 1)
            length = torch.linalg.vector_norm(activation, dim=-1, keepdim=True) + 1e-10
            weight = head.model[-1].weight.flatten() / activation[0, ..., 0].numel()
            layers.append((activation * (weight.sqrt() / length)).flatten(1))
        return torch.cat(layers, dim=1)
