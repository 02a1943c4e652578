"""Networks whose features FID and KID compare."""

import hashlib
import math
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor, nn

from diracdiff.utils.downloads import fetch_weights
from diracdiff.utils.pixels import from_pixels, to_pixels
from diracdiff.utils.validate import check_images

FEATURES = {"inception": 2048, "squeezenet": 512}  # number of features of each network
INCEPTION_SHA256 = "6726825d0af5f729cebd5821db510b11b1cfad8faad88a03f1befd49fb9129b2"
SQUEEZENET_SIDE = 17
NORMALISATION = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]  # mean and standard deviation of SqueezeNet's input


@dataclass(frozen=True)
class Extractor:
    """The network whose features FID and KID compare.

    "inception" is torch-fidelity's Inception, 2048 features of images resized to 299 px: the FID and KID of the
    literature. Its file must be the published one, by SHA-256. "squeezenet" is the trunk of torchvision's
    SqueezeNet 1.1, its 512 last features averaged over the image, which keeps its size: a file of 5 MB and fast on
    a CPU, but its values compare only among themselves, at one image size.

    Args:
        name: "inception" or "squeezenet".

    Raises:
        ValueError: if the network is unknown, or its weights are missing and cannot be downloaded.
    """

    name: str
    network: nn.Module = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if self.name not in FEATURES:
            raise ValueError(f"fid must be one of {sorted(FEATURES)} or null, got {self.name!r}")
        object.__setattr__(self, "network", _load(self.name, _weights_file(self.name)))

    def features(self, images: Tensor) -> Tensor:
        """Return features of images in [0, 1], (B, 3, H, W), rounded to 8 bits as in a PNG: (B, D) on the CPU.

        They are float32 and, up to rounding, do not depend on the rest of the batch. An image with a NaN has NaN
        features.

        Raises:
            ValueError: if the images are not RGB, or too small for the network.
        """
        check_images(images, "images", channels=3)
        if self.name == "squeezenet" and min(images.shape[-2:]) < SQUEEZENET_SIDE:
            raise ValueError(
                f"fid=squeezenet needs images of at least {SQUEEZENET_SIDE} pixels a side, got {tuple(images.shape)}"
            )
        broken = images.isnan().flatten(1).any(1)
        pixels = to_pixels(images)
        full_precision = torch.backends.cudnn.flags(enabled=torch.backends.cudnn.enabled, allow_tf32=False)
        with torch.no_grad(), torch.autocast(images.device.type, enabled=False), full_precision:
            network = self.network.to(images.device)
            if self.name == "squeezenet":
                mean, std = (torch.tensor(values, device=images.device).reshape(3, 1, 1) for values in NORMALISATION)
                features: Tensor = network((from_pixels(pixels) - mean) / std).mean((2, 3))
            else:
                (features,) = network(pixels)
        return features.masked_fill(broken.unsqueeze(1), math.nan).cpu()


def _load(name: str, path: Path) -> nn.Module:
    from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3
    from torchvision.models import squeezenet1_1

    try:
        with torch.random.fork_rng(devices=[]):  # constructors draw initial weights
            if name == "squeezenet":
                whole = squeezenet1_1()
                whole.load_state_dict(torch.load(path, map_location="cpu", weights_only=True))
                network: nn.Module = whole.features
            else:
                layer = [str(FEATURES[name])]
                network = FeatureExtractorInceptionV3("inception-v3-compat", layer, str(path), verbose=False)
            return network.eval().requires_grad_(False)
    except Exception as error:  # a parser of untrusted bytes may raise anything
        raise ValueError(f"{path} does not hold the weights of {name}: replace it with the published file") from error


def _weights_file(name: str) -> Path:
    from torch_fidelity.feature_extractor_inceptionv3 import URL_INCEPTION_V3
    from torchvision.models import SqueezeNet1_1_Weights

    url = URL_INCEPTION_V3 if name == "inception" else SqueezeNet1_1_Weights.IMAGENET1K_V1.url
    path = fetch_weights(url, f"fid={name}")
    if name == "inception":
        with path.open("rb") as opened:
            digest = hashlib.file_digest(opened, "sha256").hexdigest()
        if digest != INCEPTION_SHA256:
            raise ValueError(
                f"{path} is not the published file: its SHA-256 is {digest[:8]}..., not {INCEPTION_SHA256[:8]}...; "
                "other weights would give other numbers under the same name"
            )
    return path
