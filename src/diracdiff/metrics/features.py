"""Feature networks of FID and KID."""

import hashlib
import math
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor, nn

from diracdiff.utils.downloads import fetch_weights
from diracdiff.utils.pixels import from_pixels, to_pixels
from diracdiff.utils.validate import check_images

FEATURES = {"inception": 2048, "squeezenet": 512}
"""Number of features of each network."""
INCEPTION_SHA256 = "6726825d0af5f729cebd5821db510b11b1cfad8faad88a03f1befd49fb9129b2"
SQUEEZENET_SIDE = 17
NORMALISATION = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]
"""Mean and standard deviation of the input of SqueezeNet per channel."""


@dataclass(frozen=True)
class Extractor:
    """Feature network of FID and KID.

    "inception" is the Inception network of torch-fidelity with 2048 features of images resized to 299 px, as in the
    literature. The SHA-256 of its file is checked. "squeezenet" is the trunk of torchvision's SqueezeNet 1.1 with 512
    features, averaged over the image without resizing. Its file has 5 MB, and it is fast on a CPU. Its values are
    comparable only with each other, at one image size.

    Args:
        name: "inception" or "squeezenet".

    Raises:
        ValueError: if the network is unknown, or its weights are missing and cannot be downloaded.
    """

    name: str
    network: nn.Module = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if self.name not in FEATURES:
            raise ValueError(f"fid={self.name}: must be one of {', '.join(sorted(FEATURES))}, or null.")
        object.__setattr__(self, "network", _load(self.name, _weights_file(self.name)))

    def features(self, images: Tensor) -> Tensor:
        """Compute the features of images. Up to rounding, they do not depend on the rest of the batch.

        Args:
            images: images in [0, 1], (B, 3, H, W). They are rounded to 8 bits, as in a PNG file.

        Returns:
            Features, (B, D), float32, on the CPU. Images with NaN have NaN features.

        Raises:
            ValueError: if the images are not RGB, or too small for the network.
        """
        check_images(images, "images", channels=3)
        if self.name == "squeezenet" and min(images.shape[-2:]) < SQUEEZENET_SIDE:
            rule = f"must have at least {SQUEEZENET_SIDE} pixels a side for fid=squeezenet"
            raise ValueError(f"images: {rule}, got {tuple(images.shape)}. Use larger images.")
        has_nan = images.isnan().flatten(1).any(1)
        pixels = to_pixels(images)
        full_precision = torch.backends.cudnn.flags(enabled=torch.backends.cudnn.enabled, allow_tf32=False)
        with torch.no_grad(), torch.autocast(images.device.type, enabled=False), full_precision:
            network = self.network.to(images.device)
            if self.name == "squeezenet":
                mean, std = (torch.tensor(values, device=images.device).reshape(3, 1, 1) for values in NORMALISATION)
                features: Tensor = network((from_pixels(pixels) - mean) / std).mean((2, 3))
            else:
                (features,) = network(pixels)
        return features.masked_fill(has_nan.unsqueeze(1), math.nan).cpu()


def _load(name: str, path: Path) -> nn.Module:
    from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3
    from torchvision.models import squeezenet1_1

    try:
        with torch.random.fork_rng(devices=[]):  # constructors sample initial weights
            if name == "squeezenet":
                classifier = squeezenet1_1()
                classifier.load_state_dict(torch.load(path, map_location="cpu", weights_only=True))
                network: nn.Module = classifier.features
            else:
                layer = [str(FEATURES[name])]
                network = FeatureExtractorInceptionV3("inception-v3-compat", layer, str(path), verbose=False)
            return network.eval().requires_grad_(False)
    except Exception as error:  # parsers of untrusted files may raise any exception
        raise ValueError(f"{path}: must hold the weights of {name}. Replace it with the published file.") from error


def _weights_file(name: str) -> Path:
    from torch_fidelity.feature_extractor_inceptionv3 import URL_INCEPTION_V3
    from torchvision.models import SqueezeNet1_1_Weights

    url = URL_INCEPTION_V3 if name == "inception" else SqueezeNet1_1_Weights.IMAGENET1K_V1.url
    path = fetch_weights(url, f"fid={name}")
    if name == "inception":
        with path.open("rb") as opened:
            digest = hashlib.file_digest(opened, "sha256").hexdigest()
        if digest != INCEPTION_SHA256:
            rule = f"must be the published file with SHA-256 {INCEPTION_SHA256[:8]}…, got {digest[:8]}…"
            raise ValueError(f"{path}: {rule}. Replace it, because the weights define the metric.")
    return path
