"""LPIPS, the learned perceptual image patch similarity (Zhang et al. 2018)."""

from __future__ import annotations

import warnings
from typing import Any, Self

import torch
from torch import Tensor
from torch.nn import functional as F

from diracdiff.metrics.metric import ImageMetric, Reference
from diracdiff.utils.downloads import fetch_weights
from diracdiff.utils.errors import warn

BACKBONES = {
    "squeeze": ("SqueezeNet1_1", 17),
    "alex": ("AlexNet", 31),
    "vgg": ("VGG16", 16),
}
"""Network in torchvision, and smallest side of images in pixels, of each backbone."""

MIN_SIDE = 64
"""Smallest side in pixels. Smaller images are upscaled to it."""


class LPIPS(ImageMetric):
    """LPIPS (Zhang et al. 2018) of clipped images. Images below 64 pixels a side are upscaled bilinearly to 64.

    The backbones were trained on large photographs. On images of 32 pixels, LPIPS rewards noise in place of texture.
    The name contains the backbone, as in `lpips_squeeze`, because values of different backbones are not comparable.

    Args:
        backbone: "squeeze", "alex" or "vgg". The paper uses "vgg".

    Raises:
        ValueError: if the backbone is unknown, or its weights are missing and cannot be downloaded.
    """

    title, higher_is_better = "LPIPS", False
    target, abbreviation = "lpips", "PO"

    def __init__(self, backbone: str = "squeeze"):
        self._network = load_lpips(backbone)
        self.backbone, self.name = backbone, f"lpips_{backbone}"

    @classmethod
    def if_available(cls, backbone: str | None) -> Self | None:
        """Return the metric, or None without a backbone. If the weights are missing, warn and return None.

        Raises:
            ValueError: if the backbone is unknown.
        """
        try:
            return None if backbone is None else cls(backbone)
        except ValueError as error:
            if backbone not in BACKBONES:
                raise
            warn(f"LPIPS is left out, so there is no t_PO: {error}")
            return None

    @property
    def label(self) -> str:
        return f"LPIPS ({self.backbone}), lower is better"

    def measure(self, images: Tensor, reference: Reference) -> Tensor:
        network = self._network.to(images.device)
        if self.name not in reference.cache:
            reference.cache[self.name] = features(network, upscale_to_min_side(reference.clean.float()))
        restored_layers = features(network, upscale_to_min_side(images.clamp(0, 1)))
        values = torch.zeros(len(images), device=images.device)
        for head, restored, clean in zip(network.lins, restored_layers, reference.cache[self.name], strict=True):
            values = values + head((restored - clean) ** 2).mean((2, 3)).flatten()
        return values


def upscale_to_min_side(images: Tensor) -> Tensor:
    """Upscale images, (B, C, H, W), bilinearly to a shorter side of at least `MIN_SIDE`."""
    height, width = images.shape[-2:]
    scale = MIN_SIDE / min(height, width)
    if scale <= 1:
        return images
    return F.interpolate(images, (round(scale * height), round(scale * width)), mode="bilinear")


def features(network: Any, images: Tensor) -> list[Tensor]:
    """Return the features of each layer with unit length across channels, (B, D, h, w) each.

    Args:
        network: LPIPS network, see `load_lpips`.
        images: images in [0, 1], (B, 3, H, W).
    """
    from lpips import normalize_tensor

    return [normalize_tensor(layer) for layer in network.net(network.scaling_layer(2 * images - 1))]


def load_lpips(backbone: str) -> Any:
    """Load the frozen LPIPS network for images in [-1, 1].

    The weights are loaded with `weights_only=True`, so that the file cannot execute code.

    Args:
        backbone: backbone in `BACKBONES`.

    Raises:
        ValueError: if the backbone is unknown, the weights are missing and cannot be downloaded, or the file does not
            hold the weights.
    """
    from lpips import LPIPS as Network
    from torchvision.models import get_weight

    if backbone not in BACKBONES:
        raise ValueError(f"lpips={backbone}: must be one of {', '.join(sorted(BACKBONES))}, or null.")
    url = get_weight(f"{BACKBONES[backbone][0]}_Weights.IMAGENET1K_V1").url
    path = fetch_weights(url, f"LPIPS' backbone {backbone!r}")
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*pretrained.*|.*weight enum.*")
        network = Network(net=backbone, pnet_rand=True, verbose=False)
    try:
        weights = torch.load(path, map_location="cpu", weights_only=True)
        torchvision_names = {name: f"features.{name.partition('.')[2]}" for name in network.net.state_dict()}
        network.net.load_state_dict({name: weights[source] for name, source in torchvision_names.items()})
    except Exception as error:  # parsers of untrusted files may raise any exception
        rule = f"must hold the weights of LPIPS' backbone {backbone!r}"
        raise ValueError(f"{path}: {rule}. Replace it with torchvision's file.") from error
    return network.eval().requires_grad_(False)
